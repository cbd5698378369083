"""TCP, both sides: addresses, and what a port says when nobody is behind it."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio

from tests.certificates import server_context
from tests.socket_servers import serving
from trio_mcp_transport import Handlers, open_client, serve
from trio_mcp_transport.errors import ConfigError, ConnectionFailed
from trio_mcp_transport.transports.framings import FRAMINGS
from trio_mcp_transport.transports.tcp import TcpClientTransport, TcpServerTransport


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_every_framing_both_ways(framing: Any) -> None:
    async with serving(TcpServerTransport(framing=framing)) as server:
        host, port = "127.0.0.1", int(server.address.partition("?")[0].rpartition(":")[2])
        assert server.addresses == (f"tcp://{host}:{port}" + ("" if framing == "newline" else f"?framing={framing}"),)
        transport = TcpClientTransport(host, port, framing=framing)
        assert transport.address == server.address
        async with open_client(transport) as client:
            assert (await client.request("x", {"n": "é\n" * 1000}))["n"] == "é\n" * 1000


async def test_the_peer_is_in_the_context() -> None:
    async def who(request: Any, context: Any) -> Any:
        return {"peer": context.peer.address, "transport": context.transport, "id": context.connection_id}

    async with (
        serving(TcpServerTransport(), who) as server,
        open_client(TcpClientTransport.from_address(server.address)) as client,
    ):
        found = await client.request("x")
        assert found["peer"].startswith("tcp://127.0.0.1:")
        assert found["transport"] == "tcp"
        assert found["id"].startswith("tcp-")


async def test_an_ipv6_address_is_in_brackets() -> None:
    assert TcpClientTransport("::1", 80).address == "tcp://[::1]:80"
    try:
        probe = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        return  # This system has no IPv6; the address above is all there is to see.
    probe.close()
    async with serving(TcpServerTransport("::1")) as server:
        assert server.address.startswith("tcp://[::1]:")
        async with open_client(TcpClientTransport.from_address(server.address)) as client:
            assert (await client.request("x", {"n": 1}))["n"] == 1


async def test_a_refused_port_is_told_at_once_with_address_and_cause() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = trio.current_time()
    with pytest.raises(ConnectionFailed, match=rf"tcp://127\.0\.0\.1:{port}.*refused") as caught:
        await open_client(TcpClientTransport("127.0.0.1", port)).__aenter__()
    assert isinstance(caught.value.__cause__, OSError)
    assert trio.current_time() - before < 1


async def test_a_name_that_leads_nowhere_is_told_with_address_and_cause() -> None:
    class Nowhere(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *args: Any, **options: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Nowhere())
    with pytest.raises(ConnectionFailed, match=r"tcp://nowhere\.example:80: .*not known") as caught:
        await open_client(TcpClientTransport("nowhere.example", 80)).__aenter__()
    assert isinstance(caught.value.__cause__, socket.gaierror)


async def test_a_port_that_is_taken_is_told_before_anything_is_served() -> None:
    async with serving(TcpServerTransport()) as server:
        port = int(server.address.rpartition(":")[2])
        with pytest.raises(ConnectionFailed, match=f"cannot listen on tcp://127.0.0.1:{port}"):
            await serve(Handlers(), TcpServerTransport(port=port))


async def test_a_port_can_be_taken_again_at_once() -> None:
    async with serving(TcpServerTransport()) as server:
        port = int(server.address.rpartition(":")[2])
        async with open_client(TcpClientTransport("127.0.0.1", port)) as client:
            await client.request("x")
            server.shutdown.set()
            await server.ended.wait()
    async with serving(TcpServerTransport(port=port)) as server:
        assert server.address.endswith(f":{port}")


@pytest.mark.parametrize("host", ["", None, 5, b"127.0.0.1"])
def test_more_than_this_host_must_be_asked_for_by_name(host: Any) -> None:
    with pytest.raises(ConfigError, match=r"host .*0\.0\.0\.0"):
        TcpServerTransport(host)


def test_this_host_is_the_default() -> None:
    assert TcpServerTransport()._host == "127.0.0.1"


@pytest.mark.parametrize("port", [-1, 65536, "80", None, True, 1.5])
def test_ports_that_are_none_are_refused(port: Any) -> None:
    for make in (lambda: TcpServerTransport(port=port), lambda: TcpClientTransport("h", port)):
        with pytest.raises(ConfigError, match="port"):
            make()


def test_ports_at_the_limits() -> None:
    TcpServerTransport(port=0)
    TcpServerTransport(port=65535)
    TcpClientTransport("h", 1)
    with pytest.raises(ConfigError, match="from 1"):
        TcpClientTransport("h", 0)


def test_addresses_and_tls_must_agree() -> None:
    context = server_context()
    TcpServerTransport.from_address("tls://127.0.0.1:0", ssl_context=context)
    for address, options in (("tls://127.0.0.1:0", {}), ("tcp://127.0.0.1:0", {"ssl_context": context})):
        with pytest.raises(ConfigError, match="ssl_context"):
            TcpServerTransport.from_address(address, **options)
    assert (
        TcpClientTransport.from_address("tls://h:1?framing=length-prefix").address == "tls://h:1?framing=length-prefix"
    )
    with pytest.raises(ConfigError):
        TcpClientTransport.from_address("unix:/h")
