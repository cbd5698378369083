"""A byte stream and a frame codec as one channel of messages.

Must never decide what a message means; it turns bytes into typed messages and back, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import trio

from ..abc import FrameCodec
from ..deadlines import DeadlineExceeded
from ..errors import ConnectionFailed, MessageTooLarge
from ..limits import Limits
from ..metrics import TransportMetrics
from ..wire import messages
from ..wire.messages import Batch, Message
from ..wire.signals import Signal

__all__ = ["FramedLink"]

PROBE = b'{"jsonrpc":"2.0","method":"a b"}'
"""A text that shows whether a codec does more than to append."""

SMALL = 4096
"""Bytes below which a line gets its end at once: to keep the two apart costs more than the copy."""

JOIN_BELOW = 64 * 1024
"""Frames up to this size are joined into one write; copying a larger one costs more than a system call."""

SLICE = 64 * 1024
"""Bytes per write under a write deadline: "no byte accepted" can only be told at the end of a write."""


class FramedLink:
    """Implements `abc.MessageLink` over any `trio.abc.Stream`.

    One task calls `fill` and `next_message`, another calls `write`.

    Attributes:
        resynchronises: Whether the codec goes on after a frame that is too large.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        codec: FrameCodec,
        limits: Limits,
        *,
        write_deadline: float | None = None,
        owns_stream: bool = True,
        metrics: TransportMetrics | None = None,
    ) -> None:
        """Take the stream over.

        Args:
            stream: Closed by `aclose`, if owned.
            codec: Fresh; belongs to this link.
            limits: For the JSON depth and the size of outgoing messages.
            write_deadline: Seconds without progress of a write before the peer is given up; None for no deadline.
            owns_stream: Whether `aclose` closes the stream; False where an owner ends it in steps of its own.
            metrics: Counters of the bytes read.
        """
        self._stream = stream
        self._codec = codec
        self._max_depth = limits.max_depth
        self._max_outgoing = limits.max_outgoing_size
        self._write_deadline = write_deadline
        self._owns_stream = owns_stream
        self._metrics = metrics or TransportMetrics()
        self._encode_parts: Callable[[bytes], tuple[bytes, ...]] | None = getattr(codec, "encode_parts", None)
        self._json_end: bytes | None = _json_end(codec)
        self._send_nowait = getattr(stream, "send_nowait", None)
        self.resynchronises: bool = getattr(codec, "resynchronises", False)

    async def fill(self) -> bool:
        """Read one chunk into the codec; False at the end of the stream.

        A checkpoint; cancelled, no byte is lost.

        Raises:
            ConnectionFailed: The stream broke.
        """
        try:
            chunk = await self._stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionFailed(f"reading failed: {error.__cause__ or error}") from error
        self._metrics.bytes_received += len(chunk)
        self._codec.feed(bytes(chunk))  # no copy, unless a stream hands out its own buffer
        return bool(chunk)

    def next_message(self) -> Message | Batch | Signal:
        """Return the next message of what was read, or a `Signal`.

        Raises:
            MessageError: One unreadable frame.
            FramingError: From the codec.
        """
        frame = self._codec.next_frame()
        if type(frame) is not bytes:
            return frame  # type: ignore[return-value]  # a Signal: mypy takes the exact type for a narrower one only
        return messages.decode(frame, max_depth=self._max_depth)

    def encode(self, message: Message) -> tuple[Any, int]:
        """Return the framed bytes of a message and their number.

        Raises:
            LocalProtocolError: It cannot be written as JSON.
            MessageTooLarge: It is over the outgoing limit.
        """
        payload = messages.encode(message)
        if len(payload) > self._max_outgoing:
            raise MessageTooLarge(f"a message of {len(payload)} bytes is over the outgoing limit {self._max_outgoing}")
        if self._json_end is not None:
            if len(payload) < SMALL:
                frame = payload + self._json_end
                return frame, len(frame)
            # The pieces are joined once, together with those of other messages.
            return (payload, self._json_end), len(payload) + len(self._json_end)
        if self._encode_parts is not None:
            parts = self._encode_parts(payload)
            return parts, sum(map(len, parts))
        frame = self._codec.encode(payload)
        return (frame,), len(frame)

    def control_bytes(self) -> bytes:
        """Return what the codec owes the peer of its own, such as a pong."""
        return self._codec.bytes_to_send()

    async def write(self, items: Sequence[Any]) -> None:
        """Write frames in order, small ones in one go.  A checkpoint.

        Cancelled, a frame may be torn: nothing may be written afterwards.

        Raises:
            ConnectionFailed: The stream broke.
            DeadlineExceeded: The peer accepted nothing for ``write_deadline`` seconds.
        """
        try:
            for data in _joined(items):
                await self._send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionFailed(f"writing failed: {error.__cause__ or error}") from error

    def write_nowait(self, items: Sequence[Any]) -> list[Any]:
        """Write what the stream takes without waiting; return what is left, in order, its first item already begun.

        A broken stream takes nothing here: the write that waits then tells.
        """
        send_nowait = self._send_nowait
        if send_nowait is None:
            return list(items)
        left = _joined(items)
        while left:
            try:
                sent = send_nowait(left[0])
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return left
            if sent < len(left[0]):
                left[0] = memoryview(left[0])[sent:]
                return left
            del left[0]
        return left

    async def _send(self, data: bytes) -> None:
        deadline = self._write_deadline
        if deadline is None:
            await self._stream.send_all(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), SLICE):
            with trio.move_on_after(deadline) as scope:
                await self._stream.send_all(view[start : start + SLICE])
            if scope.cancelled_caught:
                raise DeadlineExceeded("write", deadline, "the peer reads nothing")

    async def send_eof(self) -> None:
        """End the writing side, where the stream can."""
        send_eof = getattr(self._stream, "send_eof", None)
        if send_eof is None:
            return
        try:
            await send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError, NotImplementedError):
            return

    async def aclose(self) -> None:
        """Close the stream, if it is owned; never blocks on the peer."""
        if self._owns_stream:
            await trio.aclose_forcefully(self._stream)
        else:
            await trio.lowlevel.checkpoint()


def _json_end(codec: FrameCodec) -> bytes | None:
    """Return what a codec says makes a frame of a JSON text; None where its ``encode`` says otherwise.

    A subclass may have another ``encode`` and inherit the rest.
    """
    end: bytes | None = getattr(codec, "json_end", None)
    return end if end is not None and codec.encode(PROBE) == PROBE + end else None


def _joined(items: Sequence[Any]) -> list[Any]:
    """Return what is to be written, in order: small pieces joined, large ones as they are, memoryviews untouched.

    An item of `FramedLink.encode` is bytes when it is small, else a tuple of pieces.
    """
    if type(items[0]) is bytes:
        # All of them small, as a rule; what has pieces is not joined here, and nothing is copied before that shows.
        try:
            return [b"".join(items)]
        except TypeError:
            pass
    writes: list[Any] = []
    small: list[bytes] = []
    for item in items:
        for piece in item if type(item) is tuple else (item,):
            if len(piece) <= JOIN_BELOW:
                small.append(piece)
                continue
            if small:
                writes.append(b"".join(small))
                small = []
            writes.append(piece)
    if small:
        writes.append(b"".join(small))
    return writes
