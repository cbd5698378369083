"""The one grammar of addresses: what ``started()`` reports, ``--to`` takes and a configuration names.

Must never open anything, nor import a transport: an address is text taken apart.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Final, Literal, get_args
from urllib.parse import quote, unquote_to_bytes

import attrs

from .errors import ConfigError

__all__ = [
    "FRAMINGS",
    "SCHEMES",
    "Address",
    "Endpoint",
    "FramingName",
    "HttpUnixEndpoint",
    "TcpEndpoint",
    "UnixEndpoint",
    "UrlEndpoint",
    "parse_address",
    "parse_endpoint",
]

SCHEMES: Final = {
    "stdio": "stdio:",
    "memory": "memory:",
    "tcp": "tcp://HOST:PORT",
    "tls": "tls://HOST:PORT",
    "unix": "unix:PATH",
    "ws": "ws://HOST:PORT/PATH",
    "wss": "wss://HOST:PORT/PATH",
    "http": "http://HOST:PORT/PATH",
    "https": "https://HOST:PORT/PATH",
    "http+unix": "http+unix://PERCENT-ENCODED-PATH/PATH",
}
"""Every scheme of the grammar and its form; a plug-in adds its own name in front of the colon."""

FramingName = Literal["newline", "content-length", "length-prefix"]
"""What ``?framing=`` may name on ``tcp``, ``tls`` and ``unix``; newline where nothing is said."""

FRAMINGS: Final[tuple[FramingName, ...]] = get_args(FramingName)
"""The names."""

# RFC 6455 section 3 and RFC 9110 section 4.2; what has no port here has none by default either.
DEFAULT_PORTS: Final = {"ws": 80, "wss": 443, "http": 80, "https": 443}
DEFAULT_PATHS: Final = {"ws": "/", "wss": "/", "http": "/mcp", "https": "/mcp"}

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.S)  # RFC 3986 section 3.1: case does not matter
_AUTHORITY = re.compile(r"(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[^:]*))?")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")
_TARGET = re.compile(r"/[!\"$-~]*")  # visible ASCII, and no fragment
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ZONE = re.compile(r"[A-Za-z0-9._~-]+")  # RFC 6874; what stands here ends up in a Host header


@attrs.frozen
class Address:
    """An address in its two parts.

    Attributes:
        scheme: What stands in front of the first colon, in lower case.
        rest: What stands behind it, untouched.
    """

    scheme: str
    rest: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.rest}"


@attrs.frozen
class TcpEndpoint:
    """What ``tcp://`` and ``tls://`` name.

    Attributes:
        scheme: ``tcp`` or ``tls``.
        host: A name, an IPv4 address, or an IPv6 address without its brackets.
        port: 1 to 65535; 0 where any free port may be served.
        framing: One of `FRAMINGS`.
    """

    scheme: str
    host: str
    port: int
    framing: FramingName = "newline"

    def __str__(self) -> str:
        return f"{self.scheme}://{_authority(self.host, self.port)}{_query(self.framing)}"


@attrs.frozen
class UnixEndpoint:
    """What ``unix:`` names.

    Attributes:
        path: Of the socket; a question mark cannot be part of it.
        framing: One of `FRAMINGS`.
        scheme: ``unix``.
    """

    path: str
    framing: FramingName = "newline"
    scheme: str = attrs.field(default="unix", init=False)

    def __str__(self) -> str:
        return f"unix:{self.path}{_query(self.framing)}"


@attrs.frozen
class UrlEndpoint:
    """What ``ws://``, ``wss://``, ``http://`` and ``https://`` name.

    Attributes:
        scheme: One of the four.
        host: As in `TcpEndpoint`.
        port: As in `TcpEndpoint`; a client may leave it to the scheme.
        path: From the slash on, with a query if there is one, percent-encoded as it was written.
    """

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{_authority(self.host, self.port)}{self.path}"


@attrs.frozen
class HttpUnixEndpoint:
    """What ``http+unix://`` names.

    Attributes:
        socket: Path of the socket, decoded.
        path: As in `UrlEndpoint`.
        scheme: ``http+unix``.
    """

    socket: str
    path: str
    scheme: str = attrs.field(default="http+unix", init=False)

    def __str__(self) -> str:
        return f"http+unix://{quote(self.socket, safe='', errors='surrogateescape')}{self.path}"


Endpoint = TcpEndpoint | UnixEndpoint | UrlEndpoint | HttpUnixEndpoint
"""An address of the grammar that names a place in a network or a file system, fully taken apart."""


def parse_address(text: str) -> Address:
    """Take an address apart; whether anything answers to it is not asked here.

    Raises:
        ConfigError: There is no scheme in front of a colon.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"{text!r} is no address: one begins with a scheme, such as stdio: or http:, which is a letter "
            "and then letters, digits, plus, dot or minus"
        )
    return Address(found[1].lower(), found[2])


def parse_endpoint(address: str | Address, *, serving: bool = False) -> Endpoint:
    """Take an address of the grammar apart down to host, port, path and framing, and check each.

    Args:
        address: With one of the schemes that name a place, all but ``stdio`` and ``memory``.
        serving: Whether it is to be served: port 0 then means any free one, and a port has to be given.

    Raises:
        ConfigError: Something in it is missing, out of range, or not part of the grammar; the message says what.
    """
    if isinstance(address, str):
        address = parse_address(address)
    parse = _PARSERS.get(address.scheme)
    if parse is None:
        raise ConfigError(f"{address.scheme}: names no host and no path")
    return parse(address, serving)


