"""MCP over WebSocket (RFC 6455): subprotocol ``mcp``, one message per text frame, on trio-websocket or our own codec.

A custom transport in the sense of the specification: messages and their order are those of stdio, nothing of a message
is repeated in a header.  Must never let what one peer does reach another connection, and must never serve a web page
that was not invited.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import trio

from ..abc import ClientTransport, ServerTransport
from ..addresses import UrlEndpoint, parse_endpoint
from ..connect import ClientConnection, ClientSetup
from ..context import ConnectionInfo, Peer
from ..deadlines import DeadlineExceeded
from ..errors import ConfigError, ConnectionFailed, LocalProtocolError, TransportError
from ..intake import Intake
from ..limits import MIB
from ..metrics import TransportMetrics, TransportStatistics
from ..pipe.client import CLIENT_MESSAGE_SIZE, PipeConnection
from ..pipe.end import connection_id
from ..pipe.server import serve_link
from ..wire.hosts import HostCheck, OriginCheck
from ..wire.websocket_handshake import ClientHandshake, Refusal, ServerHandshake, Upgrade
from .accept import MAX_CONNECTIONS, accept_connections, check_max_connections
from .websocket_closing import CLOSE_DEADLINE, GOING_AWAY, INTERNAL_ERROR, NORMAL
from .websocket_engine import Engine, EngineOptions, open_link
from .websocket_keepalive import PING_DEADLINE, PING_INTERVAL, keep_alive
from .websocket_opening import HANDSHAKE_DEADLINE, answer_upgrade, ask_upgrade

__all__ = ["WebSocketClientTransport", "WebSocketServerTransport"]

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
        self._hosts = HostCheck(list(allowed_hosts), bound=host, scheme=self._scheme)
        self._origins = OriginCheck(list(allowed_origins), bound=host)
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
            listeners = await trio.open_tcp_listeners(self._port, host=self._host)
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

    def _address_of(self, listener: trio.SocketListener) -> str:
        host, port, *_ = listener.socket.getsockname()
        return str(UrlEndpoint(self._scheme, host, port, self._path))

    async def _serve(self, exchanges: Intake, stream: trio.abc.Stream) -> None:
        opened: tuple[trio.abc.Stream, Upgrade] | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at, exchanges.shutdown, nursery.cancel_scope)
            opened = await self._open(stream)
            nursery.cancel_scope.cancel()
        if opened is not None:
            await self._serve_upgraded(exchanges, *opened)

    async def _open(self, stream: trio.abc.Stream) -> tuple[trio.abc.Stream, Upgrade] | None:
        """Lead a new connection through TLS and its request; None when nothing came of it."""
        deadline = trio.current_time() + self._handshake_deadline
        answer = await answer_upgrade(stream, self._new_handshake(), deadline)
        if isinstance(answer, Refusal):
            raise ConnectionFailed(f"refused a request with {answer.status}: {answer.reason}")
        return None if answer is None else (stream, answer)

    async def _serve_upgraded(self, exchanges: Intake, stream: trio.abc.Stream, upgrade: Upgrade) -> None:
        limits = exchanges.limits
        info = ConnectionInfo(
            transport="websocket",
            connection_id=connection_id("websocket"),
            peer=_peer_of(stream),
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
            with trio.move_on_after(float("inf") if connect is None else connect):
                stream = await self._reach()
                upgrade = await ask_upgrade(stream, self._new_handshake())
            if stream is None or upgrade is None:
                raise DeadlineExceeded("connect", connect or 0.0, self.address)
            await self._converse(setup, stream, upgrade, task_status)
        finally:
            if stream is not None:
                await trio.aclose_forcefully(stream)

    async def _reach(self) -> trio.abc.Stream:
        endpoint = self._endpoint
        try:
            return await trio.open_tcp_stream(endpoint.host, endpoint.port)
        except OSError as error:
            raise ConnectionFailed(f"cannot connect to {self.address}: {error}") from error

    async def _converse(
        self,
        setup: ClientSetup,
        stream: trio.abc.Stream,
        upgrade: Upgrade,
        task_status: trio.TaskStatus[ClientConnection],
    ) -> None:
        info = ConnectionInfo(
            transport="websocket",
            connection_id=connection_id("websocket"),
            peer=_peer_of(stream),
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


def _peer_of(stream: trio.abc.Stream) -> Peer:
    """Return who is at the other end, as far as the socket says."""
    if isinstance(stream, trio.SocketStream):
        try:
            host, port, *_ = stream.socket.getpeername()
        except OSError:  # it has left already
            return Peer()
        return Peer(address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return Peer()


async def _cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
