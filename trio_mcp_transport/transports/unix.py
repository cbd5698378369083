"""MCP over Unix sockets, both sides: one message per line unless another framing is chosen.

Must never open the socket to more users than asked for, not even for a moment.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import Any, Self

import trio

from ..abc import ServerTransport
from ..context import Peer
from ..errors import ConfigError
from ..intake import Intake
from ..metrics import TransportStatistics
from .accept import MAX_CONNECTIONS, close_all
from .framings import Framing, framing_suffix
from .peer_identity import unix_peer
from .socket_address import parse_unix
from .socket_client import SocketClientTransport, tls_context
from .socket_service import HANDSHAKE_DEADLINE, SocketService
from .socketstream import SocketStream
from .unix_listen import check_path, open_unix_listener

__all__ = ["UnixClientTransport", "UnixServerTransport"]

RETRY = 0.01
"""Seconds before a server is asked again whose backlog is full; the kernel offers no way to wait (connect(2))."""


class UnixServerTransport(ServerTransport):
    """Serves any number of connections to a Unix socket, each of them an MCP connection of its own.

    The socket is its owner's alone (mode 0600), takes the place of one that a dead server left behind, and is removed
    in the end.  ``context.peer.credentials`` has the process, user and group of the client.  Everything else is as for
    `TcpServerTransport`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        mode: int = 0o600,
        framing: Framing = "newline",
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = MAX_CONNECTIONS,
        idle_deadline: float | None = None,
        handshake_deadline: float = HANDSHAKE_DEADLINE,
    ) -> None:
        """Choose where to listen; nothing is opened yet.

        Args:
            path: Where the socket shall be.
            mode: Permission bits of the socket; whoever may write it may connect.
            framing: ``newline``, ``content-length`` or ``length-prefix``.
            ssl_context: For TLS, as for `TcpServerTransport`.
            max_connections: Connections at once; whoever comes then is closed at once.
            idle_deadline: Seconds without a byte and with nothing open, after which a connection is closed.
            handshake_deadline: Seconds a TLS handshake may take.

        Raises:
            ConfigError: An argument cannot be used.
        """
        self._path = check_path(path)
        if type(mode) is not int or not 0 <= mode <= 0o777:
            raise ConfigError(f"mode is permission bits from 0 to 0o777, not {mode!r}")
        self._mode = mode
        self._service = SocketService(
            transport="unix",
            framing=framing,
            ssl_context=ssl_context,
            max_connections=max_connections,
            idle_deadline=idle_deadline,
            handshake_deadline=handshake_deadline,
        )

    @classmethod
    def from_address(cls, address: str, **options: Any) -> Self:
        """Return a transport that serves ``unix:PATH``.

        Args:
            address: As `run` reports it.
            **options: As for the class.

        Raises:
            ConfigError: It is no such address, or an option cannot be used.
        """
        found = parse_unix(address)
        return cls(found.path, **{"framing": found.framing, **options})

    async def run(
        self, exchanges: Intake, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen until shutdown; see `abc.ServerTransport.run`.

        Raises:
            LocalProtocolError: It has run before.
            ConfigError: What is at the path is no socket.
            ConnectionFailed: Somebody listens there already, or the system says no.
        """
        self._service.use_once()
        listener = await open_unix_listener(self._path, self._mode)
        try:
            task_status.started((f"unix:{self._path}{self._service.suffix}",))
            await self._service.run(exchanges, [listener], self._peer_of)
        finally:
            await close_all([listener])

    def _peer_of(self, stream: SocketStream) -> Peer:
        return unix_peer(stream.socket, self._path)

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters."""
        return self._service.statistics()


class UnixClientTransport(SocketClientTransport):
    """Speaks with a server over its Unix socket."""

    _transport = "unix"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        framing: Framing = "newline",
        tls: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        verify: bool = True,
    ) -> None:
        """Choose the server; it is connected to when a client opens this transport.

        Args:
            path: Its socket.
            framing: ``newline``, ``content-length`` or ``length-prefix``.
            tls: Whether to speak TLS; a context or ``verify`` say so too.
            ssl_context: Whom to trust, and the certificate to show; None to trust the system's authorities.
            server_hostname: The name the server's certificate must be for; ``localhost`` unless given.
            verify: False to talk to whoever answers, with a warning; only without a context.

        Raises:
            ConfigError: An argument cannot be used.
        """
        self._path = check_path(path)
        context = tls_context(tls, ssl_context, server_hostname, verify=verify)
        super().__init__(framing, context, server_hostname or "localhost")
        self._address = f"unix:{self._path}{framing_suffix(framing)}"

    @classmethod
    def from_address(cls, address: str, **options: Any) -> Self:
        """Return a transport that leads to ``unix:PATH``.

        Args:
            address: As a server reports it.
            **options: As for the class.

        Raises:
            ConfigError: It is no such address, or an option cannot be used.
        """
        found = parse_unix(address)
        return cls(found.path, **{"framing": found.framing, **options})

    @property
    def address(self) -> str:
        """``unix:PATH``, and the framing unless it is the default."""
        return self._address

    def _peer(self, stream: SocketStream) -> Peer:
        return unix_peer(stream.socket, self._path)

    async def _connect(self) -> SocketStream:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            while True:
                try:
                    sock.connect(self._path)
                except BlockingIOError:
                    await trio.sleep(RETRY)
                else:
                    await trio.lowlevel.checkpoint()
                    return SocketStream(sock)
        except BaseException:
            sock.close()
            raise
