"""From a name to a transport: the built-in schemes, and the plug-ins of other distributions.

A distribution adds a transport with one entry point in the group `GROUP` that leads to a `TransportPlugin`:

.. code-block:: toml

   [project.entry-points."trio_mcp_transport.transports"]
   pty = "my_package:plugin"

Must never import a transport or a plug-in before its name is asked for, and must never let one plug-in's trouble reach
anybody who asks for another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any, Final, TypeVar

import attrs

from .abc import ClientTransport, ServerTransport
from .addresses import SCHEMES, Address, TcpEndpoint, UnixEndpoint, UrlEndpoint, parse_address, parse_endpoint
from .errors import ConfigError, TransportError
from .transports.firewall import call_contained

__all__ = ["GROUP", "TransportPlugin", "client_transport_for", "server_transport_for", "transport_names"]

GROUP: Final = "trio_mcp_transport.transports"
"""The entry-point group; an entry's name is the scheme of its addresses, and like every scheme knows no case."""

OWN_DISTRIBUTION: Final = "trio-mcp-transport"

_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class TransportPlugin:
    """What an entry point leads to: how to make the transports of ``NAME:REST`` out of ``REST``.

    Either side may be missing.  A function that is given a ``REST`` it cannot use raises `ConfigError`.

    Attributes:
        client: Makes a client transport; None where there is none.
        server: Makes a server transport; None where there is none.
        form: What is written behind ``NAME:``, for messages, such as ``DEVICE``.
    """

    client: Callable[[str], ClientTransport] | None = None
    server: Callable[[str], ServerTransport] | None = None
    form: str = "REST"


def client_transport_for(address: str | Address, **options: Any) -> ClientTransport:
    """Return a transport that leads to a server at an address; nothing is opened.

    Args:
        address: An address of the grammar, or ``NAME:REST`` of a plug-in.
        **options: What the constructor of a built-in transport takes beside what the address says, such as
            ``ssl_context``.

    Raises:
        ConfigError: The address is wrong, names nothing that exists, or its plug-in cannot be used.
    """
    address = parse_address(address) if isinstance(address, str) else address
    plugin = _resolve(address, "client", _CLIENTS, options)
    if plugin is None:
        return _CLIENTS[address.scheme](address, options)
    return _made(plugin, address, ClientTransport)  # type: ignore[type-abstract]  # only for isinstance


def server_transport_for(address: str | Address, **options: Any) -> ServerTransport:
    """Return a transport that serves an address; nothing is opened.

    Args:
        address: An address of the grammar, port 0 included, or ``NAME:REST`` of a plug-in.
        **options: What the constructor of a built-in transport takes beside what the address says, such as
            ``max_connections``; ``tls`` and ``wss`` need an ``ssl_context``.

    Raises:
        ConfigError: The address is wrong, names nothing that exists, or its plug-in cannot be used.
    """
    address = parse_address(address) if isinstance(address, str) else address
    plugin = _resolve(address, "server", _SERVERS, options)
    if plugin is None:
        return _SERVERS[address.scheme](address, options)
    return _made(plugin, address, ServerTransport)  # type: ignore[type-abstract]  # only for isinstance


def transport_names() -> dict[str, tuple[str, ...]]:
    """Return every name that can be asked for, with the distributions that claim it; imports none of them.

    A name with more than one distribution cannot be used.
    """
    names = {scheme: [OWN_DISTRIBUTION] for scheme in {**_CLIENTS, **_SERVERS}}
    for claim in _claims():
        names.setdefault(claim.name, []).append(claim.distribution)
    return {name: tuple(distributions) for name, distributions in names.items()}


def _resolve(address: Address, side: str, built_in: Mapping[str, Any], options: Mapping[str, Any]) -> _Claim | None:
    """Return the plug-in an address names, or None for a transport of this distribution."""
    name = address.scheme
    everything = _claims()
    claims = [claim for claim in everything if claim.name == name]
    distributions = [claim.distribution for claim in claims]
    if name in SCHEMES:
        distributions.insert(0, OWN_DISTRIBUTION)
    if len(distributions) > 1:
        raise ConfigError(f"{name}: claimed by the distributions {' and '.join(distributions)}; uninstall all but one")
    if not claims and name not in built_in:
        raise ConfigError(_why_not(name, side, [*map(SCHEMES.__getitem__, built_in), *map(str, everything)]))
    if claims and options:
        raise ConfigError(f"{name}: a plug-in takes no options, only what stands behind the colon")
    return claims[0] if claims else None


def _why_not(name: str, side: str, there: Sequence[str]) -> str:
    if name == "stdio":
        return "stdio: reaches a program that is started for it, and needs the program's command"
    if name == "memory":
        return "memory: stays within one process, and is made by memory_transports()"
    what = "is not served by this version" if name in SCHEMES else "is no scheme of the address grammar and no plug-in"
    return f"{name}: {what}; what exists for a {side}: {', '.join(there)}"


# Plug-ins.


@attrs.frozen
class _Claim:
    """One distribution's claim to one name."""

    name: str
    distribution: str
    entry: metadata.EntryPoint

    def __str__(self) -> str:
        return f"{self.name}: (a plug-in of {self.distribution})"


def _claims() -> list[_Claim]:
    """Return every claim, sorted; reads metadata, imports nothing."""
    entries: list[metadata.EntryPoint] = []
    if call_contained(lambda: entries.extend(metadata.entry_points(group=GROUP))) is not None:
        # One distribution with unreadable metadata spoils the list of all; leave only that one out.
        entries = _readable_entry_points(metadata.distributions())
    claims: list[_Claim] = []
    for entry in entries:
        call_contained(_add_claim, claims, entry)
    return sorted(claims, key=lambda claim: (claim.name, claim.distribution))


