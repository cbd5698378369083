"""A transport of many connections over byte streams in memory that is easy to break at any place.

Must never be broken itself: `HubServer` and `HubClient` pass every check, and each broken one changes one method.
"""

from __future__ import annotations

import trio

from trio_mcp_transport import ClientTransport, FrameCodec, LocalProtocolError, NewlineCodec, ServerTransport
from trio_mcp_transport.abc import MessageLink
from trio_mcp_transport.connect import ClientConnection, ClientSetup
from trio_mcp_transport.context import ConnectionInfo
from trio_mcp_transport.errors import ConnectionFailed
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.metrics import TransportMetrics, TransportStatistics
from trio_mcp_transport.pipe.client import CLIENT_MESSAGE_SIZE, PipeConnection
from trio_mcp_transport.pipe.end import connection_id
from trio_mcp_transport.pipe.framed import FramedLink
from trio_mcp_transport.pipe.server import SERVER_MESSAGE_SIZE, serve_link
from trio_mcp_transport.testing import byte_stream_pair


class HubServer(ServerTransport):
    """Serves every stream that `connect` opens."""

    addresses: tuple[str, ...] = ("hub:",)

    def __init__(self) -> None:
        self.used = False
        self.metrics = TransportMetrics()
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](100)

    async def connect(self) -> trio.abc.Stream:
        near, far = byte_stream_pair()
        try:
            await self._send.send(far)
        except trio.BrokenResourceError as error:
            raise ConnectionFailed("the hub has ended") from error
        return near

    def codec(self, size: int) -> FrameCodec:
        return NewlineCodec(size)

    def wrap_stream(self, stream: trio.abc.Stream) -> trio.abc.Stream:
        return stream

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return link

    def write_deadline(self, exchanges: Intake) -> float | None:
        return exchanges.limits.write_deadline

    def refuse_second_run(self) -> None:
        if self.used:
            raise LocalProtocolError("a transport object runs once")
        self.used = True

    async def run(
        self, exchanges: Intake, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self.refuse_second_run()
        async with trio.open_nursery() as nursery:
            try:
                with trio.CancelScope() as accepting:
                    nursery.start_soon(self.cancel_at, exchanges.shutdown, accepting)
                    task_status.started(self.addresses)
                    async for stream in self._receive:
                        nursery.start_soon(self.serve_one, exchanges, stream)
            finally:
                self._receive.close()

    async def cancel_at(self, event: trio.Event, scope: trio.CancelScope) -> None:
        await event.wait()
        scope.cancel()

    async def serve_one(self, exchanges: Intake, stream: trio.abc.Stream) -> None:
        limits = exchanges.limits
        codec = self.codec(limits.message_size(SERVER_MESSAGE_SIZE))
        deadline = self.write_deadline(exchanges)
        link = FramedLink(self.wrap_stream(stream), codec, limits, write_deadline=deadline, metrics=self.metrics)
        info = ConnectionInfo(transport="hub", connection_id=connection_id("hub"))
        await serve_link(exchanges, self.wrap_link(link, exchanges), info, self.metrics)

    def statistics(self) -> TransportStatistics:
        return self.metrics.snapshot()


class HubClient(ClientTransport):
    """Speaks with a `HubServer`."""

    connection = PipeConnection

    def __init__(self, server: HubServer) -> None:
        self.server = server
        self.metrics = TransportMetrics()

    def codec(self, size: int) -> FrameCodec:
        return NewlineCodec(size)

    def wrap_link(self, link: MessageLink) -> MessageLink:
        return link

    async def connect(self) -> trio.abc.Stream:
        return await self.server.connect()

    async def run(
        self, setup: ClientSetup, *, task_status: trio.TaskStatus[ClientConnection] = trio.TASK_STATUS_IGNORED
    ) -> None:
        stream = await self.connect()
        codec = self.codec(setup.limits.message_size(CLIENT_MESSAGE_SIZE))
        deadline = setup.limits.write_deadline
        link = FramedLink(stream, codec, setup.limits, write_deadline=deadline, metrics=self.metrics)
        info = ConnectionInfo(transport="hub", connection_id=connection_id("hub"))
        await self.connection(setup, self.wrap_link(link), info, self.metrics).run(task_status=task_status)
