"""What a handler learns about one message and may do for it besides answering.

Must never offer a request to the peer: only the legacy era has those, in a subclass of its own (D-15, M-JR-16), and
must never hold anything from one modern message to the next (M-ST-05).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import trio

from .errors import LocalProtocolError
from .wire.envelope import Envelope
from .wire.messages import Notification
from .wire.meta import check_application_meta

if TYPE_CHECKING:
    from .exchange import CancelCause, Exchange

__all__ = ["Auth", "ConnectionInfo", "MessageContext", "Peer"]


@attrs.frozen(kw_only=True)
class Peer:
    """Who is at the other end of a connection, as far as the operating system says.

    Attributes:
        address: Printable address, or "" where the transport has none.
        credentials: (process id, user id, group id) of a Unix socket's peer, or None.
        certificate: The peer's TLS certificate as `ssl.SSLSocket.getpeercert` returns it, or None.
    """

    address: str = ""
    credentials: tuple[int, int, int] | None = None
    certificate: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class Auth:
    """The verified credential of a message.

    Attributes:
        subject: Who it stands for.
        scopes: What it may do.
    """

    subject: str
    scopes: frozenset[str] = frozenset()


@attrs.define(kw_only=True)
class ConnectionInfo:
    """What all messages of one connection share.

    Attributes:
        transport: Name of the transport, such as ``stdio``.
        connection_id: Unique within the process.
        peer: The other end.
        headers: HTTP headers, lower-case names; empty elsewhere.
        auth: The verified credential, or None.
        session_id: Session of legacy Streamable HTTP, else None.
        log_level: Level set by a legacy peer's ``logging/setLevel``, or None.
    """

    transport: str
    connection_id: str
    peer: Peer = attrs.field(factory=Peer)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    auth: Auth | None = None
    session_id: str | None = None
    log_level: str | None = None


class MessageContext:
    """The context of one message.

    Attributes:
        connection: What all messages of the connection share.
        envelope: The terms of this message.
        received_at: Trio's clock when the message was read, in seconds.
        exchange: The exchange it belongs to, until it ends; None for the context of a connection hook.
        last_cause: Why the exchange was cancelled, once it has ended; ask `cancel_cause`.
    """

    __slots__ = ("_metadata", "_progress", "connection", "envelope", "exchange", "last_cause", "received_at")

    def __init__(self, connection: ConnectionInfo, envelope: Envelope, received_at: float = 0.0) -> None:
        self.connection: ConnectionInfo = connection
        self.envelope: Envelope = envelope
        self.received_at: float = received_at
        self.exchange: Exchange | None = None
        self.last_cause: CancelCause | None = None
        self._metadata: dict[str, Any] | None = None
        self._progress = -math.inf

    @property
    def transport(self) -> str:
        """Name of the transport the message came in on."""
        return self.connection.transport

    @property
    def connection_id(self) -> str:
        """Identifier of the connection, unique within the process."""
        return self.connection.connection_id

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        return self.connection.peer

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers with lower-case names; empty on other transports."""
        return self.connection.headers

    @property
    def auth(self) -> Auth | None:
        """The verified credential, or None."""
        return self.connection.auth

    @property
    def session_id(self) -> str | None:
        """Session of legacy Streamable HTTP, else None."""
        return self.connection.session_id

    @property
    def revision(self) -> str:
        """Protocol revision of the message; "" for plain JSON-RPC."""
        return self.envelope.revision

    @property
    def client_info(self) -> Mapping[str, Any] | None:
        """The peer's ``clientInfo``, or None; for logs only, never for decisions (M-ME-10)."""
        return self.envelope.client_info

    @property
    def client_capabilities(self) -> Mapping[str, Any]:
        """What the client declared: for this very request (modern) or in its handshake (legacy)."""
        return self.envelope.client_capabilities

    @property
    def trace(self) -> Mapping[str, str]:
        """``traceparent``, ``tracestate`` and ``baggage``, as far as present (M-TR-01)."""
        return self.envelope.trace

    @property
    def cancel_cause(self) -> CancelCause | None:
        """Why the message was cancelled, or None.

        Inside a cancelled handler without a recorded cause it is ``SERVICE``: the surrounding scope was cancelled.
        Read it outside of cancel scopes of your own, which look the same from here.
        """
        exchange = self.exchange
        if exchange is None:
            return self.last_cause
        if exchange.cause is not None:
            return exchange.cause
        if trio.current_effective_deadline() == -math.inf:
            from .exchange import CancelCause

            return CancelCause.SERVICE
        return None

    @property
    def metadata(self) -> dict[str, Any]:
        """A dict of this message for middleware; the library never reads it."""
        if self._metadata is None:
            self._metadata = {}
        return self._metadata

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send a notification that belongs to this message, before its response.

        A checkpoint; waits while the connection's outbox is full, which is the back-pressure of a slow reader.
        Cancelled while waiting, nothing was sent.

        Raises:
            LocalProtocolError: The response has been given, or the revision forbids this notification here.
        """
        exchange = self.exchange
        if exchange is None or exchange.answered or exchange.ended:
            raise LocalProtocolError(f"{method} cannot follow the response")
        if self.envelope.modern and not self._modern_may_send(method, params or {}):
            await trio.lowlevel.checkpoint()
            return
        await exchange.outbox.put(exchange, Notification(method, params), False)
        exchange.notified = True

    def _modern_may_send(self, method: str, params: Mapping[str, Any]) -> bool:
        if isinstance(meta := params.get("_meta"), Mapping):
            check_application_meta(meta)
        if method == "notifications/message":
            return self.envelope.wants_log(params.get("level", ""))
        if method == "notifications/progress" and params.get("progressToken") != self.envelope.progress_token:
            raise LocalProtocolError("progress names only the token of its own request (M-PR-03)")
        if method == "notifications/cancelled":
            raise LocalProtocolError("a modern server cancels nothing but a listen it tears down (M-CA-05)")
        return True

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Report progress; does nothing when the peer asked for none (M-PR-03).

        A checkpoint.  A value that does not increase is left out: the wire shows an increasing sequence (M-PR-04).

        Raises:
            LocalProtocolError: The response has been given.
        """
        token = self.envelope.progress_token
        if token is None or not progress > self._progress:
            await trio.lowlevel.checkpoint()
            return
        self._progress = progress
        params: dict[str, Any] = {"progressToken": token, "progress": progress}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        await self.notify("notifications/progress", params)

    async def log(self, level: str, data: Any, logger: str | None = None) -> None:
        """Send a log message if the peer wants that level for this message (M-ME-13).

        A checkpoint.

        Raises:
            LocalProtocolError: An unknown level, or the response has been given.
        """
        if not self.envelope.wants_log(level):
            await trio.lowlevel.checkpoint()
            return
        params = {"level": level, "data": data}
        if logger is not None:
            params["logger"] = logger
        await self.notify("notifications/message", params)
