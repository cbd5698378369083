"""Addresses of sockets taken apart: ``tcp://HOST:PORT``, ``tls://HOST:PORT`` and ``unix:PATH``, each with a framing.

Must never open anything, nor look a name up.
"""

from __future__ import annotations

from typing import cast
from urllib.parse import urlsplit

import attrs

from ..addresses import parse_address
from ..errors import ConfigError
from .framings import Framing, codec_factory

__all__ = ["TcpAddress", "UnixAddress", "parse_tcp", "parse_unix"]

_FRAMING = "?framing="


@attrs.frozen
class TcpAddress:
    """What a ``tcp`` or ``tls`` address says.

    Attributes:
        host: A name or an address, without brackets.
        port: The port.
        framing: The framing.
        tls: Whether it is ``tls``.
    """

    host: str
    port: int
    framing: Framing
    tls: bool


@attrs.frozen
class UnixAddress:
    """What a ``unix`` address says.

    Attributes:
        path: The path of the socket.
        framing: The framing.
    """

    path: str
    framing: Framing


def parse_tcp(text: str) -> TcpAddress:
    """Take a ``tcp`` or ``tls`` address apart.

    Raises:
        ConfigError: It is none.
    """
    address, framing = _split(text)
    scheme = parse_address(address).scheme
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{text!r} is no address of a TCP port: {error}") from error
    extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if scheme not in ("tcp", "tls") or not host or port is None or extra:
        raise ConfigError(f"{text!r} is no address of a TCP port: tcp://HOST:PORT or tls://HOST:PORT")
    return TcpAddress(host, port, framing, scheme == "tls")


def parse_unix(text: str) -> UnixAddress:
    """Take a ``unix`` address apart.

    Raises:
        ConfigError: It is none.
    """
    address, framing = _split(text)
    parts = parse_address(address)
    if parts.scheme != "unix" or not parts.rest:
        raise ConfigError(f"{text!r} is no address of a Unix socket: unix:PATH")
    return UnixAddress(parts.rest, framing)


def _split(text: str) -> tuple[str, Framing]:
    address, found, framing = text.rpartition(_FRAMING)
    if not found:
        return text, "newline"
    codec_factory(framing)
    return address, cast(Framing, framing)
