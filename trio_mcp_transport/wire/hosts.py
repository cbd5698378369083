"""Which ``Host`` and ``Origin`` values a listener accepts: the guard against web pages that reach a local server.

A page in a browser may open a WebSocket or send a request to any address, and DNS rebinding makes its own name lead to
this machine.  The browser tells the truth in ``Host`` (the name the page used) and ``Origin`` (where the page came
from), so both are compared with what was meant to be reachable.

This file must never guess: a value that is not exactly a host, a port and, for an origin, a scheme is refused whatever
it begins with, and no pattern is ever matched against what a peer sent.

Sources: RFC 9110 section 7.2 (Host), RFC 6454 section 7 (Origin), RFC 6455 section 10.2, MCP 2025-11-25 and 2026-07-28,
"Security Warning" of Streamable HTTP.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import attrs

from ..errors import ConfigError

__all__ = ["DEFAULT_PORTS", "HostCheck", "OriginCheck", "Place", "parse_host", "parse_origin", "sanitised"]

DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
"""The port an address means when it names none, by scheme."""

_LOOPBACK: Final = ipaddress.IPv4Network("127.0.0.0/8")
_LABEL: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_SCHEME: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+-.")
_DIGITS: Final = frozenset("0123456789")
_LONGEST_NAME: Final = 253  # RFC 1035 section 2.3.4, without the root's dot
_LONGEST_LABEL: Final = 63
_HIGHEST_PORT: Final = 65_535
_WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104  # compared with, never bound
_ANY: Final = "*"

_Parsed = TypeVar("_Parsed")


def _entries(entries: Iterable[str]) -> tuple[str, ...]:
    if isinstance(entries, str):
        raise ConfigError(f"{entries!r} is one entry, not a list of them")
    return tuple(entries)


@attrs.frozen
class Place:
    """A host and a port, in one spelling.

    Attributes:
        host: A name in lower case, an IPv4 address, or an IPv6 address compressed and without brackets.
        port: The port named, or None.
    """

    host: str
    port: int | None

    @property
    def loopback(self) -> bool:
        """Whether the host can only mean this machine: ``localhost``, 127.0.0.0/8 or ``::1``."""
        if self.host in ("localhost", "::1"):
            return True
        return _is_ipv4(self.host) and ipaddress.IPv4Address(self.host) in _LOOPBACK


def parse_host(text: str) -> Place:
    """Take a ``Host`` value apart.

    Raises:
        ValueError: It is not exactly ``name``, ``name:port``, ``1.2.3.4:port`` or ``[v6]:port``.
    """
    if text.startswith("["):
        inside, bracket, rest = text[1:].partition("]")
        if not bracket or "%" in inside:
            raise ValueError("no IPv6 address in brackets")
        host = _compressed(ipaddress.IPv6Address(inside))
        colon, port = rest[:1], rest[1:]
        if colon not in ("", ":"):
            raise ValueError("something between the bracket and the port")
    else:
        name, colon, port = text.partition(":")
        host = _name(name)
    return Place(host, _port(port) if colon else None)


def _compressed(address: ipaddress.IPv6Address) -> str:
    if address.ipv4_mapped is None:
        return address.compressed
    # Python 3.13 writes these with dots, as if they were IPv4 addresses; the URL Standard has hexadecimal digits only.
    mapped = int(address.ipv4_mapped)
    return f"::ffff:{mapped >> 16:x}:{mapped & 0xFFFF:x}"


def parse_origin(text: str) -> tuple[str, Place]:
    """Take an ``Origin`` value apart, into the scheme in lower case and the place.

    Raises:
        ValueError: It is not exactly ``scheme://host`` or ``scheme://host:port``; ``null`` is not.
    """
    scheme, separator, authority = text.partition("://")
    scheme = scheme.lower()
    if not separator or not scheme or not _SCHEME.issuperset(scheme) or not scheme[0].isalpha():
        raise ValueError("no scheme")
    return scheme, parse_host(authority)


def sanitised(value: str, longest: int = 100) -> str:
    """Return a peer's text in a form that is safe in a log line or an answer: printable ASCII, quoted, shortened."""
    shown = ascii(value[:longest])
    return shown if len(value) <= longest else f"{shown}..."


