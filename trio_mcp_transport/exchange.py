"""One inbound message, its context and its way back: the noun everything else is built around.

The answer goes back along the exchange, so nothing looks up which stream belongs to an id, and whoever learns that the
peer walked away cancels that exchange.  Must never touch a stream, a codec or a nursery, and must never assume that
messages travel as JSON text.
"""

from __future__ import annotations

import enum
import logging
from typing import Any, Protocol

import trio

from .context import MessageContext
from .errors import RpcError, TransportError
from .wire.codes import INTERNAL_ERROR, is_undefined
from .wire.messages import Message, Notification, Request, Response
from .wire.modern import listen_result

__all__ = ["LISTEN", "CancelCause", "Exchange", "Fault", "Outbox"]

logger: logging.Logger = logging.getLogger("trio_mcp_transport")

LISTEN = "subscriptions/listen"


class CancelCause(enum.Enum):
    """Why an exchange was cancelled; decides what the peer still gets."""

    PEER = "peer"
    """The peer cancelled this request, or left a modern response: it gets nothing more for it."""

    DRAIN = "drain"
    """Time to drain is up: the peer gets an error with ``data.reason`` = ``shutdown``, a listen its result."""

    CLOSED = "closed"
    """The connection is gone: nobody is left to answer."""

    SERVICE = "service"
    """The service was cancelled: now, without answers."""


class Fault(Notification):
    """What stands for an unreadable message in an exchange, so that ``handle_error`` runs like any handler.

    Attributes:
        error: Why it was unreadable.
    """

    __slots__ = ("error",)

    def __init__(self, error: TransportError) -> None:
        super().__init__("")
        self.error: TransportError = error


class Outbox(Protocol):
    """The way back of one connection; one task writes, everybody else only puts.

    A custom transport implements these four methods, or uses `pipe.serve_stream`, which does.
    """

    def put_nowait(self, exchange: Exchange, message: Message, final: bool, *, last: bool = False) -> bool:
        """Put a message if there is room; return whether it was taken.

        ``last`` says that nothing follows in this step of the caller, so that it may be written at once.

        Raises:
            LocalProtocolError: The message cannot be written.
        """
        ...

    async def put(self, exchange: Exchange, message: Message, final: bool) -> None:
        """Put a message, waiting for room; a checkpoint.  Cancelled while waiting, nothing was put."""
        ...

    def put_urgent(self, exchange: Exchange, message: Message, final: bool) -> None:
        """Put a small message beyond the bound, without waiting: error answers and notices."""
        ...

    def finish(self, exchange: Exchange) -> None:
        """Learn that the exchange ended without a final message: free what it held."""
        ...


