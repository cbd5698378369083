"""Listening on the addresses of a name, and on nothing else."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio

from trio_mcp_transport.errors import ConnectionFailed
from trio_mcp_transport.transports.accept import close_all
from trio_mcp_transport.transports.tcp_listen import listen_on, plain_socket

Addresses = list[tuple[Any, ...]]


class FakeResolver(trio.abc.HostnameResolver):
    """Says what a name leads to."""

    def __init__(self, *hosts: str) -> None:
        self._hosts = hosts

    async def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        return [
            (socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
            for host in self._hosts
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


async def test_a_free_port_is_the_same_on_every_address_of_the_name() -> None:
    trio.socket.set_custom_hostname_resolver(FakeResolver("127.0.0.1", "127.0.0.2", "127.0.0.1"))
    listeners = await listen_on("two.example", 0, "tcp")
    try:
        names = [listener.socket.getsockname() for listener in listeners]
        assert [name[0] for name in names] == ["127.0.0.1", "127.0.0.2"]
        assert names[0][1] == names[1][1] != 0
    finally:
        await close_all(listeners)


async def test_a_port_that_is_taken_is_one_typed_error_and_nothing_stays_open() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        trio.socket.set_custom_hostname_resolver(FakeResolver("127.0.0.1", "127.0.0.2"))
        with pytest.raises(ConnectionFailed, match=rf"cannot listen on tcp://two.example:{port}: .*in use") as caught:
            await listen_on("two.example", port, "tcp")
        assert isinstance(caught.value.__cause__, OSError)
        with socket.create_server(("127.0.0.1", port)):
            pass  # The first address was let go of.


async def test_a_name_that_leads_nowhere_is_one_typed_error() -> None:
    class Nowhere(FakeResolver):
        async def getaddrinfo(self, *args: Any, **options: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    trio.socket.set_custom_hostname_resolver(Nowhere())
    with pytest.raises(ConnectionFailed, match=r"tls://nowhere.example:0: .*not known"):
        await listen_on("nowhere.example", 0, "tls")


async def test_an_address_of_another_host_is_refused_by_the_system() -> None:
    with pytest.raises(ConnectionFailed, match=r"tcp://192\.0\.2\.1:0"):
        await listen_on("192.0.2.1", 0, "tcp")


@pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")
async def test_every_ipv6_address_is_not_every_ipv4_address() -> None:
    try:
        listeners = await listen_on("::", 0, "tcp")
    except ConnectionFailed:
        return  # The system knows IPv6 and has no address of it.
    try:
        assert listeners[0].socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    finally:
        await close_all(listeners)


async def test_a_stream_of_trio_gives_up_its_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = await trio.open_tcp_stream("127.0.0.1", listener.getsockname()[1])
        fd = stream.socket.fileno()
        with plain_socket(stream) as sock:
            assert sock.fileno() == fd
            assert sock.family == socket.AF_INET
        assert stream.socket.fileno() == -1