@attrs.frozen
class HostCheck:
    """Decides about ``Host`` values.

    Loopback names and the bound host pass with any port: a forwarded port changes the number, and the port is no part
    of what DNS rebinding can disguise.

    Attributes:
        allowed: Further hosts.  ``name`` passes with any port (precedent: Django's ``ALLOWED_HOSTS``), ``name:port``
            with exactly that one; ``*`` switches the check off.
        bound: The host this listener is bound to, or ``""``.  A wildcard address means nothing here.
        scheme: ``ws`` or ``wss`` (``http``, ``https``): the port of a value without one.

    Raises:
        ConfigError: An allowed host is none.
    """

    allowed: Sequence[str] = attrs.field(default=(), converter=_entries)
    bound: str = ""
    scheme: str = "ws"
    _places: frozenset[Place] = attrs.field(init=False, repr=False, eq=False)

    @_places.default
    def _parsed(self) -> frozenset[Place]:
        places = {_configured(parse_host, entry, "host") for entry in self.allowed if entry != _ANY}
        return frozenset(places) | _bound_place(self.bound)

    def refusal(self, values: Sequence[str]) -> str | None:
        """Return why the request's ``Host`` values are refused, in one line of safe text, or None when they pass.

        Args:
            values: Every value of the header; a request has exactly one (RFC 9112 section 3.2).
        """
        if len(values) != 1:
            return f"the request has {len(values)} Host headers instead of one"
        if _ANY in self.allowed:
            return None
        try:
            place = parse_host(values[0])
        except ValueError:
            return f"Host {sanitised(values[0])} is no host"
        if place.loopback or Place(place.host, None) in self._places:
            return None
        if Place(place.host, place.port or DEFAULT_PORTS.get(self.scheme)) in self._places:
            return None
        return f"Host {sanitised(values[0])} is not allowed here; allowed_hosts= would allow it"


@attrs.frozen
class OriginCheck:
    """Decides about ``Origin`` values.

    No value passes: only browsers send one, and they always do.  Pages of loopback hosts and of the bound host pass
    with any port, over ``http`` and ``https``.

    Attributes:
        allowed: Further origins.  ``https://name`` means the scheme's own port, ``https://name:port`` exactly that
            one; ``null`` allows pages without an origin; ``*`` switches the check off.
        bound: The host this listener is bound to, or ``""``.

    Raises:
        ConfigError: An allowed origin is none.
    """

    allowed: Sequence[str] = attrs.field(default=(), converter=_entries)
    bound: str = ""
    _origins: frozenset[tuple[str, Place]] = attrs.field(init=False, repr=False, eq=False)
    _bound: frozenset[Place] = attrs.field(init=False, repr=False, eq=False)

    @_origins.default
    def _parsed(self) -> frozenset[tuple[str, Place]]:
        entries = [entry for entry in self.allowed if entry not in (_ANY, "null")]
        return frozenset(_with_port(_configured(parse_origin, entry, "origin")) for entry in entries)

    @_bound.default
    def _own_place(self) -> frozenset[Place]:
        return _bound_place(self.bound)

    def refusal(self, values: Sequence[str]) -> str | None:
        """Return why the request's ``Origin`` values are refused, in one line of safe text, or None when they pass.

        Args:
            values: Every value of the header.
        """
        if not values:
            return None
        if len(values) != 1:
            return f"the request has {len(values)} Origin headers instead of one"
        if _ANY in self.allowed or (values[0] == "null" and "null" in self.allowed):
            return None
        refused = f"Origin {sanitised(values[0])} is not allowed here; allowed_origins= would allow it"
        if values[0] == "null":
            return refused
        try:
            scheme, place = parse_origin(values[0])
        except ValueError:
            return f"Origin {sanitised(values[0])} is no origin"
        own = place.loopback or Place(place.host, None) in self._bound
        if (own and scheme in ("http", "https")) or _with_port((scheme, place)) in self._origins:
            return None
        return refused


def _name(text: str) -> str:
    """Return a DNS name or IPv4 address in lower case; raise ValueError for anything else."""
    name = text.lower()
    labels = name.split(".")
    if not text.isascii() or len(name) > _LONGEST_NAME:
        raise ValueError("no host name")
    if _DIGITS.issuperset(labels[-1]):
        # Whatever ends in a number is an IPv4 address or nothing (URL Standard, "ends in a number checker").
        return str(ipaddress.IPv4Address(name))
    for label in labels:
        if not 0 < len(label) <= _LONGEST_LABEL or not _LABEL.issuperset(label) or "-" in (label[0], label[-1]):
            raise ValueError("no host name")
    return name


def _port(text: str) -> int:
    if not 0 < len(text) <= len(str(_HIGHEST_PORT)) or not _DIGITS.issuperset(text) or text[0] == "0":
        raise ValueError("no port")
    port = int(text)
    if port > _HIGHEST_PORT:
        raise ValueError("no port")
    return port


def _is_ipv4(host: str) -> bool:
    return _DIGITS.issuperset(host.rpartition(".")[2])  # `_name` let no other such name pass


def _with_port(origin: tuple[str, Place]) -> tuple[str, Place]:
    scheme, place = origin
    return scheme, Place(place.host, place.port or DEFAULT_PORTS.get(scheme))


def _configured(parse: Callable[[str], _Parsed], entry: str, what: str) -> _Parsed:
    try:
        return parse(entry)
    except ValueError as error:
        raise ConfigError(f"{entry!r} is no {what} to allow: {error}") from None


def _bound_place(bound: str) -> frozenset[Place]:
    """Return what a bound address allows: itself with any port, unless it is a wildcard."""
    if not bound:
        return frozenset()
    bare = bound.strip("[]").partition("%")[0]  # a scope names an interface of this machine, no browser sends it
    place = _configured(parse_host, f"[{bare}]" if ":" in bare else bare, "host")
    return frozenset() if place.host in _WILDCARDS else frozenset({Place(place.host, None)})
