"""A running server on a socket and clients of it, for tests of either family.

Must never judge what happens; tests do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from tests.support import Wire, echo_params
from trio_mcp_transport import Handlers, MessageHandler, ServerInfo, serve
from trio_mcp_transport.transports.socketstream import SocketStream
from trio_mcp_transport.transports.tcp import TcpClientTransport, TcpServerTransport
from trio_mcp_transport.transports.unix import UnixClientTransport, UnixServerTransport

__all__ = ["FAMILIES", "Running", "client_of", "connect_raw", "serving"]

FAMILIES = ["tcp", "unix"]


@attrs.define
class Running:
    """A server that runs.

    Attributes:
        transport: Its transport.
        addresses: What it reported.
        shutdown: Makes it drain.
        ended: Set once it has ended.
    """

    transport: TcpServerTransport | UnixServerTransport
    addresses: tuple[str, ...] = ()
    shutdown: trio.Event = attrs.field(factory=trio.Event)
    ended: trio.Event = attrs.field(factory=trio.Event)

    @property
    def address(self) -> str:
        """The first address."""
        return self.addresses[0]


@asynccontextmanager
async def serving(
    transport: TcpServerTransport | UnixServerTransport, handler: Any = echo_params, **options: Any
) -> AsyncIterator[Running]:
    """Run a server; it is cancelled at the end of the block.

    Args:
        transport: Its transport.
        handler: A `MessageHandler`, or a function for requests.
        **options: As for `serve`.
    """
    options.setdefault("server_info", ServerInfo("test", "1"))
    running = Running(transport)
    handler = handler if isinstance(handler, MessageHandler) else Handlers(handler)

    async def run(*, task_status: Any) -> None:
        await serve(handler, transport, shutdown=running.shutdown, task_status=task_status, **options)
        running.ended.set()

    async with trio.open_nursery() as nursery:
        running.addresses = await nursery.start(run)
        yield running
        nursery.cancel_scope.cancel()


def client_of(address: str, **options: Any) -> TcpClientTransport | UnixClientTransport:
    """Return a client transport that leads to an address."""
    kind: Any = UnixClientTransport if address.startswith("unix:") else TcpClientTransport
    return partial(kind.from_address, address)(**options)  # type: ignore[no-any-return]  # one of the two


async def connect_raw(address: str) -> Wire:
    """Connect without a client: the test writes and reads bytes."""
    stream = await client_of(address.replace("tls:", "tcp:"))._connect()
    assert isinstance(stream, SocketStream)
    return Wire(stream)
