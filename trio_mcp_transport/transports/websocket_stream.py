"""What a WebSocket library sees of its surroundings: a stream whose handshake is behind it, and a nursery.

What the library writes goes out in batches, and what its reader raises reaches nobody but the link.

The handshake with the peer was ours (`websocket_opening`); the library gets one that cannot surprise it, so nothing a
peer puts into a header ever reaches its parser.  Must never let the library close the real stream, whose owner has last
words to say, and must never go on after a torn write.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable

import trio

from ..deadlines import DeadlineExceeded
from ..errors import FrameTooLarge, TransportError
from ..metrics import TransportMetrics
from .firewall import run_contained
from .websocket_closing import Role
from .websocket_keepalive import Pulse
from .websocket_meter import MessageMeter

__all__ = ["EngineStream", "ReaderGuard"]

SLICE = 64 * 1024
"""Bytes per write under the write deadline, as in `pipe.framed`."""

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
"""What a serving library is given instead of the peer's request."""

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""

_KEY = re.compile(rb"\r\nsec-websocket-key: *([^\r]+)\r\n", re.I)

_OPCODE = 0x0F
_CLOSE = 0x08


def answer_to(request: bytes) -> bytes:
    """Return the response a library wants that sent this request."""
    found = _KEY.search(request)
    key = b"" if found is None else found[1].strip()
    # SHA-1 is what the RFC says; it guards nothing here.
    accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


