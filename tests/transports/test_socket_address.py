"""Addresses of sockets: what is reported can be taken apart again, and nothing else passes."""

from __future__ import annotations

import pytest

from trio_mcp_transport.errors import ConfigError
from trio_mcp_transport.transports.socket_address import TcpAddress, UnixAddress, parse_tcp, parse_unix


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("tcp://127.0.0.1:80", TcpAddress("127.0.0.1", 80, "newline", False)),
        ("tls://host.example:443?framing=length-prefix", TcpAddress("host.example", 443, "length-prefix", True)),
        ("TCP://[::1]:0?framing=newline", TcpAddress("::1", 0, "newline", False)),
    ],
)
def test_tcp_addresses(text: str, found: TcpAddress) -> None:
    assert parse_tcp(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:80",
        "tcp:127.0.0.1:80",
        "tcp://127.0.0.1",
        "tcp://:80",
        "tcp://h:port",
        "tcp://h:99999",
        "tcp://h:80/path",
        "tcp://h:80?x=1",
        "tcp://h:80#x",
        "tcp://user@h:80",
        "tcp://[::1:80",
        "ws://h:80",
        "tcp://h:80?framing=other",
        "tcp://h:80?framing=",
    ],
)
def test_what_is_no_tcp_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_tcp(text)


def test_unix_addresses() -> None:
    assert parse_unix("unix:/run/a?b=c") == UnixAddress("/run/a?b=c", "newline")
    assert parse_unix("unix:relative?framing=content-length") == UnixAddress("relative", "content-length")


@pytest.mark.parametrize("text", ["unix:", "/run/a", "tcp://h:80", "unix:a?framing=b"])
def test_what_is_no_unix_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_unix(text)
