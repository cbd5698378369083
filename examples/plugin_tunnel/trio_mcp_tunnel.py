"""MCP through any program that carries bytes, such as ssh or socat, at either end: ``tunnel:COMMAND``.

What the program reads and writes is the connection.  A client whose server is behind ssh, and a server that dials out
to a relay instead of listening:

    trio-mcp call tools/list --to "tunnel:ssh me@example.com trio-mcp echo stdio"
    server_transport_for("tunnel:socat - TCP:relay.example.com:7000")
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from functools import partial
from subprocess import PIPE

import attrs
import trio
from trio import TASK_STATUS_IGNORED as IGNORED
from trio import TaskStatus

from trio_mcp_transport import ClientTransport, LocalProtocolError, NewlineCodec, ServerTransport
from trio_mcp_transport.connect import ClientConnection, ClientSetup
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.pipe import run_stream, serve_stream
from trio_mcp_transport.pipe.client import CLIENT_MESSAGE_SIZE
from trio_mcp_transport.pipe.server import SERVER_MESSAGE_SIZE
from trio_mcp_transport.registry import TransportPlugin


async def carry(command: list[str], serve: Callable[[trio.abc.Stream], Awaitable[None]]) -> None:
    """Run the program, serve its streams, and give it a moment to carry on what it was given last."""
    start = partial(trio.run_process, command, stdin=PIPE, stdout=PIPE, check=False)
    async with trio.open_nursery() as nursery:
        process = await nursery.start(start)
        await serve(trio.StapledStream(process.stdin, process.stdout))
        with trio.move_on_after(2):
            await process.wait()
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Tunnel:
    # What is no command is refused here, before anything is opened: the registry makes a ConfigError of it.
    command: list[str] = attrs.field(converter=shlex.split, validator=attrs.validators.min_len(1))
    used: bool = False


class TunnelServer(Tunnel, ServerTransport):
    async def run(self, exchanges: Intake, *, task_status: TaskStatus[tuple[str, ...]] = IGNORED) -> None:
        if self.used:
            raise LocalProtocolError("a transport object runs once")
        self.used = True
        codec = NewlineCodec(exchanges.limits.message_size(SERVER_MESSAGE_SIZE))
        task_status.started((f"tunnel:{shlex.join(self.command)}",))
        await carry(self.command, lambda stream: serve_stream(exchanges, stream, codec, transport="tunnel"))


class TunnelClient(Tunnel, ClientTransport):
    async def run(self, setup: ClientSetup, *, task_status: TaskStatus[ClientConnection] = IGNORED) -> None:
        codec = NewlineCodec(setup.limits.message_size(CLIENT_MESSAGE_SIZE))
        await carry(self.command, lambda stream: run_stream(setup, stream, codec, task_status=task_status))


plugin = TransportPlugin(client=TunnelClient, server=TunnelServer, form="COMMAND")
