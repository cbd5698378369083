"""Every transport of this package passes `check_transport`."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import Any, Literal

import pytest
import trio
import trio.testing
import trustme

from trio_mcp_transport import FrameCodec, MemoryServerTransport, StdioClientTransport
from trio_mcp_transport.testing import (
    CheckReport,
    StreamClientTransport,
    StreamServerTransport,
    byte_stream_pair,
    check_transport,
)
from trio_mcp_transport.testing.transport_checks.program import ProbeProgram
from trio_mcp_transport.transports.framings import FRAMINGS, codec_factory
from trio_mcp_transport.transports.secure import SecureStream
from trio_mcp_transport.transports.tcp import TcpClientTransport, TcpServerTransport
from trio_mcp_transport.transports.unix import UnixClientTransport, UnixServerTransport
from trio_mcp_transport.transports.websocket import WebSocketClientTransport, WebSocketServerTransport
from trio_mcp_transport.transports.websocket_opening import ask_upgrade
from trio_mcp_transport.wire.websocket import WebSocketCodec
from trio_mcp_transport.wire.websocket_handshake import ClientHandshake


def report_of(report: CheckReport, *, without: set[str]) -> None:
    """See that exactly what the channel cannot do was left out."""
    assert set(report.left_out) == without, str(report)


async def test_memory(autojump_clock: trio.testing.MockClock) -> None:
    def make_pair() -> Any:
        server = MemoryServerTransport()
        return server, lambda addresses: server.client()

    report = await check_transport(make_pair, limits=False)
    streams = {name for name, why in report.left_out.items() if why == "no connect_stream was given"}
    limits = {"a_server_keeps_its_limit", "a_client_keeps_its_limit", "outgoing_limits_hold"}
    assert len(streams) == 7
    report_of(report, without=streams | limits)


async def test_a_stream(autojump_clock: trio.testing.MockClock) -> None:
    near: list[trio.abc.Stream] = []

    def make_pair() -> Any:
        ours, theirs = byte_stream_pair()
        near[:] = [ours]
        return StreamServerTransport(theirs), lambda addresses: StreamClientTransport(ours)

    async def connect_stream(addresses: tuple[str, ...]) -> trio.abc.Stream:
        return near[0]

    report = await check_transport(make_pair, connect_stream=connect_stream, several_clients=False)
    assert set(report.left_out.values()) == {"several_clients=False"}


class ChildStream(trio.abc.HalfCloseableStream):
    """The two pipes of a child, which ends with them."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stdin.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stdin.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._stdout.receive_some(max_bytes))

    async def send_eof(self) -> None:
        await self._stdin.aclose()

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stdin)
            await trio.aclose_forcefully(self._stdout)
            with trio.move_on_after(0.5):
                await self._process.wait()
            self._process.kill()
            await self._process.wait()


async def test_stdio(tmp_path: Path) -> None:
    programs: list[ProbeProgram] = []

    def make_pair() -> Any:
        programs[:] = [program := ProbeProgram(tmp_path)]
        return program, lambda addresses: StdioClientTransport(program.command, inherit_env=True)

    async def connect_stream(addresses: tuple[str, ...]) -> trio.abc.Stream:
        command = programs[0].command
        return ChildStream(await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    report = await check_transport(
        make_pair,
        connect_stream=connect_stream,
        write_deadline=False,  # a debugger may hold the other end for minutes
        oversize="goes on",
        injection_points=4,  # each of them starts a process
    )
    report_of(
        report,
        without={"an_object_runs_once", "statistics_count", "a_peer_that_stops_reading_is_given_up"},
    )


class Contexts:
    """A server's and a client's context that trust one authority; with ``mutual`` the client shows a certificate."""

    def __init__(self, *, mutual: bool = False) -> None:
        authority = trustme.CA()
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(self.server)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)
        if mutual:
            self.server.verify_mode = ssl.CERT_REQUIRED
            authority.configure_trust(self.server)
            authority.issue_cert("client@example.org").configure_cert(self.client)