def _tcp(address: Address, serving: bool) -> TcpEndpoint:
    _check_authority(address)
    rest, framing = _without_query(address)
    host, port = _host_and_port(address, rest[2:], serving)
    return TcpEndpoint(address.scheme, host, port, framing)


def _unix(address: Address, serving: bool) -> UnixEndpoint:
    path, framing = _without_query(address)
    return UnixEndpoint(_file_path(address, path), framing)


def _url(address: Address, serving: bool) -> UrlEndpoint:
    authority, path = _authority_and_path(address)
    host, port = _host_and_port(address, authority, serving)
    if serving and "?" in path:
        raise _wrong(address, "what is served is a path without a query")
    return UrlEndpoint(address.scheme, host, port, path or DEFAULT_PATHS[address.scheme])


def _http_unix(address: Address, serving: bool) -> HttpUnixEndpoint:
    encoded, path = _authority_and_path(address)
    if _LONE_PERCENT.search(encoded):
        raise _wrong(address, "a percent sign is followed by two hexadecimal digits")
    if not encoded.isascii():
        raise _wrong(address, "the path of the socket is percent-encoded")
    socket = unquote_to_bytes(encoded).decode(errors="surrogateescape")  # as os.fsdecode does
    return HttpUnixEndpoint(_file_path(address, socket), path or DEFAULT_PATHS["http"])


_PARSERS: Final[dict[str, Callable[[Address, bool], Endpoint]]] = {
    "tcp": _tcp,
    "tls": _tcp,
    "unix": _unix,
    "ws": _url,
    "wss": _url,
    "http": _url,
    "https": _url,
    "http+unix": _http_unix,
}


def _without_query(address: Address) -> tuple[str, FramingName]:
    """Split off ``?framing=``; return what stands before it, and the framing."""
    rest, mark, query = address.rest.partition("?")
    if not mark:
        return rest, "newline"
    name, _, framing = query.partition("=")
    if name != "framing" or framing not in FRAMINGS:
        raise _wrong(address, f"behind the question mark stands framing={' or framing='.join(FRAMINGS)}")
    return rest, framing


def _authority_and_path(address: Address) -> tuple[str, str]:
    """Split ``//AUTHORITY/PATH``; the path is empty where nothing was said."""
    _check_authority(address)
    authority, _, _ = address.rest[2:].partition("/")
    if "?" in authority or "#" in authority:
        raise _wrong(address, "a path stands in front of a query")
    path = address.rest[2 + len(authority) :]
    if path and _TARGET.fullmatch(path) is None:
        raise _wrong(address, "its path holds visible ASCII and no fragment; anything else is percent-encoded")
    if _LONE_PERCENT.search(path):
        raise _wrong(address, "a percent sign is followed by two hexadecimal digits")
    return authority, path


def _check_authority(address: Address) -> None:
    if not address.rest.startswith("//"):
        raise _wrong(address, f"it has the form {SCHEMES[address.scheme]}")
    if "@" in re.split("[/?#]", address.rest[2:], maxsplit=1)[0]:
        # Not repeated: what stands before the sign may be a password.
        raise ConfigError(f"{address.scheme}: an address holds no user name and no password")


def _host_and_port(address: Address, text: str, serving: bool) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise _wrong(address, "an IPv6 address stands in brackets, and one port behind a colon")
    ipv6 = found["ipv6"]
    host = _host_name(address, found["name"]) if ipv6 is None else _ipv6(address, ipv6)
    return host, _port(address, found["port"], serving)


def _ipv6(address: Address, text: str) -> str:
    host = text.replace("%25", "%", 1)  # RFC 6874: the percent sign in front of a zone is itself encoded
    number, percent, zone = host.partition("%")
    try:
        ipaddress.IPv6Address(number)
    except ValueError:
        raise _wrong(address, f"[{text}] is no IPv6 address") from None
    if percent and _ZONE.fullmatch(zone) is None:
        raise _wrong(address, f"{zone!r} is no name of a zone")
    return host


def _host_name(address: Address, text: str) -> str:
    if not text:
        raise _wrong(address, "the host is missing")
    if len(text) > 253 or _NAME.fullmatch(text) is None:
        raise _wrong(address, f"{text!r} is no host name in ASCII")
    if text.rstrip(".").rpartition(".")[2].isdigit():
        # A name that ends in a number is an address, or nothing: "127.1" means different things to different programs.
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            raise _wrong(address, f"{text} is no IPv4 address") from None
    return text


def _port(address: Address, text: str | None, serving: bool) -> int:
    if text is None:
        if serving or address.scheme not in DEFAULT_PORTS:
            raise _wrong(address, "the port is missing")
        return DEFAULT_PORTS[address.scheme]
    port = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else -1
    if not (0 if serving else 1) <= port <= 65535:
        raise _wrong(address, f"a port is a number from {0 if serving else 1} to 65535, not {text!r}")
    return port


def _file_path(address: Address, path: str) -> str:
    if not path:
        raise _wrong(address, "the path of the socket is missing")
    if "\0" in path:
        raise _wrong(address, "the path of a socket holds no NUL")
    return path


def _wrong(address: Address, why: str) -> ConfigError:
    return ConfigError(f"{str(address)!r}: {why}")


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _query(framing: str) -> str:
    return "" if framing == "newline" else f"?framing={framing}"
