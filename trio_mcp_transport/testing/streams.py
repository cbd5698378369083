"""Byte streams in memory that push back, and transports over any stream: what a custom transport looks like.

Must never touch a descriptor, so that everything here runs under a virtual clock.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import TracebackType

import trio

from ..abc import ClientTransport, FrameCodec, ServerTransport
from ..connect import ClientConnection, ClientSetup
from ..context import ConnectionInfo
from ..errors import LocalProtocolError
from ..intake import Intake
from ..metrics import TransportMetrics, TransportStatistics
from ..pipe.client import CLIENT_MESSAGE_SIZE, PipeConnection
from ..pipe.end import connection_id
from ..pipe.framed import FramedLink
from ..pipe.server import SERVER_MESSAGE_SIZE, serve_stream
from ..wire.newline import NewlineCodec

__all__ = ["CAPACITY", "ByteStream", "StreamClientTransport", "StreamServerTransport", "byte_stream_pair"]

CAPACITY = 64 * 1024
"""Bytes one direction holds before its writer waits: the capacity of a Linux pipe (pipe(7))."""


class _Direction:
    """The bytes under way in one direction, and who may still touch them."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.buffer: bytearray = bytearray()
        self.ended = False
        self.sender_closed = False
        self.receiver_closed = False
        self.sending: _Claim = _Claim("sending on")
        self.receiving: _Claim = _Claim("receiving from")
        self.changed: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()

    def check_sendable(self) -> None:
        """Raise as a stream does on which nothing can be sent any more."""
        if self.sender_closed or self.ended:
            raise trio.ClosedResourceError("this side of the stream was closed")
        if self.receiver_closed:
            raise trio.BrokenResourceError("the other side of the stream was closed")


class _Claim:
    """Refuses a second task, as trio's own streams do."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._held = False

    def __enter__(self) -> None:
        if self._held:
            raise trio.BusyResourceError(f"another task is {self._doing} this stream")
        self._held = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held = False


class ByteStream(trio.abc.HalfCloseableStream):
    """One end of `byte_stream_pair`.  `trio.testing.memory_stream_pair` is alike but takes any number of bytes."""

    def __init__(self, outgoing: _Direction, incoming: _Direction) -> None:
        self._outgoing = outgoing
        self._incoming = incoming

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``, waiting whenever the other side has not taken enough.

        A checkpoint.  Cancelled before its first byte it sent nothing; cancelled while it waits, a part.

        Raises:
            trio.BrokenResourceError: The other side is closed.
            trio.ClosedResourceError: This side is, or was meanwhile.
            trio.BusyResourceError: Another task is sending.
        """
        way = self._outgoing
        with way.sending:
            await trio.lowlevel.checkpoint()
            way.check_sendable()
            rest = memoryview(data).cast("B")
            while rest:
                room = way.capacity - len(way.buffer)
                if room <= 0:
                    await way.changed.park()
                else:
                    way.buffer += rest[:room]
                    rest = rest[room:]
                    way.changed.unpark_all()
                way.check_sendable()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room for a byte, or the stream breaks; a checkpoint.

        Raises:
            trio.ClosedResourceError: This side is closed, or was meanwhile.
            trio.BusyResourceError: Another task is sending.
        """
        way = self._outgoing
        with way.sending:
            await trio.lowlevel.checkpoint()
            while not (way.sender_closed or way.receiver_closed) and len(way.buffer) >= way.capacity:
                await way.changed.park()
            if way.sender_closed:
                raise trio.ClosedResourceError("this side of the stream was closed")

    async def send_eof(self) -> None:
        """End this side's writing; a checkpoint."""
        way = self._outgoing
        with way.sending:
            await trio.lowlevel.checkpoint()
            if way.sender_closed:
                raise trio.ClosedResourceError("this side of the stream was closed")
            way.ended = True
            way.changed.unpark_all()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what has arrived, ``b""`` at the end.  A checkpoint; a cancelled call has taken nothing.

        Raises:
            trio.ClosedResourceError: This side is closed, or was meanwhile.
            trio.BusyResourceError: Another task is receiving.
        """
        way = self._incoming
        with way.receiving:
            await trio.lowlevel.checkpoint()
            if max_bytes is not None and operator.index(max_bytes) < 1:
                raise ValueError("max_bytes must be at least 1")
            while not (way.buffer or way.ended or way.receiver_closed):
                await way.changed.park()
            if way.receiver_closed:
                raise trio.ClosedResourceError("this side of the stream was closed")
            data = bytes(way.buffer[:max_bytes])
            del way.buffer[: len(data)]
            way.changed.unpark_all()
            return data

    def close(self) -> None:
        """Close both directions; whoever waits on either side is woken."""
        self._outgoing.ended = self._outgoing.sender_closed = True
        self._incoming.receiver_closed = True
        self._outgoing.changed.unpark_all()
        self._incoming.changed.unpark_all()

    async def aclose(self) -> None:
        """Close, then pass a checkpoint; a cancelled call has closed too."""
        self.close()
        await trio.lowlevel.checkpoint()


def byte_stream_pair(capacity: int = CAPACITY) -> tuple[ByteStream, ByteStream]:
    """Return two connected streams, each direction of which holds ``capacity`` bytes before its writer waits.

    Args:
        capacity: Bytes, at least 1.
    """
    there, back = _Direction(capacity), _Direction(capacity)
    return ByteStream(there, back), ByteStream(back, there)


class StreamServerTransport(ServerTransport):
    """Serves one connection over any `trio.abc.Stream`; all a custom server transport needs."""

    def __init__(self, stream: trio.abc.Stream, *, codec: Callable[[int], FrameCodec] = NewlineCodec) -> None:
        """Take a stream, which is closed at the end, and a function that makes a codec for a largest message."""
        self._stream = stream
        self._codec = codec
        self._metrics = TransportMetrics()
        self._used = False

    async def run(
        self, exchanges: Intake, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve the connection to its end; see `abc.ServerTransport.run`.

        Raises:
            LocalProtocolError: It has run before.
        """
        if self._used:
            raise LocalProtocolError("a transport object runs once")
        self._used = True
        codec = self._codec(exchanges.limits.message_size(SERVER_MESSAGE_SIZE))
        task_status.started(("memory:",))
        await serve_stream(exchanges, self._stream, codec, transport="stream", metrics=self._metrics)

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters."""
        return self._metrics.snapshot()


class StreamClientTransport(ClientTransport):
    """Speaks with a server over any `trio.abc.Stream`; all a custom client transport needs."""

    def __init__(self, stream: trio.abc.Stream, *, codec: Callable[[int], FrameCodec] = NewlineCodec) -> None:
        """Take a stream, which is closed at the end, and a function that makes a codec for a largest message."""
        self._stream = stream
        self._codec = codec
        self._metrics = TransportMetrics()

    @property
    def address(self) -> str:
        """``memory:``."""
        return "memory:"

    async def run(
        self, setup: ClientSetup, *, task_status: trio.TaskStatus[ClientConnection] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve the connection to its end; see `abc.ClientTransport.run`.

        Raises:
            TransportError: The server ended the connection, or the stream broke.
        """
        limits = setup.limits
        codec = self._codec(limits.message_size(CLIENT_MESSAGE_SIZE))
        link = FramedLink(self._stream, codec, limits, write_deadline=limits.write_deadline, metrics=self._metrics)
        info = ConnectionInfo(transport="stream", connection_id=connection_id("stream"))
        await PipeConnection(setup, link, info, self._metrics).run(task_status=task_status)
