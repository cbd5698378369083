"""Client and server in one process: messages cross as objects, without bytes and without a system call.

Must never let the two sides share a mutable object: params and results cross as JSON text, so a handler that changes
what it got changes nothing at the other end, and what JSON cannot hold fails as it would on a wire.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import trio

from ..abc import ClientTransport, MessageLink, ServerTransport
from ..connect import ClientConnection, ClientSetup
from ..context import ConnectionInfo
from ..errors import ConnectionFailed, LocalProtocolError, TransportError
from ..intake import Intake
from ..metrics import TransportMetrics, TransportStatistics
from ..pipe.client import PipeConnection
from ..pipe.end import connection_id
from ..pipe.server import serve_link
from ..wire.messages import Message, Response
from ..wire.signals import Signal

__all__ = ["MemoryClientTransport", "MemoryServerTransport", "memory_transports"]

CHANNEL_SIZE = 16
"""Writes in flight between the two sides; each holds whatever one writer had pending."""


class MemoryLink:
    """Implements `abc.MessageLink` over two memory channels of lists of messages."""

    resynchronises = True

    def __init__(
        self,
        send: trio.MemorySendChannel[list[Message]],
        receive: trio.MemoryReceiveChannel[list[Message]],
        closed: trio.Event,
        peer_closed: trio.Event,
    ) -> None:
        self._send = send
        self._receive = receive
        self._closed = closed
        self._peer_closed = peer_closed
        self._ready: deque[Message] = deque()
        self._ended = False

    async def fill(self) -> bool:
        """Wait for the next list of messages; False once the other side ended.  A checkpoint; cancel-safe."""
        try:
            self._ready.extend(await self._receive.receive())
        except (trio.EndOfChannel, trio.ClosedResourceError):
            self._ended = True
            return False
        return True

    def next_message(self) -> Message | Signal:
        """Return the next message, or a `Signal`."""
        if self._ready:
            return self._ready.popleft()
        return Signal.END_OF_STREAM if self._ended else Signal.NEED_DATA

    def encode(self, message: Message) -> tuple[Any, int]:
        """Detach a message from this side and return it with the size of its JSON text.

        Raises:
            LocalProtocolError: It holds what JSON cannot.
        """
        message.seal()
        if isinstance(message, Response):
            return message, len(bytes(message.raw_result)) if message.error is None else 64
        return message, message.size + 64

    async def write(self, items: Sequence[Any]) -> None:
        """Hand messages over; waits while the other side reads nothing.  A checkpoint.

        Raises:
            ConnectionFailed: The other side is gone.
        """
        try:
            await self._send.send(list(items))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionFailed("the other side of the memory transport is gone") from error

    async def send_eof(self) -> None:
        """End this side's writing."""
        await self._send.aclose()

    def close(self) -> None:
        """Close both directions."""
        self._closed.set()
        self._send.close()
        self._receive.close()

    async def aclose(self) -> None:
        """Close both directions; a checkpoint, and a cancelled call has closed too."""
        self.close()
        await trio.lowlevel.checkpoint()

    async def wait_given_up(self) -> TransportError | None:
        """Wait until the other side has closed both directions; see `pipe.server.GivenUp`."""
        await self._peer_closed.wait()
        return ConnectionFailed("the other side of the memory transport is gone")


def _link_pair() -> tuple[MemoryLink, MemoryLink]:
    there_send, there_receive = trio.open_memory_channel[list[Message]](CHANNEL_SIZE)
    back_send, back_receive = trio.open_memory_channel[list[Message]](CHANNEL_SIZE)
    here, there = trio.Event(), trio.Event()
    return MemoryLink(there_send, back_receive, here, there), MemoryLink(back_send, there_receive, there, here)


class MemoryServerTransport(ServerTransport):
    """The serving half; any number of `MemoryClientTransport` objects may be made of it."""

    def __init__(self) -> None:
        self._connections_send, self._connections = trio.open_memory_channel[MemoryLink](CHANNEL_SIZE)
        self._metrics = TransportMetrics()
        self._used = False

    def client(self) -> MemoryClientTransport:
        """Return a client transport that leads here."""
        return MemoryClientTransport(self)

    async def connect(self) -> MessageLink:
        """Open a connection and return the client's end; a checkpoint.

        Raises:
            ConnectionFailed: The server has ended.
        """
        client, server = _link_pair()
        try:
            await self._connections_send.send(server)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionFailed("the memory server has ended") from error
        return client

    async def run(
        self, exchanges: Intake, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve every connection until shutdown; see `abc.ServerTransport.run`.

        Raises:
            LocalProtocolError: It has run before.
        """
        if self._used:
            raise LocalProtocolError("a transport object runs once")
        self._used = True
        async with trio.open_nursery() as nursery:
            try:
                with trio.CancelScope() as accepting:
                    nursery.start_soon(_cancel_at, exchanges.shutdown, accepting)
                    task_status.started(("memory:",))
                    async for link in self._connections:
                        nursery.start_soon(self._serve, exchanges, link)
            finally:
                # Before the others have drained: nobody new is taken any more.
                self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        """End the connections nobody took: their clients would wait for an answer until their deadline."""
        while True:
            try:
                self._connections.receive_nowait().close()
            except trio.WouldBlock:
                break
        self._connections.close()

    async def _serve(self, exchanges: Intake, link: MemoryLink) -> None:
        info = ConnectionInfo(transport="memory", connection_id=connection_id("memory"))
        await serve_link(exchanges, link, info, self._metrics, given_up=link.wait_given_up)

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters."""
        return self._metrics.snapshot()


async def _cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


class MemoryClientTransport(ClientTransport):
    """The asking half of a memory transport."""

    def __init__(self, server: MemoryServerTransport) -> None:
        self._server = server
        self._metrics = TransportMetrics()

    @property
    def address(self) -> str:
        """``memory:``."""
        return "memory:"

    async def run(
        self, setup: ClientSetup, *, task_status: trio.TaskStatus[ClientConnection] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Connect and serve the connection; see `abc.ClientTransport.run`.

        Raises:
            TransportError: The server has ended, or ended the connection.
        """
        link = await self._server.connect()
        info = ConnectionInfo(transport="memory", connection_id=connection_id("memory"))
        await PipeConnection(setup, link, info, self._metrics).run(task_status=task_status)


def memory_transports() -> tuple[MemoryServerTransport, MemoryClientTransport]:
    """Return a serving transport and a client transport that leads to it."""
    server = MemoryServerTransport()
    return server, server.client()
