"""MCP over TCP and TLS, both sides: one message per line unless another framing is chosen.

Must never listen on more than this host unless told to by the address, and never take a peer's word for who it is.
"""

from __future__ import annotations

import ssl
from typing import Any, Self

import trio

from ..abc import ServerTransport
from ..errors import ConfigError
from ..intake import Intake
from ..metrics import TransportStatistics
from .accept import MAX_CONNECTIONS, close_all
from .framings import Framing, framing_suffix
from .peer_identity import host_and_port, tcp_peer
from .socket_address import parse_tcp
from .socket_client import SocketClientTransport, tls_context
from .socket_service import HANDSHAKE_DEADLINE, SocketService
from .socketstream import SocketStream
from .tcp_listen import listen_on, plain_socket

__all__ = ["TcpClientTransport", "TcpServerTransport"]


def _check_host_and_port(host: Any, port: Any, least: int) -> None:
    if not isinstance(host, str) or not host:
        raise ConfigError(
            f'host is a name or an address, not {host!r}; every address of this host is "0.0.0.0" or "::"'
        )
    if type(port) is not int or not least <= port <= 65535:
        raise ConfigError(f"port is an integer from {least} to 65535, not {port!r}")


class TcpServerTransport(ServerTransport):
    """Serves any number of TCP connections, each of them an MCP connection of its own.

    A client that ends its writing gets every answer before the connection is closed; over TLS its ``close_notify`` is
    that end.  A peer whose first bytes look like an HTTP request, or like TLS on a port without it, is closed
    without an answer: a web page can make a browser post to a local port.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        framing: Framing = "newline",
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = MAX_CONNECTIONS,
        idle_deadline: float | None = None,
        handshake_deadline: float = HANDSHAKE_DEADLINE,
    ) -> None:
        """Choose where to listen; nothing is opened yet.

        Args:
            host: A name or an address; this host only unless told otherwise.  Whoever reaches the port may use it:
                for more than this host, demand certificates (``ssl_context``).
            port: The port; 0 for any free one.
            framing: ``newline``, ``content-length`` or ``length-prefix``.
            ssl_context: For TLS, with the server's certificate; with ``verify_mode=ssl.CERT_REQUIRED`` clients must
                show one too, which is then in ``context.peer.certificate``.
            max_connections: Connections at once; whoever comes then is closed at once.
            idle_deadline: Seconds without a byte and with nothing open, after which a connection is closed.
            handshake_deadline: Seconds a TLS handshake may take.

        Raises:
            ConfigError: An argument cannot be used.
        """
        _check_host_and_port(host, port, 0)
        self._host, self._port = host, port
        self._service = SocketService(
            transport="tcp",
            framing=framing,
            ssl_context=ssl_context,
            max_connections=max_connections,
            idle_deadline=idle_deadline,
            handshake_deadline=handshake_deadline,
        )

    @classmethod
    def from_address(cls, address: str, **options: Any) -> Self:
        """Return a transport that serves ``tcp://HOST:PORT`` or, with an ``ssl_context``, ``tls://HOST:PORT``.

        Args:
            address: As `run` reports it.
            **options: As for the class.

        Raises:
            ConfigError: It is no such address, or an option cannot be used.
        """
        found = parse_tcp(address)
        if found.tls is not (options.get("ssl_context") is not None):
            raise ConfigError(f"{address}: an ssl_context goes with tls, and tls with an ssl_context")
        return cls(found.host, found.port, **{"framing": found.framing, **options})

    async def run(
        self, exchanges: Intake, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen until shutdown; see `abc.ServerTransport.run`.  Reports one address for each address of the host.

        Raises:
            LocalProtocolError: It has run before.
            ConnectionFailed: The port cannot be listened on.
        """
        service = self._service
        service.use_once()
        scheme = "tcp" if service.ssl_context is None else "tls"
        listeners = await listen_on(self._host, self._port, scheme)
        try:
            names = [listener.socket.getsockname()[:2] for listener in listeners]
            task_status.started(tuple(f"{scheme}://{host_and_port(*name)}{service.suffix}" for name in names))
            await service.run(exchanges, listeners, lambda stream: tcp_peer(stream.socket, scheme))
        finally:
            await close_all(listeners)

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters."""
        return self._service.statistics()


class TcpClientTransport(SocketClientTransport):
    """Speaks with a server over TCP, and over TLS if asked to; the server's certificate is verified."""

    _transport = "tcp"

    def __init__(
        self,
        host: str,
        port: int,
        *,
        framing: Framing = "newline",
        tls: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        verify: bool = True,
    ) -> None:
        """Choose the server; it is connected to when a client opens this transport.

        Args:
            host: A name or an address; of several addresses the first that answers is used (RFC 8305).
            port: The port.
            framing: ``newline``, ``content-length`` or ``length-prefix``.
            tls: Whether to speak TLS; a context or ``verify`` say so too.
            ssl_context: Whom to trust, and the certificate to show; None to trust the system's authorities.
            server_hostname: The name the server's certificate must be for; ``host`` unless given.
            verify: False to talk to whoever answers, with a warning; only without a context.

        Raises:
            ConfigError: An argument cannot be used.
        """
        _check_host_and_port(host, port, 1)
        context = tls_context(tls, ssl_context, server_hostname, verify=verify)
        super().__init__(framing, context, server_hostname or host)
        self._host, self._port = host, port
        self._address = f"{'tcp' if context is None else 'tls'}://{host_and_port(host, port)}{framing_suffix(framing)}"

    @classmethod
    def from_address(cls, address: str, **options: Any) -> Self:
        """Return a transport that leads to ``tcp://HOST:PORT`` or ``tls://HOST:PORT``.

        Args:
            address: As a server reports it.
            **options: As for the class.

        Raises:
            ConfigError: It is no such address, or an option cannot be used.
        """
        found = parse_tcp(address)
        return cls(found.host, found.port, **{"framing": found.framing, "tls": found.tls, **options})

    @property
    def address(self) -> str:
        """``tcp://HOST:PORT``, or ``tls://``, and the framing unless it is the default."""
        return self._address

    async def _connect(self) -> SocketStream:
        return SocketStream(plain_socket(await trio.open_tcp_stream(self._host, self._port)))
