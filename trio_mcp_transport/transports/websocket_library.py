"""A WebSocket through trio-websocket: the one file that imports it, and what it lacks.

The library does frames, pings and the close handshake.  Around it are a byte limit, a write deadline, one writer that
joins frames (`websocket_stream`), the close codes it does not send, and a wall around its reader task, whose errors
would otherwise end in somebody else's nursery.

The peer's Close ends everything, for the library answers it at once: what runs is cancelled.  Must never send from two
tasks: a cancelled send leaves half a frame behind, so the pipe's writer is the only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, cast

import trio
import trio_websocket

from ..deadlines import DeadlineExceeded
from ..errors import ConnectionFailed, FramingError, MessageTooLarge, TransportError
from ..limits import Limits
from ..metrics import TransportMetrics
from ..wire import messages
from ..wire.messages import Batch, Message
from ..wire.signals import Signal
from ..wire.websocket_frames import text_frames
from .websocket_closing import (
    ABNORMAL,
    INTERNAL_ERROR,
    SETTLE,
    Role,
    close_frame,
    closed_by_peer,
    closed_without_close,
    discard,
    last_words,
)
from .websocket_keepalive import Pulse
from .websocket_stream import EngineStream, ReaderGuard

__all__ = ["LibraryLink", "open_library_link"]

PATIENCE = 4
"""Turns of Trio's loop a write waits while the library still has messages of one chunk to hand over: their answers then
leave in one system call, which costs more than the turns."""


async def open_library_link(
    nursery: trio.Nursery,
    stream: trio.abc.Stream,
    role: Role,
    *,
    limit: int,
    limits: Limits,
    accept_binary: bool,
    final_code: int,
    close_deadline: float,
    metrics: TransportMetrics,
    leftover: bytes,
) -> LibraryLink:
    """Return a link on a stream whose handshake is done; a checkpoint.

    Args:
        nursery: For the library's reader; cancelled by whoever owns it once the link is closed.
        stream: Stays the caller's.
        role: Which side this is.
        limit: Largest message accepted, in bytes.
        limits: For the JSON depth, the size of outgoing messages and the write deadline.
        accept_binary: Whether a binary message counts as one.
        final_code: What the Close says when this side ends the connection in order.
        close_deadline: Seconds for the peer's half of the close handshake.
        metrics: Counters to add to.
        leftover: What came behind the handshake.
    """
    inner = EngineStream(
        stream, role, limit=limit, write_deadline=limits.write_deadline, metrics=metrics, leftover=leftover
    )
    guard = ReaderGuard(nursery)
    options: dict[str, Any] = {
        "max_message_size": limit,  # in characters, of which a byte is never more than one: the meter comes first
        "receive_buffer_size": None,  # whatever Trio thinks best, 64 KiB; the library's own 4 KiB doubles the cost
    }
    if role == "server":
        request = await trio_websocket.wrap_server_stream(cast(trio.Nursery, guard), inner, **options)
        connection = await request.accept()
    else:
        connection = await trio_websocket.wrap_client_stream(
            cast(trio.Nursery, guard), cast(trio.SocketStream, inner), "localhost", "/", **options
        )
    return LibraryLink(
        connection,
        inner,
        guard,
        limits,
        role=role,
        accept_binary=accept_binary,
        final_code=final_code,
        close_deadline=close_deadline,
    )


class LibraryLink:
    """Implements `websocket_engine.WebSocketLink` over a `trio_websocket.WebSocketConnection`."""

    resynchronises = False

    def __init__(
        self,
        connection: trio_websocket.WebSocketConnection,
        stream: EngineStream,
        guard: ReaderGuard,
        limits: Limits,
        *,
        role: Role,
        accept_binary: bool,
        final_code: int,
        close_deadline: float,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._guard = guard
        self._role: Role = role
        self._accept_binary = accept_binary
        self._final_code = final_code
        self._close_deadline = close_deadline
        self._max_depth = limits.max_depth
        self._max_outgoing = limits.max_outgoing_size
        self._ready: str | bytes | None = None
        self._ended = False
        self._closing = False
        self._violation: FramingError | None = None

    @property
    def pulse(self) -> Pulse:
        """When the peer was last heard."""
        return self._stream.pulse

    async def fill(self) -> bool:
        """Wait for the next message; False once the peer has closed.  A checkpoint; cancel-safe.

        Raises:
            ConnectionClosed: The stream ended without a Close.
            ConnectionFailed: The library failed.
            DeadlineExceeded: The peer was given up.
        """
        if self._ended:
            await trio.lowlevel.checkpoint()
            return False
        try:
            self._ready = await self._connection.get_message()
        except trio_websocket.ConnectionClosed:
            await self._learn_end()
            return not self._ended
        return True

    async def _learn_end(self) -> None:
        """Find out how the library's connection ended: by the peer's Close, by a violation, or badly.

        Raises:
            TransportError: Badly.
        """
        if self._connection.closed is None:
            await self._guard.ended.wait()  # the reader raised, and is on its way out
        failure = self._stream.failure or self._guard.failure
        reason = self._connection.closed
        if isinstance(failure, FramingError):
            self._violation = failure
        elif failure is not None:
            raise failure.twin()
        elif self._stream.close_sent:
            self._ended = True
        elif reason is None or reason.code == ABNORMAL:
            raise closed_without_close()
        else:
            # The library found a violation, and tells nobody but us.
            self._violation = FramingError(reason.reason or "the peer broke the protocol", close_code=reason.code)

    def next_message(self) -> Message | Batch | Signal:
        """Return the next message, or a `Signal`.

        Raises:
            MessageError: One unreadable message.
            FramingError: The peer broke the protocol.
        """
        message, self._ready = self._ready, None
        if not message:
            if self._violation is not None:
                raise self._violation.twin()
            return Signal.END_OF_STREAM if self._ended else Signal.NEED_DATA
        if type(message) is str:
            return messages.decode(message.encode(), max_depth=self._max_depth)
        if not self._accept_binary:
            self._violation = FramingError("binary messages are not accepted here", close_code=1003)
            raise self._violation.twin()
        return messages.decode(cast(bytes, message), max_depth=self._max_depth)

    def encode(self, message: Message) -> tuple[Any, int]:
        """Return the text of a message as UTF-8, and its size in bytes.

        Raises:
            LocalProtocolError: It cannot be written as JSON.
            MessageTooLarge: It is over the outgoing limit.
        """
        payload = messages.encode(message)
        if len(payload) > self._max_outgoing:
            raise MessageTooLarge(f"a message of {len(payload)} bytes is over the outgoing limit {self._max_outgoing}")
        return payload, len(payload)

    async def write(self, items: Sequence[Any]) -> None:
        """Write messages in order, joined; after a Close, nothing.  A checkpoint; cancelled, the link is unusable.

        Raises:
            ConnectionFailed: The stream broke.
            DeadlineExceeded: The peer accepted nothing for the write deadline.
        """
        if self._closing:
            await trio.lowlevel.checkpoint()
            return
        stream = self._stream
        for _ in range(PATIENCE):
            if stream.pulse.reading:
                break
            await trio.lowlevel.checkpoint()
        stream.cork()
        try:
            if self._role == "client":
                for payload in items:
                    await self._connection.send_message(payload.decode())
            elif self._connection.closed is None:
                # What ``send_message`` makes of them too, with a lock, a checkpoint and a state machine for each: a
                # tenth of what an answer cost.  Nobody else writes here, and no extension is in use.
                await stream.send_all(text_frames(items))
            else:
                await self._not_sent()
        except trio_websocket.ConnectionClosed:
            await self._not_sent()
        finally:
            stream.uncork()
        try:
            await stream.flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._cannot_write(error)

    async def _not_sent(self) -> None:
        """Drop what the peer would not read: the reader is about to say why."""
        reason = self._connection.closed
        if self._stream.failure is not None or reason is None or reason.code == ABNORMAL:
            self._cannot_write(None)
        await trio.lowlevel.checkpoint()

    def _cannot_write(self, error: BaseException | None) -> NoReturn:
        if self._stream.failure is not None:
            raise self._stream.failure.twin() from error
        raise ConnectionFailed(f"writing failed: {getattr(error, '__cause__', None) or error}") from error

    async def ping(self) -> None:
        """Send a ping and wait for its pong; a checkpoint, without a bound of its own."""
        try:
            await self._connection.ping()
        except trio_websocket.ConnectionClosed:
            await trio.lowlevel.checkpoint()

    async def give_up(self, error: DeadlineExceeded) -> None:
        """Close the stream under whoever reads it, with this error; bounded."""
        self._stream.failure = error
        await self.close_now(INTERNAL_ERROR, str(error))
        await trio.aclose_forcefully(self._stream.inner)

    async def wait_given_up(self) -> TransportError | None:
        """Listen to the peer while the connection drains: return why its answers are in vain; see `pipe.server`."""
        await trio.lowlevel.checkpoint()
        error = self._violation or await self._hear_out()
        if self._violation is None:
            await trio.sleep(SETTLE)
        if self._closing:
            await trio.sleep_forever()
        return error

    async def _hear_out(self) -> TransportError:
        """Drop what the peer says until it ends."""
        while not self._ended and self._violation is None:
            try:
                await self._connection.get_message()
            except trio_websocket.ConnectionClosed:
                try:
                    await self._learn_end()
                except TransportError as error:
                    return error
        return self._violation or self.explain(closed_without_close())

    def explain(self, error: TransportError) -> TransportError:
        """Return what the peer's Close said, where there was one, and else the error itself."""
        reason = self._connection.closed
        if reason is None or not self._ended:
            return error
        return closed_by_peer(int(reason.code), reason.reason or "")

    async def send_eof(self) -> None:
        """Close the WebSocket in order; bounded."""
        await self.say_goodbye(self._final_code)

    async def say_goodbye(self, code: int) -> None:
        """Send a Close and wait, within the close deadline, for the peer's.  A checkpoint.

        Args:
            code: What it says, unless the peer broke the protocol or has closed already.
        """
        if self._closing or self._stream.torn:
            return
        self._closing = True
        violation = self._violation
        if violation is not None:
            code = violation.close_code
        with trio.move_on_after(self._close_deadline):
            if self._connection.closed is None:
                await self._connection.aclose(code, None if violation is None else str(violation))
            elif violation is not None:
                await last_words(self._stream.inner, close_frame(self._role, code, str(violation)))
                await discard(self._stream.inner)

    async def close_now(self, code: int, reason: str = "") -> None:
        """Send a Close if nothing stands in its way, and wait for nobody.  A checkpoint; shielded and bounded."""
        stream = self._stream
        if self._closing or stream.busy or stream.close_sent:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._closing = True
        if self._violation is not None:
            code, reason = self._violation.close_code, str(self._violation)
        await last_words(stream.inner, close_frame(self._role, code, reason))

    async def aclose(self) -> None:
        """Do nothing: whoever owns the stream closes it.  A checkpoint."""
        await trio.lowlevel.checkpoint()
