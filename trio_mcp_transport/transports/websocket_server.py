"""Serving MCP over WebSocket: who may connect, and the life of one connection from its first byte to its last.

Must never let what one peer does reach another connection, and must never serve a web page that was not invited.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from functools import partial

import attrs
import trio

from ..abc import ServerTransport
from ..addresses import UrlEndpoint
from ..context import ConnectionInfo, Peer
from ..errors import ConfigError, ConnectionFailed, LocalProtocolError
from ..intake import Intake
from ..limits import MIB
from ..metrics import TransportMetrics, TransportStatistics
from ..pipe.end import connection_id
from ..pipe.server import serve_link
from ..wire.hosts import HostCheck, OriginCheck
from ..wire.websocket_handshake import Refusal, ServerHandshake, Upgrade
from .accept import MAX_CONNECTIONS, accept_connections, check_max_connections
from .peer_identity import tcp_peer
from .secure import SecureStream
from .socket_listener import SocketListener
from .socketstream import SocketStream
from .websocket_closing import CLOSE_DEADLINE, GOING_AWAY, INTERNAL_ERROR
from .websocket_engine import Engine, EngineOptions, open_link
from .websocket_keepalive import PING_DEADLINE, PING_INTERVAL, keep_alive
from .websocket_opening import HANDSHAKE_DEADLINE, answer_upgrade

__all__ = ["WebSocketServerTransport"]

SERVER_MESSAGE_SIZE = 4 * MIB
"""Largest message a server accepts unless configured, as over HTTP (gRPC: 4 MiB)."""


class WebSocketServerTransport(ServerTransport):
    """Serves WebSockets on a TCP port.

    Web pages are refused unless they come from this machine or from ``allowed_origins``, and so are requests for
    another host than this one (DNS rebinding).  When the service shuts down, what was asked is answered and every
    connection closed with 1001.  A client's own Close cancels what it had asked for: it reads nothing more.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        path: str = "/",
        engine: Engine = "trio-websocket",
        ssl_context: ssl.SSLContext | None = None,
        allowed_hosts: Sequence[str] = (),
        allowed_origins: Sequence[str] = (),
        accept_binary: bool = False,
        ping_interval: float | None = PING_INTERVAL,
        ping_deadline: float = PING_DEADLINE,
        close_deadline: float = CLOSE_DEADLINE,
        handshake_deadline: float = HANDSHAKE_DEADLINE,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        """Choose where and how to serve.

        Args:
            host: Name or address to bind.
            port: 0 for any free one.
            path: The only path served; anything else is answered with 404.
            engine: ``trio-websocket`` or ``native``, which is our own codec.
            ssl_context: Makes it ``wss``.
            allowed_hosts: Further names in ``Host``, as ``name`` or ``name:port``; ``*`` for any.
            allowed_origins: Further origins of web pages, as ``https://name``; ``*`` for any.
            accept_binary: Take binary messages as well; else they are refused with 1003.
            ping_interval: Seconds of silence before a ping; None for no pings.
            ping_deadline: Seconds of silence after a ping before the peer is given up.
            close_deadline: Seconds for the peer's half of the close handshake.
            handshake_deadline: Seconds for TLS and the request of a new connection.
            max_connections: Connections at once; newcomers beyond are closed at once.

        Raises:
            ConfigError: A value is unusable.
        """
        if not handshake_deadline > 0:
            raise ConfigError(f"handshake_deadline is a number of seconds above 0, not {handshake_deadline!r}")
        self._options = EngineOptions(
            engine=engine,
            accept_binary=accept_binary,
            ping_interval=ping_interval,
            ping_deadline=ping_deadline,
            close_deadline=close_deadline,
        )
        self._host = host
        self._port = port
        self._path = path
        self._ssl_context = ssl_context
        self._scheme = "ws" if ssl_context is None else "wss"
        self._hosts = HostCheck(allowed_hosts, bound=host, scheme=self._scheme)
        self._origins = OriginCheck(allowed_origins, bound=host)
        self._handshake_deadline = handshake_deadline
        self._max_connections = check_max_connections(max_connections)
        self._metrics = TransportMetrics()
        self._used = False
        self._new_handshake()  # refuses an unusable path now

    def _new_handshake(self) -> ServerHandshake:
        return ServerHandshake(self._path, hosts=self._hosts, origins=self._origins)

    async def run(
        self, exchanges: Intake, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve every connection until shutdown; see `abc.ServerTransport.run`.

        Raises:
            LocalProtocolError: It has run before.
            ConnectionFailed: The port cannot be bound.
        """
        if self._used:
            raise LocalProtocolError("a transport object runs once")
        self._used = True
        try:
            listeners = [_own_listener(one) for one in await trio.open_tcp_listeners(self._port, host=self._host)]
        except OSError as error:
            raise ConnectionFailed(f"cannot listen on {self._host} port {self._port}: {error}") from error
        task_status.started(tuple(self._address_of(listener) for listener in listeners))
        await accept_connections(
            listeners,
            partial(self._serve, exchanges),
            exchanges=exchanges,
            max_connections=self._max_connections,
            metrics=self._metrics,
        )

    def _address_of(self, listener: SocketListener) -> str:
        host, port, *_ = listener.socket.getsockname()
        return str(UrlEndpoint(self._scheme, host, port, self._path))

    async def _serve(self, exchanges: Intake, stream: trio.abc.Stream) -> None:
        peer = tcp_peer(stream.socket, self._scheme) if isinstance(stream, SocketStream) else Peer()
        if self._ssl_context is not None:
            stream = SecureStream(stream, ssl_context=self._ssl_context, server_side=True)
        try:
            upgrade: Upgrade | None = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_at, exchanges.shutdown, nursery.cancel_scope)
                upgrade = await self._open(stream)
                nursery.cancel_scope.cancel()
            if upgrade is not None:
                if isinstance(stream, SecureStream):
                    peer = attrs.evolve(peer, certificate=stream.peer_certificate())
                await self._serve_upgraded(exchanges, stream, upgrade, peer)
        finally:
            await trio.aclose_forcefully(stream)

    async def _open(self, stream: trio.abc.Stream) -> Upgrade | None:
        """Lead a new connection through TLS and its request; None when nothing came of it."""
        deadline = trio.current_time() + self._handshake_deadline
        if isinstance(stream, SecureStream):
            with trio.CancelScope(deadline=deadline) as scope:
                await stream.do_handshake()
            if scope.cancelled_caught:
                return None
        answer = await answer_upgrade(stream, self._new_handshake(), deadline)
        if isinstance(answer, Refusal):
            raise ConnectionFailed(f"refused a request with {answer.status}: {answer.reason}")
        return answer

    async def _serve_upgraded(self, exchanges: Intake, stream: trio.abc.Stream, upgrade: Upgrade, peer: Peer) -> None:
        limits = exchanges.limits
        info = ConnectionInfo(
            transport="websocket",
            connection_id=connection_id("websocket"),
            peer=peer,
            headers=upgrade.headers,
        )
        async with trio.open_nursery() as nursery:
            link = await open_link(
                nursery,
                stream,
                "server",
                self._options,
                limit=limits.message_size(SERVER_MESSAGE_SIZE),
                limits=limits,
                metrics=self._metrics,
                leftover=upgrade.leftover,
            )
            nursery.start_soon(keep_alive, link, self._options.ping_interval, self._options.ping_deadline)
            ended = False
            try:
                await serve_link(exchanges, link, info, self._metrics, given_up=link.wait_given_up)
                ended = True
            finally:
                # In vain where the connection was closed in order; otherwise it failed, or the service was cancelled.
                await link.close_now(INTERNAL_ERROR if ended else GOING_AWAY)
            nursery.cancel_scope.cancel()

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters."""
        return self._metrics.snapshot()


def _own_listener(listener: trio.SocketListener) -> SocketListener:
    return SocketListener(socket.socket(fileno=listener.socket.detach()))


async def _cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
