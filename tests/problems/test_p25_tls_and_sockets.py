"""Problem 25: TLS, client certificates, Unix sockets and custom transports, which every SDK does once or not at all.

The published test: one conformance suite passes over every channel, each also under TLS with a client certificate; a
Unix socket has mode 0600, replaces a stale one, goes with its server and tells who its peer is; and a transport of a
third party needs at most 25 lines to pass the suite.  The suite is `testing.check_transport`.  Over memory, stdio, TCP,
Unix sockets and WebSocket it runs in ``tests/transports/test_certified.py``; here is the rest.  HTTP joins with its
transport.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import ssl
import stat
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio

from tests.certificates import client_context, server_context
from trio_mcp_transport import (
    ClientTransport,
    ConnectionFailed,
    Handlers,
    ServerInfo,
    ServerTransport,
    TransportError,
    open_client,
    serve,
)
from trio_mcp_transport.testing import check_transport
from trio_mcp_transport.transports.tcp import TcpClientTransport, TcpServerTransport
from trio_mcp_transport.transports.unix import UnixClientTransport, UnixServerTransport
from trio_mcp_transport.transports.websocket import WebSocketClientTransport, WebSocketServerTransport

THIRD_PARTY = Path(__file__).resolve().parents[2] / "examples" / "custom_transport.py"
MOST_LINES = 25
SECONDS = 10.0


async def who(message: Any, context: Any) -> dict[str, Any]:
    """Say who is asking, as far as the transport knows."""
    peer = context.peer
    subject = None if peer.certificate is None else str(peer.certificate.get("subjectAltName"))
    return {"certificate": subject, "credentials": peer.credentials}


start = partial(serve, server_info=ServerInfo("who", "1"))


def third_party() -> ModuleType:
    spec = importlib.util.spec_from_file_location("third_party_transport", THIRD_PARTY)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_a_third_partys_transport_passes() -> None:
    module = third_party()
    names = iter(range(1000))

    def make_pair() -> Any:
        name = f"trio-mcp-p25-{os.getpid()}-{next(names)}"
        return module.AbstractServer(name), lambda addresses: module.AbstractClient(name)

    async def connect_stream(addresses: tuple[str, ...]) -> trio.abc.Stream:
        return await trio.open_unix_socket("\0" + addresses[0].removeprefix("abstract:"))

    report = await check_transport(make_pair, connect_stream=connect_stream, oversize="goes on")
    assert report.left_out == {}


def test_a_third_partys_transport_is_short() -> None:
    text = THIRD_PARTY.read_text(encoding="utf-8")
    _, _, rest = text.partition("# The transport begins here.")
    transport, _, _ = rest.partition("# The transport ends here.")
    assert "class AbstractServer" in transport and "class AbstractClient" in transport
    lines = [line for line in transport.splitlines() if line.strip()]
    assert len(lines) <= MOST_LINES


Pair = tuple[ServerTransport, Any]


def tcp(theirs: ssl.SSLContext, folder: Path) -> Pair:
    def client(address: str, ours: ssl.SSLContext) -> ClientTransport:
        return TcpClientTransport("localhost", int(address.rpartition(":")[2]), ssl_context=ours)

    return TcpServerTransport(ssl_context=theirs), client


def unix(theirs: ssl.SSLContext, folder: Path) -> Pair:
    def client(address: str, ours: ssl.SSLContext) -> ClientTransport:
        return UnixClientTransport(folder / "socket", ssl_context=ours)

    return UnixServerTransport(folder / "socket", ssl_context=theirs), client


def websocket(theirs: ssl.SSLContext, folder: Path) -> Pair:
    def client(address: str, ours: ssl.SSLContext) -> ClientTransport:
        port = address.rstrip("/").rpartition(":")[2]
        return WebSocketClientTransport(f"wss://localhost:{port}/", ssl_context=ours)

    return WebSocketServerTransport(ssl_context=theirs), client


@pytest.mark.parametrize("channel", [tcp, unix, websocket])
async def test_a_client_certificate_is_demanded_checked_and_told(channel: Any, tmp_path: Path) -> None:
    server, client = channel(server_context(demand="clients"), tmp_path)
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(start, Handlers(who), server)
        with trio.fail_after(SECONDS):
            known = client_context(shows="alice.example.org", issued_by="clients")
            async with open_client(client(address, known)) as one:
                assert "alice.example.org" in (await one.request("who"))["certificate"]
            for stranger in (client_context(), client_context(shows="eve.example.org", issued_by="strangers")):
                with pytest.raises(TransportError):
                    async with open_client(client(address, stranger)):
                        pass
            with pytest.raises(ConnectionFailed):  # and the other way round: nobody talks to a server it cannot trust
                async with open_client(client(address, client_context(trusts="strangers"))):
                    pass
            async with open_client(client(address, known)) as one:
                assert await one.request("who")
        nursery.cancel_scope.cancel()


async def test_a_unix_socket_is_private_and_knows_its_peer(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    assert stat.S_ISSOCK(path.stat().st_mode)
    async with trio.open_nursery() as nursery:
        assert await nursery.start(start, Handlers(who), UnixServerTransport(path)) == (f"unix:{path}",)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with trio.fail_after(SECONDS):
            async with open_client(UnixClientTransport(path)) as client:
                credentials = (await client.request("who"))["credentials"]
            assert tuple(credentials) == (os.getpid(), os.getuid(), os.getgid())
            with pytest.raises(ConnectionFailed, match="listens"):  # a living server is not pushed aside
                await serve(Handlers(who), UnixServerTransport(path))
        nursery.cancel_scope.cancel()
    assert not path.exists()


async def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(TransportError):
        await serve(Handlers(who), UnixServerTransport(path))
    assert path.read_text() == "data"


async def refusal(transport: ClientTransport) -> ConnectionFailed:
    """Return the one typed error, which must come in less than a second."""
    with trio.fail_after(1), pytest.raises(ConnectionFailed) as caught:
        await open_client(transport).__aenter__()
    return caught.value


async def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(start, Handlers(who), TcpServerTransport(ssl_context=server_context()))
        port = int(address.rpartition(":")[2])
        error = await refusal(TcpClientTransport("localhost", port, tls=True))
        assert "certificate of localhost is not accepted" in str(error)
        assert str(port) in str(error)
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
        nursery.cancel_scope.cancel()
    assert "no such file" in str(await refusal(UnixClientTransport(tmp_path / "missing"))).lower()
