"""What a server does with every connection of a listening socket, of whatever family: TLS, guards, then the pipe.

Must never open a socket, nor know how an address looks.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from functools import partial

import attrs
import trio

from ..context import Peer
from ..deadlines import DeadlineExceeded
from ..errors import ConfigError, LocalProtocolError, TransportError
from ..intake import Intake
from ..metrics import TransportMetrics, TransportStatistics
from ..pipe.server import SERVER_MESSAGE_SIZE, serve_stream
from .accept import accept_connections, check_max_connections
from .framings import codec_factory, framing_suffix
from .http_guard import ForeignProtocolGuard
from .idle import IdleDeadline, check_deadline
from .secure import SecureStream
from .socket_listener import SocketListener
from .socketstream import SocketStream

__all__ = ["HANDSHAKE_DEADLINE", "SocketService"]

HANDSHAKE_DEADLINE = 10.0
"""Seconds for a TLS handshake, of which a peer may hold as many as there may be connections (websockets: 10)."""

PeerOf = Callable[[SocketStream], Peer]
"""Says who is at the other end of a fresh connection."""


@attrs.define(kw_only=True)
class SocketService:
    """The options and counters all socket servers share.

    Attributes:
        transport: Name for contexts and logs.
        framing: Name of the framing.
        ssl_context: For TLS: the server's certificate, and whether clients must show one.  None for none.
        max_connections: Connections at once; whoever comes then is closed at once.
        idle_deadline: Seconds without a byte and with nothing open, after which a connection is closed; None for never.
        handshake_deadline: Seconds a TLS handshake may take.
        metrics: The counters.
    """

    transport: str
    framing: str
    ssl_context: ssl.SSLContext | None
    max_connections: int
    idle_deadline: float | None
    handshake_deadline: float
    metrics: TransportMetrics = attrs.field(factory=TransportMetrics)
    _used: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Check the options.

        Raises:
            ConfigError: One cannot be used.
        """
        codec_factory(self.framing)
        check_max_connections(self.max_connections)
        check_deadline("idle_deadline", self.idle_deadline)
        if check_deadline("handshake_deadline", self.handshake_deadline) is None:
            raise ConfigError("handshake_deadline is a number of seconds: whoever does not shake hands holds a place")
        if self.ssl_context is not None and not isinstance(self.ssl_context, ssl.SSLContext):
            raise ConfigError(f"ssl_context is an ssl.SSLContext, not {type(self.ssl_context).__name__}")

    @property
    def suffix(self) -> str:
        """What its addresses end with."""
        return framing_suffix(self.framing)

    def use_once(self) -> None:
        """Note that the transport runs.

        Raises:
            LocalProtocolError: It has run before.
        """
        if self._used:
            raise LocalProtocolError("a transport object runs once")
        self._used = True

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters."""
        return self.metrics.snapshot()

    async def run(self, exchanges: Intake, listeners: Sequence[SocketListener], peer_of: PeerOf) -> None:
        """Serve the connections of some listeners; see `accept.accept_connections`.

        Raises:
            ConnectionFailed: A listener broke.
        """
        await accept_connections(
            listeners,
            partial(self._serve_one, exchanges, peer_of),
            exchanges=exchanges,
            max_connections=self.max_connections,
            metrics=self.metrics,
        )

    async def _serve_one(self, exchanges: Intake, peer_of: PeerOf, stream: SocketStream) -> None:
        peer = peer_of(stream)
        served: trio.abc.Stream = stream
        if self.ssl_context is not None:
            secure = SecureStream(stream, ssl_context=self.ssl_context, server_side=True)
            if not await self._shake_hands(secure, exchanges.shutdown, peer):
                return
            peer = attrs.evolve(peer, certificate=secure.peer_certificate())
            served = secure
        served, metrics = ForeignProtocolGuard(served), self.metrics
        if self.idle_deadline is not None:
            served = idle = IdleDeadline(served, self.idle_deadline, metrics)
            metrics = idle.metrics
        codec = codec_factory(self.framing)(exchanges.limits.message_size(SERVER_MESSAGE_SIZE))
        await serve_stream(exchanges, served, codec, peer=peer, transport=self.transport, metrics=metrics)

    async def _shake_hands(self, stream: SecureStream, shutdown: trio.Event, peer: Peer) -> bool:
        """Shake hands; False when the service shuts down meanwhile: nothing was asked that could be answered."""
        failure: TransportError | None = None
        done = False
        who = peer.address or "a peer"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at, shutdown, nursery.cancel_scope)
            with trio.move_on_after(self.handshake_deadline) as scope:
                try:
                    await stream.do_handshake()
                    done = True
                except TransportError as error:
                    failure = error
            if scope.cancelled_caught:
                failure = DeadlineExceeded("handshake", self.handshake_deadline, f"the TLS handshake with {who}")
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return done


async def _cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
