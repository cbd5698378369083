"""A transport of one's own in 25 lines: MCP over abstract Unix sockets, which have a name but no file (unix(7), Linux).

Without a file there are no permissions either: every user of the machine may connect.  `UnixServerTransport` is the one
to use where that matters.  Run this to see it carry a call, and to have ``check_transport``
certify it.
"""

from __future__ import annotations

import itertools
import logging
import os
from functools import partial
from typing import Any

import attrs
import trio
from trio import TASK_STATUS_IGNORED as IGNORED
from trio import TaskStatus

from trio_mcp_transport import ClientTransport, Handlers, NewlineCodec, ServerInfo, ServerTransport, open_client, serve
from trio_mcp_transport.connect import ClientConnection, ClientSetup
from trio_mcp_transport.errors import LocalProtocolError
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.metrics import TransportMetrics, TransportStatistics
from trio_mcp_transport.pipe import run_stream, serve_stream
from trio_mcp_transport.testing.check_transport import check_transport
from trio_mcp_transport.transports.accept import accept_connections

INFO = ServerInfo(name="echo", version="1.0")
MIB = 1024 * 1024

# The transport begins here.


@attrs.define(eq=False)
class Abstract:
    name: str
    used: bool = False
    metrics: TransportMetrics = attrs.Factory(TransportMetrics)

    def statistics(self) -> TransportStatistics:
        return self.metrics.snapshot()


class AbstractServer(Abstract, ServerTransport):
    async def run(self, exchanges: Intake, *, task_status: TaskStatus[tuple[str, ...]] = IGNORED) -> None:
        async def serve_one(stream: trio.abc.Stream) -> None:
            await serve_stream(exchanges, stream, NewlineCodec(largest), transport="abstract", metrics=self.metrics)

        if self.used:
            raise LocalProtocolError("a transport object runs once")
        self.used = True
        largest = exchanges.limits.message_size(16 * MIB)
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind("\0" + self.name)
        sock.listen()
        task_status.started((f"abstract:{self.name}",))
        await accept_connections([trio.SocketListener(sock)], serve_one, exchanges=exchanges, metrics=self.metrics)


class AbstractClient(Abstract, ClientTransport):
    async def run(self, setup: ClientSetup, *, task_status: TaskStatus[ClientConnection] = IGNORED) -> None:
        codec = NewlineCodec(setup.limits.message_size(64 * MIB))
        stream = await trio.open_unix_socket("\0" + self.name)
        await run_stream(setup, stream, codec, transport="abstract", metrics=self.metrics, task_status=task_status)


# The transport ends here.


async def echo(message: Any, context: Any) -> Any:
    return {"text": message.params["text"]}


async def use_it(name: str) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(request=echo), AbstractServer(name), server_info=INFO))
        async with open_client(AbstractClient(name)) as client:
            result = await client.request("echo", {"text": "hello"})
            print("answered:", result["text"])
        nursery.cancel_scope.cancel()


async def certify_it(name: str) -> None:
    numbers = itertools.count()

    def make_pair() -> tuple[ServerTransport, Any]:
        one = f"{name}-{next(numbers)}"
        return AbstractServer(one), lambda addresses: AbstractClient(one)

    async def connect_stream(addresses: tuple[str, ...]) -> trio.abc.Stream:
        return await trio.open_unix_socket("\0" + addresses[0].removeprefix("abstract:"))

    report = await check_transport(make_pair, connect_stream=connect_stream, injection_points=5)
    print("left out:", ", ".join(report.left_out) or "nothing")
    print("certified")


async def main() -> None:
    # Nobody else's name begins with the number of this process.
    name = f"example-{os.getpid()}"
    await use_it(name)
    logging.disable()  # the checks make handlers fail, and a server says so
    await certify_it(name)


if __name__ == "__main__":
    trio.run(main)
