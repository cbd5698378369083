"""A WebSocket through our own codec on any Trio stream: what `pipe.framed` does, and the end of a WebSocket.

The peer's Close ends everything: its reply goes out at once and what runs is cancelled, for a peer that closed reads
nothing more (RFC 6455 section 5.5.1 lets it drop what follows).  A frame that breaks the protocol fails the connection
as section 7.1.7 says.  Must never write a frame behind a Close, nor anything behind a torn frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import trio

from ..deadlines import DeadlineExceeded
from ..errors import ConnectionFailed, FramingError, TransportError
from ..limits import Limits
from ..metrics import TransportMetrics
from ..pipe.framed import FramedLink
from ..wire.messages import Batch, Message
from ..wire.signals import Signal
from ..wire.websocket import WebSocketCodec
from .websocket_closing import (
    ABNORMAL,
    INTERNAL_ERROR,
    SETTLE,
    closed_by_peer,
    closed_without_close,
    discard,
    last_words,
)
from .websocket_keepalive import Pulse

__all__ = ["FRAMES_AT_ONCE", "NativeLink"]

FRAMES_AT_ONCE = 256
"""Frames without a message taken in one turn of the loop: 1 ms, after which other connections have theirs."""


class NativeLink(FramedLink):
    """Implements `websocket_engine.WebSocketLink`; made after the handshake.

    Attributes:
        pulse: When the peer was last heard.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        codec: WebSocketCodec,
        limits: Limits,
        *,
        final_code: int,
        close_deadline: float,
        metrics: TransportMetrics,
        leftover: bytes = b"",
    ) -> None:
        """Take the stream over, without owning it: whoever made the link closes it after `say_goodbye`.

        Args:
            stream: After the handshake.
            codec: Fresh; belongs to this link.
            limits: For the JSON depth, the size of outgoing messages and the write deadline.
            final_code: What the Close says when this side ends the connection in order.
            close_deadline: Seconds for the peer's half of the close handshake.
            metrics: Counters to add to.
            leftover: What came behind the handshake.
        """
        super().__init__(
            stream, codec, limits, write_deadline=limits.write_deadline, owns_stream=False, metrics=metrics
        )
        self.pulse: Pulse = Pulse()
        codec.pause_after = FRAMES_AT_ONCE
        self._frames = codec
        self._final_code = final_code
        self._close_deadline = close_deadline
        self._ask: Callable[[], None] | None = None
        self._failure: TransportError | None = None
        self._violation: FramingError | None = None
        self._control_waits = False
        self._closing = False
        self._torn = False
        self._hearing = False
        self._unread = bool(leftover)
        self._peer_ended = trio.Event()
        if leftover:
            metrics.bytes_received += len(leftover)
            codec.feed(leftover)

    def attach(self, ask: Callable[[], None]) -> None:
        """Take the function that makes the pipe's writer look at `control_bytes`."""
        self._ask = ask

    def control_bytes(self) -> bytes:
        """Return pings and pongs, unless earlier ones still wait to be written: then the latest pong stands for all.

        A Close leaves through `say_goodbye` only, as no message may follow it.
        """
        if self._control_waits or self._frames.close_sent:
            return b""
        owed = super().control_bytes()
        self._control_waits = bool(owed)
        return owed

    def _control_written(self) -> None:
        self._control_waits = False
        if self._ask is not None:
            self._ask()

    async def fill(self) -> bool:
        """Read one chunk; False once the peer has closed.  A checkpoint; cancelled, no byte is lost.

        Raises:
            ConnectionClosed: The stream ended without a Close.
            ConnectionFailed: The stream broke.
            DeadlineExceeded: The peer was given up.
        """
        if self._unread or self._frames.paused:
            self._unread = False
            await trio.lowlevel.checkpoint()
            return True
        if self._frames.close_code is not None:
            await trio.lowlevel.checkpoint()
            return False
        self.pulse.reading = True
        try:
            more = await super().fill()
        except ConnectionFailed as error:
            raise (self._failure or error) from error.__cause__
        self.pulse.heard()
        if not more:
            raise self._failure or closed_without_close()
        return True

    def next_message(self) -> Message | Batch | Signal:
        """Return the next message of what was read, or a `Signal`.

        Raises:
            MessageError: One unreadable frame.
            FramingError: The peer broke the protocol; the codec has the Close that says so.
        """
        try:
            return super().next_message()
        except FramingError as error:
            self._violation = error
            raise

    async def write(self, items: Sequence[Any]) -> None:
        """Write frames in order; after a Close, nothing.  A checkpoint; cancelled, the stream is unusable.

        Raises:
            ConnectionFailed: The stream broke.
            DeadlineExceeded: The peer accepted nothing for the write deadline.
        """
        if self._closing:
            await trio.lowlevel.checkpoint()
            return
        self._torn = True
        await super().write(items)
        self._torn = False
        if self._control_waits:
            self._control_written()

    def write_nowait(self, items: Sequence[Any]) -> list[Any]:
        """Write what the stream takes without waiting; return what is left."""
        if self._closing:
            return []
        left = super().write_nowait(items)
        self._torn = bool(left) and self._send_nowait is not None
        if self._control_waits and not left:
            self._control_written()
        return left

    async def ping(self) -> None:
        """Send a ping and wait until anything is heard; a checkpoint, without a bound of its own."""
        self._frames.ping()
        if self._ask is not None:
            self._ask()
        await self.pulse.wait_heard()

    async def give_up(self, error: DeadlineExceeded) -> None:
        """Close the stream under whoever reads it, with this error; bounded."""
        self._failure = error
        await self.close_now(INTERNAL_ERROR, str(error))
        await trio.aclose_forcefully(self._stream)

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
        """Read until the peer ends, and drop what it says; whoever comes second waits for the first."""
        if self._hearing:
            await self._peer_ended.wait()
        else:
            self._hearing = True
            try:
                await self._drop_all()
            finally:
                self._peer_ended.set()
        return self._violation or self.explain(closed_without_close())

    async def _drop_all(self) -> None:
        frames = self._frames
        while frames.close_code is None:
            if frames.paused:
                await trio.lowlevel.checkpoint()
            else:
                try:
                    chunk = bytes(await self._stream.receive_some())
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
                self.pulse.heard()
                frames.feed(chunk)
            try:
                while frames.next_frame() not in _ENDS:
                    pass
            except FramingError as error:
                self._violation = error
                return

    def explain(self, error: TransportError) -> TransportError:
        """Return what the peer's Close said, where there was one, and else the error itself."""
        code = self._frames.close_code
        if code is None or code == ABNORMAL:
            return error
        return closed_by_peer(code, self._frames.close_reason)

    async def send_eof(self) -> None:
        """Close the WebSocket in order: a Close, or the reply to the peer's, then the peer's own.  Bounded."""
        await self.say_goodbye(self._final_code)

    async def say_goodbye(self, code: int) -> None:
        """Send a Close and wait, within the close deadline, for the peer's.  A checkpoint.

        Args:
            code: What it says, unless the codec or the peer has said something already.
        """
        if self._closing or self._torn:
            return
        self._closing = True
        self._frames.close(code)
        with trio.move_on_after(self._close_deadline):
            try:
                await self._send(self._frames.bytes_to_send())
            except (trio.BrokenResourceError, trio.ClosedResourceError, DeadlineExceeded):
                return
            if self._violation is not None:
                await discard(self._stream)
            else:
                await self._hear_out()

    async def close_now(self, code: int, reason: str = "") -> None:
        """Send a Close if nothing stands in its way, and wait for nobody.  A checkpoint; shielded and bounded."""
        if self._closing or self._torn:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._closing = True
        self._frames.close(code, reason)
        await last_words(self._stream, self._frames.bytes_to_send())


_ENDS = frozenset({Signal.NEED_DATA, Signal.END_OF_STREAM})
