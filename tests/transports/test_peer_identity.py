"""Who is at the other end, as the operating system tells it."""

from __future__ import annotations

import os
import socket

from tests.sockets import tcp_pair, unix_pair
from trio_mcp_transport.context import Peer
from trio_mcp_transport.transports.peer_identity import host_and_port, tcp_peer, unix_credentials, unix_peer


async def test_a_tcp_peer_has_its_address() -> None:
    left, right = tcp_pair()
    async with left, right:
        port = left.socket.getsockname()[1]
        assert tcp_peer(right.socket, "tls") == Peer(address=f"tls://127.0.0.1:{port}")


def test_a_peer_that_is_gone_has_none() -> None:
    with socket.socket() as sock:
        assert tcp_peer(sock, "tcp") == Peer()


async def test_a_unix_peer_has_its_credentials() -> None:
    left, right = unix_pair()
    async with left, right:
        assert unix_credentials(left.socket) == (os.getpid(), os.getuid(), os.getgid())
        peer = unix_peer(left.socket, "/run/s")
        assert (peer.address, peer.credentials) == ("unix:/run/s", (os.getpid(), os.getuid(), os.getgid()))


def test_a_closed_socket_and_a_system_that_does_not_tell_give_none(monkeypatch: object) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.close()
    assert unix_credentials(sock) is None


def test_ipv6_hosts_are_in_brackets() -> None:
    assert host_and_port("::1", 80) == "[::1]:80"
    assert host_and_port("localhost", 80) == "localhost:80"