def _add_claim(claims: list[_Claim], entry: metadata.EntryPoint) -> None:
    distribution = entry.dist.name if entry.dist is not None else None
    claims.append(_Claim(entry.name.lower(), distribution or entry.value, entry))


def _readable_entry_points(distributions: Iterable[metadata.Distribution]) -> list[metadata.EntryPoint]:
    found: dict[str, list[metadata.EntryPoint]] = {}

    def read(distribution: metadata.Distribution) -> None:
        # The first on the path is the one that is imported; a second of the same name is shadowed by it.
        if distribution.name not in found:
            found[distribution.name] = list(distribution.entry_points.select(group=GROUP))

    for distribution in distributions:
        call_contained(read, distribution)
    return [entry for entries in found.values() for entry in entries]


def _made(claim: _Claim, address: Address, kind: type[_T]) -> _T:
    """Import a plug-in and have it make its transport."""
    who = f"{claim.name}: the plug-in of {claim.distribution}"
    plugin = _outcome(claim.entry.load, f"{who} cannot be imported")
    if not isinstance(plugin, TransportPlugin):
        raise ConfigError(f"{who} is no TransportPlugin but {plugin!r}")
    side = "client" if kind is ClientTransport else "server"
    make = plugin.client if kind is ClientTransport else plugin.server
    if make is None:
        raise ConfigError(f"{who} has no {side} transport")
    transport = _outcome(make, f"{who} refuses {address.rest!r} (its form: {claim.name}:{plugin.form})", address.rest)
    if not isinstance(transport, kind):
        raise ConfigError(f"{who} made no {kind.__name__} but {transport!r}")
    return transport


def _outcome(function: Callable[..., object], told: str, *args: object) -> object:
    """Call what belongs to somebody else; return what it returns.

    Raises:
        ConfigError: It failed, with its exception as ``__cause__``; a `TransportError` of its own passes.
    """
    results: list[object] = []
    try:
        failure: BaseException | None = call_contained(lambda: results.append(function(*args)))
    except SystemExit as error:  # a module that ends the program when it is imported ends nothing but itself
        failure = error
    if isinstance(failure, TransportError):
        raise failure
    if failure is not None:
        raise ConfigError(f"{told}: {type(failure).__name__}: {failure}") from failure
    return results[0]


# Built-in transports, each imported by the function that makes it.


def _tcp_client(address: Address, options: Mapping[str, Any]) -> ClientTransport:
    from .transports.tcp import TcpClientTransport

    endpoint = _endpoint(address, TcpEndpoint)
    tls = endpoint.scheme == "tls"
    return TcpClientTransport(endpoint.host, endpoint.port, framing=endpoint.framing, tls=tls, **options)


def _tcp_server(address: Address, options: Mapping[str, Any]) -> ServerTransport:
    from .transports.tcp import TcpServerTransport

    endpoint = _endpoint(address, TcpEndpoint, serving=True)
    _check_tls(endpoint.scheme == "tls", address, options)
    return TcpServerTransport(endpoint.host, endpoint.port, framing=endpoint.framing, **options)


def _unix_client(address: Address, options: Mapping[str, Any]) -> ClientTransport:
    from .transports.unix import UnixClientTransport

    endpoint = _endpoint(address, UnixEndpoint)
    return UnixClientTransport(endpoint.path, framing=endpoint.framing, **options)


def _unix_server(address: Address, options: Mapping[str, Any]) -> ServerTransport:
    from .transports.unix import UnixServerTransport

    endpoint = _endpoint(address, UnixEndpoint, serving=True)
    return UnixServerTransport(endpoint.path, framing=endpoint.framing, **options)


def _websocket_client(address: Address, options: Mapping[str, Any]) -> ClientTransport:
    from .transports.websocket import WebSocketClientTransport

    return WebSocketClientTransport(str(_endpoint(address, UrlEndpoint)), **options)


def _websocket_server(address: Address, options: Mapping[str, Any]) -> ServerTransport:
    from .transports.websocket import WebSocketServerTransport

    endpoint = _endpoint(address, UrlEndpoint, serving=True)
    _check_tls(endpoint.scheme == "wss", address, options)
    return WebSocketServerTransport(endpoint.host, endpoint.port, path=endpoint.path, **options)


def _stdio_server(address: Address, options: Mapping[str, Any]) -> ServerTransport:
    from .transports.stdio import StdioServerTransport

    if address.rest:
        raise ConfigError("stdio: to serve, nothing stands behind the colon")
    return StdioServerTransport(**options)


def _endpoint(address: Address, kind: type[_T], *, serving: bool = False) -> _T:
    endpoint = parse_endpoint(address, serving=serving)
    assert isinstance(endpoint, kind)
    return endpoint


def _check_tls(wanted: bool, address: Address, options: Mapping[str, Any]) -> None:
    if wanted is not (options.get("ssl_context") is not None):
        raise ConfigError(
            f"{address.scheme}: needs an ssl_context with its certificate"
            if wanted
            else f"{address.scheme}: is served without TLS, and with an ssl_context it would not be"
        )


_CLIENTS: Final[Mapping[str, Callable[[Address, Mapping[str, Any]], ClientTransport]]] = {
    "tcp": _tcp_client,
    "tls": _tcp_client,
    "unix": _unix_client,
    "ws": _websocket_client,
    "wss": _websocket_client,
}
_SERVERS: Final[Mapping[str, Callable[[Address, Mapping[str, Any]], ServerTransport]]] = {
    "stdio": _stdio_server,
    "tcp": _tcp_server,
    "tls": _tcp_server,
    "unix": _unix_server,
    "ws": _websocket_server,
    "wss": _websocket_server,
}
