"""Problem 25: a custom authority, certificates of clients and Unix sockets just work, and say why where they do not.

The certification of every transport, in plain and over TLS, is in ``tests/transports/test_certified.py``.
"""

from __future__ import annotations

import os
import socket
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from tests.socket_servers import serving
from trio_mcp_transport import open_client
from trio_mcp_transport.errors import ConfigError, ConnectionFailed
from trio_mcp_transport.transports.tcp import TcpClientTransport, TcpServerTransport
from trio_mcp_transport.transports.unix import UnixClientTransport, UnixServerTransport


class Company:
    """A company with an authority of its own, as files: this is what its programs are given."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA(organization_name="company")
        self.authority = folder / "authority.pem"
        self.server = folder / "server.pem"
        self.client = folder / "client.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(self.server))
        authority.issue_cert("alice.company").private_key_and_cert_chain_pem.write_to_path(str(self.client))

    def server_context(self, *, mutual: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.server)
        if mutual:
            context.load_verify_locations(self.authority)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self, *, shows: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority))
        if shows:
            context.load_cert_chain(self.client)
        return context


async def whoami(request: Any, context: Any) -> Any:
    certificate = context.peer.certificate or {}
    return {"names": [name for _, name in certificate.get("subjectAltName", ())], "peer": context.peer.credentials}


def to(address: str, **options: Any) -> TcpClientTransport:
    return TcpClientTransport("localhost", int(address.rpartition(":")[2]), **options)


async def refusal(transport: Any) -> ConnectionFailed:
    """Return the one typed error, which must come in less than a second."""
    with trio.fail_after(1), pytest.raises(ConnectionFailed) as caught:
        await open_client(transport).__aenter__()
    return caught.value


async def test_a_custom_authority_is_one_context_away_and_its_lack_is_named(tmp_path: Path) -> None:
    company = Company(tmp_path)
    async with serving(TcpServerTransport(ssl_context=company.server_context()), whoami) as server:
        async with open_client(to(server.address, ssl_context=company.client_context())) as client:
            assert (await client.request("x"))["names"] == []
        error = await refusal(to(server.address, tls=True))
        assert "certificate of localhost is not accepted" in str(error)
        assert server.address.rpartition(":")[2] in str(error)
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)


async def test_a_client_shows_its_certificate_and_one_without_is_told(tmp_path: Path) -> None:
    company = Company(tmp_path)
    async with serving(TcpServerTransport(ssl_context=company.server_context(mutual=True)), whoami) as server:
        async with open_client(to(server.address, ssl_context=company.client_context(shows=True))) as client:
            assert (await client.request("x"))["names"] == ["alice.company"]
        error = await refusal(to(server.address, ssl_context=company.client_context()))
        # TLS 1.3 tells the client after its own handshake, so a write of the client's may learn of the end first.
        assert any(word in str(error) for word in ("CERTIFICATE_REQUIRED", "reset", "Broken pipe")), str(error)


async def test_a_unix_socket_is_private_replaced_when_dead_and_gone_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "mcp.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(UnixServerTransport(path), whoami):
        assert stat.S_IMODE(os.lstat(path).st_mode) == 0o600
        async with open_client(UnixClientTransport(path)) as client:
            assert (await client.request("x"))["peer"] == [os.getpid(), os.getuid(), os.getgid()]
        second = UnixServerTransport(path)
        with pytest.raises(ConnectionFailed, match="another server listens there"):
            await second.run(None)  # type: ignore[arg-type]  # it never gets as far as to serve
    assert os.listdir(tmp_path) == []
    path.touch()
    with pytest.raises(ConfigError, match="no socket"):
        await UnixServerTransport(path).run(None)  # type: ignore[arg-type]  # as above
    assert "no such file" in str(await refusal(UnixClientTransport(tmp_path / "missing"))).lower()
