"""Reaching an MCP server over WebSocket.

Must never wait for a server beyond its deadlines, nor leave a socket open behind an error.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Iterable, Mapping

import attrs
import trio

from ..abc import ClientTransport
from ..addresses import UrlEndpoint, parse_endpoint
from ..connect import ClientConnection, ClientSetup
from ..context import ConnectionInfo, Peer
from ..deadlines import DeadlineExceeded
from ..errors import ConfigError, ConnectionFailed, TransportError
from ..metrics import TransportMetrics, TransportStatistics
from ..pipe.client import CLIENT_MESSAGE_SIZE, PipeConnection
from ..pipe.end import connection_id
from ..wire.websocket_handshake import ClientHandshake, Upgrade
from .peer_identity import tcp_peer
from .secure import SecureStream
from .socketstream import SocketStream
from .websocket_closing import CLOSE_DEADLINE, GOING_AWAY, NORMAL
from .websocket_engine import Engine, EngineOptions, open_link
from .websocket_keepalive import PING_DEADLINE, PING_INTERVAL, keep_alive
from .websocket_opening import ask_upgrade

__all__ = ["WebSocketClientTransport"]


class WebSocketClientTransport(ClientTransport):
    """Reaches a server by a ``ws://`` or ``wss://`` address."""

    def __init__(
        self,
        url: str,
        *,
        engine: Engine = "trio-websocket",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        ssl_context: ssl.SSLContext | None = None,
        verify: bool = True,
        accept_binary: bool = False,
        ping_interval: float | None = PING_INTERVAL,
        ping_deadline: float = PING_DEADLINE,
        close_deadline: float = CLOSE_DEADLINE,
    ) -> None:
        """Choose where to connect and how.

        Args:
            url: ``ws://HOST[:PORT]/PATH`` or ``wss://``.
            engine: ``trio-websocket`` or ``native``, which is our own codec.
            headers: Further fields of the request, such as ``Authorization``.
            ssl_context: For ``wss``; None for the system's certificates.
            verify: Whether the server's certificate is checked.
            accept_binary: Take binary messages as well.
            ping_interval: Seconds of silence before a ping; None for no pings.
            ping_deadline: Seconds of silence after a ping before the server is given up.
            close_deadline: Seconds for the server's half of the close handshake.

        Raises:
            ConfigError: A value is unusable.
        """
        endpoint = parse_endpoint(url)
        if not isinstance(endpoint, UrlEndpoint) or endpoint.scheme not in ("ws", "wss"):
            raise ConfigError(f"a WebSocket address begins with ws:// or wss://, not {url!r}")
        self._secure = endpoint.scheme == "wss"
        if not self._secure and (ssl_context is not None or not verify):
            raise ConfigError("ssl_context and verify belong to wss://; ws:// has no TLS")
        self._endpoint = endpoint
        self._options = EngineOptions(
            engine=engine,
            accept_binary=accept_binary,
            ping_interval=ping_interval,
            ping_deadline=ping_deadline,
            close_deadline=close_deadline,
        )
        self._headers = tuple(headers.items() if isinstance(headers, Mapping) else headers)
        self._ssl_context = ssl_context
        self._verify = verify
        self._metrics = TransportMetrics()
        self._new_handshake()  # refuses unusable headers now

    def _new_handshake(self) -> ClientHandshake:
        endpoint = self._endpoint
        return ClientHandshake(
            endpoint.host, endpoint.path, port=endpoint.port, secure=self._secure, headers=self._headers
        )

    @property
    def address(self) -> str:
        """The address without its query, which may hold secrets."""
        return str(self._endpoint).partition("?")[0]

    async def run(
        self, setup: ClientSetup, *, task_status: trio.TaskStatus[ClientConnection] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Connect and serve the connection to its end; see `abc.ClientTransport.run`.

        Closed by this side, it closes the WebSocket with 1000 and waits for the server's Close within the close
        deadline; cancelled, it sends 1001 and waits for nobody.

        Raises:
            ConnectionFailed: The server cannot be reached, or refused the handshake; the message has its status.
            ConnectionClosed: The server closed; the message has its code.
            DeadlineExceeded: The connect deadline passed, or the server answered no ping.
            TransportError: The server broke the protocol.
        """
        connect = setup.deadlines.connect
        stream: trio.abc.Stream | None = None
        upgrade: Upgrade | None = None
        try:
            with trio.move_on_after(math.inf if connect is None else connect):
                socket_stream = stream = await self._reach()
                if self._secure:
                    stream = await self._secured(socket_stream)
                upgrade = await ask_upgrade(stream, self._new_handshake())
            if stream is None or upgrade is None:
                raise DeadlineExceeded("connect", connect or 0.0, self.address)
            peer = tcp_peer(socket_stream.socket, self._endpoint.scheme)
            if isinstance(stream, SecureStream):
                peer = attrs.evolve(peer, certificate=stream.peer_certificate())
            await self._converse(setup, stream, upgrade, peer, task_status)
        finally:
            if stream is not None:
                await trio.aclose_forcefully(stream)

    async def _reach(self) -> SocketStream:
        endpoint = self._endpoint
        try:
            stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
        except OSError as error:
            raise ConnectionFailed(f"cannot connect to {self.address}: {error}") from error
        return SocketStream(socket.socket(fileno=stream.socket.detach()))

    async def _secured(self, stream: SocketStream) -> SecureStream:
        secure = SecureStream(
            stream, ssl_context=self._ssl_context, server_hostname=self._endpoint.host, verify=self._verify
        )
        await secure.do_handshake()
        return secure

    async def _converse(
        self,
        setup: ClientSetup,
        stream: trio.abc.Stream,
        upgrade: Upgrade,
        peer: Peer,
        task_status: trio.TaskStatus[ClientConnection],
    ) -> None:
        info = ConnectionInfo(
            transport="websocket",
            connection_id=connection_id("websocket"),
            peer=peer,
            headers=upgrade.headers,
        )
        failure: TransportError | None = None
        async with trio.open_nursery() as nursery:
            link = await open_link(
                nursery,
                stream,
                "client",
                self._options,
                limit=setup.limits.message_size(CLIENT_MESSAGE_SIZE),
                limits=setup.limits,
                metrics=self._metrics,
                leftover=upgrade.leftover,
            )
            nursery.start_soon(keep_alive, link, self._options.ping_interval, self._options.ping_deadline)

            async def explain(error: TransportError) -> TransportError:
                return link.explain(error)

            connection = PipeConnection(setup, link, info, self._metrics, explain=explain)
            try:
                await connection.run(task_status=task_status)
                await link.say_goodbye(NORMAL)
            except TransportError as error:
                failure = error
            finally:
                await link.close_now(GOING_AWAY)
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters."""
        return self._metrics.snapshot()