class EngineStream(trio.abc.Stream):
    """A `trio.abc.Stream` for one library connection.

    Attributes:
        inner: The stream to the peer.
        pulse: When the peer was last heard.
        failure: Why the stream ended, where it was not the peer who ended it.
        close_sent: Whether the library has written a Close frame.
        torn: Whether a write has begun and not ended: it is under way, or was cut off.
    """

    def __init__(
        self,
        inner: trio.abc.Stream,
        role: Role,
        *,
        limit: int,
        write_deadline: float,
        metrics: TransportMetrics,
        leftover: bytes,
    ) -> None:
        """Wrap a stream whose handshake is done.

        Args:
            inner: Never closed by this one.
            role: Which side the library plays.
            limit: Largest message accepted, in bytes.
            write_deadline: Seconds without progress of a write before the peer is given up.
            metrics: Counts the bytes read.
            leftover: What came behind the handshake.
        """
        self.inner = inner
        self.pulse: Pulse = Pulse()
        self.failure: TransportError | None = None
        self.close_sent: bool = False
        self.torn: bool = False
        self._role = role
        self._limit = limit
        self._meter = MessageMeter(limit, masked=role == "server")
        self._write_deadline = write_deadline
        self._metrics = metrics
        self._leftover = leftover  # read, and not yet given to the library
        metrics.bytes_received += len(leftover)
        self._head = REQUEST if role == "server" else b""
        self._open = trio.Event()
        self._pending: list[bytes] = []
        self._corked = False
        self._flushing = False
        self._flushed = trio.lowlevel.ParkingLot()
        self._send_nowait: Callable[[bytes], int] | None = getattr(inner, "send_nowait", None)
        self._closed = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next bytes for the library; ``b""`` at the end, and instead of a message over the limit.

        Never more frames than one turn of the loop may take.  A checkpoint; a cancelled call has taken nothing.

        Raises:
            trio.BrokenResourceError: The stream broke.
            trio.ClosedResourceError: It is closed.
        """
        if self._head or not self._open.is_set():
            return await self._receive_head()
        if self._closed:
            raise trio.ClosedResourceError("the library has closed the stream")
        if self.failure is not None:
            await trio.lowlevel.checkpoint()
            return b""
        if self._leftover:
            await trio.lowlevel.checkpoint()
            chunk, self._leftover = self._leftover, b""
        else:
            self.pulse.reading = True
            chunk = bytes(await self.inner.receive_some(max_bytes))
            self._metrics.bytes_received += len(chunk)
        self.pulse.heard()
        good = self._meter.measure(chunk)
        if good is None:
            return chunk
        if self._meter.excess is None:
            self._leftover = chunk[good:]
        else:
            self.failure = FrameTooLarge(self._meter.excess, limit=self._limit)
        return chunk[:good]

    async def _receive_head(self) -> bytes:
        """Give the library its handshake; a client's begins with what it sends itself."""
        if not self._head:
            await self._open.wait()
            return await self.receive_some()
        await trio.lowlevel.checkpoint()
        head, self._head = self._head, b""
        return head

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write one frame of the library, now or with the rest of a batch; its part of the handshake goes nowhere.

        Cancelled, nothing may be written any more.

        Raises:
            trio.BrokenResourceError: The stream broke, or the peer accepted nothing for the write deadline.
            trio.ClosedResourceError: It is closed.
        """
        if self._closed:
            raise trio.ClosedResourceError("the library has closed the stream")
        if not self._open.is_set():
            if self._role == "client":
                self._head = answer_to(bytes(data))
            self._open.set()
            await trio.lowlevel.checkpoint()
            return
        data = bytes(data)
        if data and data[0] & _OPCODE == _CLOSE:
            self.close_sent = True
        self._pending.append(data)
        if not self._corked:
            await self.flush()

    def cork(self) -> None:
        """Keep what the library writes until `flush`."""
        self._corked = True

    def uncork(self) -> None:
        """Let frames through again; those kept are written by the next `flush`."""
        self._corked = False

    async def flush(self) -> None:
        """Write what was kept, in one go.  A checkpoint where it has to wait; raises as `send_all`."""
        while self._flushing:
            await self._flushed.park()
        self._flushing = True
        try:
            while self._pending:
                if self.torn:
                    raise trio.BrokenResourceError("an earlier write was cut off")
                if len(self._pending) > 1:
                    self._pending[:] = [b"".join(self._pending)]
                await self._write_first(self._pending[0])
        finally:
            self._flushing = False
            self._flushed.unpark_all()

    async def _write_first(self, data: bytes) -> None:
        """Write what waits first; cancelled before a byte of it left, it goes on waiting and nothing is torn."""
        # What fits at once costs no scope and no checkpoint: the library had several on its way here.
        start = 0 if self._send_nowait is None else self._send_nowait(data)
        if not start:
            # A ping has its own deadline, and a peer that reads nothing may yet be heard before it.
            await self._within_deadline(self.inner.wait_send_all_might_not_block)
        del self._pending[0]
        self.torn = True
        view = memoryview(data)
        for at in range(start, len(data), SLICE):
            await self._within_deadline(self.inner.send_all, view[at : at + SLICE])
        self.torn = False

    async def _within_deadline(self, step: Callable[..., Awaitable[None]], *args: memoryview) -> None:
        with trio.move_on_after(self._write_deadline) as scope:
            await step(*args)
        if scope.cancelled_caught:
            self.failure = DeadlineExceeded("write", self._write_deadline, "the peer reads nothing")
            raise trio.BrokenResourceError("the peer reads nothing")

    @property
    def busy(self) -> bool:
        """Whether somebody else is writing or waits to, or a write was cut off: no place for a frame of another."""
        return self._flushing or self.torn

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room; a checkpoint."""
        await self.inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """End the library's use of the stream, which stays open; a checkpoint."""
        self._closed = True
        await trio.lowlevel.checkpoint()


class ReaderGuard:
    """Stands in for a nursery: what its task raises is kept, and reaches nobody but the link.

    Attributes:
        failure: What ended the library's reader, once ``ended`` is set; None after a normal end.
        ended: Set when the reader has ended.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        """Take the nursery the reader really runs in."""
        self.failure: TransportError | None = None
        self.ended: trio.Event = trio.Event()
        self._nursery = nursery

    def start_soon(self, run: Callable[[], Awaitable[object]]) -> None:
        """Start the library's reader."""
        self._nursery.start_soon(self._run, run)

    async def _run(self, run: Callable[[], Awaitable[object]]) -> None:
        try:
            self.failure = await run_contained(run)
        finally:
            self.ended.set()