class Exchange:
    """One inbound message on its way through a handler.

    Nobody but the worker that runs it touches a cancel scope: `cancel` may be called from any task of the thread at
    any time, and after the end it does nothing, because the exchange has let go of the scope by then.

    Attributes:
        message: The `Request` or `Notification`.
        context: What the handler learns about it and does for it.
        outbox: Where the answer goes.
        cause: Why it was cancelled, or None.
        answered: Whether the final response was handed to the outbox.
        ended: Whether the worker is done with it.
        notified: Whether a notification of it was put, which for a listen is its acknowledgement.
        is_request: Whether the message is answered at all.
        is_listen: Whether it opens a subscription, which ends by another rule than a call.
    """

    __slots__ = (
        "_scope",
        "answered",
        "cause",
        "context",
        "ended",
        "is_listen",
        "is_request",
        "message",
        "notified",
        "outbox",
        "permit",
        "size",
    )

    def __init__(
        self, message: Request | Notification, context: MessageContext, outbox: Outbox, *, size: int = 0
    ) -> None:
        self.message: Request | Notification = message
        self.context: MessageContext = context
        self.outbox: Outbox = outbox
        self.size: int = size
        self.permit: Any = None
        self.cause: CancelCause | None = None
        self.answered: bool = False
        self.ended: bool = False
        self.notified: bool = False
        self.is_request: bool = type(message) is Request
        self.is_listen: bool = message.method == LISTEN and self.is_request and context.envelope.modern
        self._scope: trio.CancelScope | None = None
        context.exchange = self

    @property
    def name(self) -> str:
        """The method as it may stand in a log line: escaped and short, for it is the peer who chose it."""
        return repr(self.message.method)[1:-1][:100] or "an error"

    def cancel(self, cause: CancelCause) -> None:
        """Cancel the handler, or keep it from being called at all.

        Synchronous, idempotent, callable from any task at any time.  Once the response was handed to the outbox the
        first cause still marks the exchange, so that frames not yet begun leave the outbox.
        """
        if self.ended or self.cause is not None:
            return
        self.cause = cause
        if self._scope is not None:
            self._scope.cancel()

    def begin(self, scope: trio.CancelScope) -> bool:
        """Attach the worker's scope; return False when the exchange was cancelled before its handler could start."""
        if self.cause is not None:
            return False
        self._scope = scope
        return True

    def end(self) -> None:
        """Let go of the scope, so that a late cancel cannot reach the next exchange of the same worker."""
        self._scope = None
        if not self.ended:
            self.ended = True
            # Exchange and context point at each other: parted here, both are freed at once, without the collector.
            context = self.context
            context.exchange, context.last_cause = None, self.cause
            if not self.answered:
                self.outbox.finish(self)

    def response(self, value: Any) -> Response:
        """Build the response for what a handler returned.

        A `Response`, such as the answer of another server, keeps everything but its id, and obeys the same rules.

        Raises:
            LocalProtocolError: The value cannot be a result of this revision.
            RpcError: The revision demands this error instead.
        """
        message = self.message
        assert type(message) is Request
        if type(value) is not Response:
            return Response(message.id, self.context.envelope.result(message.method, value))
        if value.error is not None:
            response = Response(message.id, error=self._permitted(value.error))
        else:
            response = Response(message.id, self.context.envelope.result(message.method, value.result))
        response.extra = value.extra
        return response

    def _permitted(self, error: RpcError) -> RpcError:
        """Return the error that may leave; a reserved code that means nothing is reported (M-ER-05, M-ER-08)."""
        envelope = self.context.envelope
        if is_undefined(error.code, modern=envelope.modern):
            logger.warning(
                "%s: the error code %d is reserved and undefined; application codes lie outside -32768..-32000",
                self.name,
                error.code,
            )
        return envelope.error(error)

    def refuse(self, error: RpcError) -> None:
        """Answer with an error, without waiting; nothing happens for a notification or an answered exchange."""
        message = self.message
        if type(message) is Request and not self.answered:
            self.outbox.put_urgent(self, Response(message.id, error=self._permitted(error)), True)

    def settle(self) -> None:
        """Give the peer of a cancelled exchange what its cause grants, then end."""
        if self.cause is CancelCause.DRAIN and not self.answered:
            if self.is_listen and self.notified:
                self.end_listen()
            else:
                # Also a listen that was never acknowledged: its first message must not be its result (M-SU-03).
                self.refuse(RpcError(INTERNAL_ERROR, "the server is shutting down", {"reason": "shutdown"}))
        self.end()

    def end_listen(self) -> None:
        """Answer a listen with its graceful result (M-SU-10)."""
        message = self.message
        assert type(message) is Request
        result = self.context.envelope.result(message.method, listen_result(message.id))
        self.outbox.put_urgent(self, Response(message.id, result), True)
        self.note_listen_end()

    def note_listen_end(self) -> None:
        """Send the notice that follows the result of a listen this side tears down (M-SU-11, D-01)."""
        message = self.message
        assert type(message) is Request
        self.outbox.put_urgent(self, Notification("notifications/cancelled", {"requestId": message.id}), False)