SECURITY = pytest.mark.parametrize("security", ["plain", "tls", "mtls"])
Security = Literal["plain", "tls", "mtls"]


def contexts_for(security: Security) -> Contexts | None:
    return None if security == "plain" else Contexts(mutual=security == "mtls")


async def secured(stream: trio.abc.Stream, contexts: Contexts | None) -> trio.abc.Stream:
    """Put TLS around a stream, if there is any; a stream whose handshake does not come to its end is closed."""
    if contexts is None:
        return stream
    secure = SecureStream(stream, ssl_context=contexts.client, server_hostname="localhost")
    try:
        await secure.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secure


def port_of(addresses: tuple[str, ...]) -> int:
    return int(addresses[0].partition("?")[0].rstrip("/").rpartition(":")[2])


# Which framing is used has nothing to do with who shows a certificate.
FRAMED = [(framing, security) for framing in FRAMINGS for security in ("plain", "tls")]


@pytest.mark.parametrize(("framing", "security"), [*FRAMED, ("newline", "mtls")])
async def test_tcp(framing: Any, security: Security) -> None:
    contexts = contexts_for(security)
    ours = None if contexts is None else contexts.client

    def make_pair() -> Any:
        server = TcpServerTransport(framing=framing, ssl_context=None if contexts is None else contexts.server)
        return server, lambda addresses: TcpClientTransport(
            "localhost", port_of(addresses), framing=framing, ssl_context=ours
        )

    async def connect_stream(addresses: tuple[str, ...]) -> trio.abc.Stream:
        return await secured(await trio.open_tcp_stream("127.0.0.1", port_of(addresses)), contexts)

    report = await check_transport(
        make_pair,
        connect_stream=connect_stream,
        codec=codec_factory(framing),
        oversize="goes on" if framing == "newline" else "closes",
    )
    report_of(report, without=set())


@SECURITY
async def test_unix(security: Security, tmp_path: Path) -> None:
    contexts = contexts_for(security)
    ours = None if contexts is None else contexts.client
    path = tmp_path / "socket"

    def make_pair() -> Any:
        server = UnixServerTransport(path, ssl_context=None if contexts is None else contexts.server)
        return server, lambda addresses: UnixClientTransport(path, ssl_context=ours)

    async def connect_stream(addresses: tuple[str, ...]) -> trio.abc.Stream:
        return await secured(await trio.open_unix_socket(path), contexts)

    report = await check_transport(make_pair, connect_stream=connect_stream, oversize="goes on")
    report_of(report, without=set())


def websocket_codec(size: int) -> FrameCodec:
    return WebSocketCodec("client", size)


@pytest.mark.parametrize("engine", ["trio-websocket", "native"])
@SECURITY
async def test_websocket(engine: Any, security: Security) -> None:
    contexts = contexts_for(security)
    ours = None if contexts is None else contexts.client

    def make_pair() -> Any:
        server = WebSocketServerTransport(engine=engine, ssl_context=None if contexts is None else contexts.server)
        scheme = "ws" if contexts is None else "wss"
        return server, lambda addresses: WebSocketClientTransport(
            f"{scheme}://localhost:{port_of(addresses)}/", engine=engine, ssl_context=ours
        )

    async def connect_stream(addresses: tuple[str, ...]) -> trio.abc.Stream:
        port = port_of(addresses)
        stream = await secured(await trio.open_tcp_stream("127.0.0.1", port), contexts)
        try:
            await ask_upgrade(stream, ClientHandshake("localhost", "/", port=port, secure=contexts is not None))
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    report = await check_transport(
        make_pair,
        connect_stream=connect_stream,
        codec=websocket_codec,
        oversize="closes",
        half_close=False,  # RFC 6455 knows no end of one direction
    )
    report_of(report, without={"half_close_brings_every_answer"})
