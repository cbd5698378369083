"""One end of a pipe: sorts every inbound message, inside the reader, to where it belongs.

Cancels, responses, progress and the era machine act here and now, in order; everything else becomes an exchange and
may be handled in any order.  Must never wait: what may wait, and when, is decided by `pipe.server` and `pipe.client`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import trio

from ..abc import MessageLink
from ..context import ConnectionInfo, MessageContext
from ..era import InboundEra
from ..errors import (
    ConnectionClosed,
    FrameTooLarge,
    FramingError,
    LocalProtocolError,
    MessageError,
    RemoteProtocolError,
    RpcError,
    TransportError,
)
from ..exchange import LISTEN, CancelCause, Exchange, Fault
from ..intake import Intake
from ..metrics import Load, TransportMetrics
from ..wire.codes import INTERNAL_ERROR, INVALID_REQUEST
from ..wire.envelope import Envelope
from ..wire.messages import Batch, Message, Notification, Request, Response
from ..wire.salvage import answered_by_beginning
from .admission import Admission
from .asking import ask
from .outbound import OutboundCalls, touch
from .outbox import PipeOutbox
from .tables import CallTable, ExchangeTable

__all__ = ["PipeEnd", "connection_id"]

logger: logging.Logger = logging.getLogger("trio_mcp_transport")


class PipeEnd:
    """The state of one connection; implements `era.Port`.

    Attributes:
        info: What its messages share.
        outbox: Its way back.
        admission: Its permits and queue.
        exchanges: Inbound requests and notifications that have not ended.
        calls: Outbound requests without an answer.
        outbound: How such requests are sent and cancelled.
    """

    def __init__(
        self,
        intake: Intake,
        link: MessageLink,
        info: ConnectionInfo,
        metrics: TransportMetrics,
        largest_message: int,
        ids: Iterator[int] | None = None,
    ) -> None:
        self.info = info
        self.link = link
        self.intake = intake
        self.metrics = metrics
        self.exchanges: ExchangeTable = ExchangeTable()
        self.calls: CallTable = CallTable(ids)
        self.admission: Admission = Admission(intake.limits, largest_message, intake.send_nowait)
        self.outbox: PipeOutbox = PipeOutbox(
            link,
            intake.limits.outbox_bytes,
            metrics,
            answered=self._on_answered,
            done=self._on_done,
            written=self._note_change,
        )
        self.era: InboundEra = intake.new_era(self)
        self.received_at: float = 0.0
        self.accepting = True
        self._control_bytes: Callable[[], bytes] | None = getattr(link, "control_bytes", None)
        attach: Callable[[Callable[[], None]], None] | None = getattr(link, "attach", None)
        if attach is not None:
            attach(self.answer_control)
        self._era_left = False
        self._changed = trio.lowlevel.ParkingLot()
        # Counted here: to ask the lot itself is a call for every message, and hardly ever does anybody wait.
        self._waiting = 0
        # A client's reader never waits, and a client is what brings the ids of its calls.
        changed = self._note_change if ids is None else None
        self.outbound: OutboundCalls = OutboundCalls(self.calls, self.outbox, push=self.push, changed=changed)

    # What the reader calls for every message.

    def take(self, message: Message | Batch) -> None:
        """Sort one inbound message."""
        kind = type(message)
        if kind is Request:
            self._take_request(message)  # type: ignore[arg-type]  # narrowed by exact type, which mypy does not follow
        elif kind is Response:
            self._take_response(message)  # type: ignore[arg-type]  # as above
        elif kind is Notification:
            self._take_notification(message)  # type: ignore[arg-type]  # as above
        else:
            self._take_batch(message)  # type: ignore[arg-type]  # as above

    def answer_control(self) -> None:
        """Put what the codec owes the peer, such as a pong; called after every chunk, and by a keep-alive."""
        if self._control_bytes is not None and (owed := self._control_bytes()):
            self.outbox.put_control(owed)

    def unreadable(self, error: FramingError | MessageError) -> None:
        """Answer and report a frame that holds no message; the next one is served as usual."""
        self.metrics.record_error()
        original = error
        if not isinstance(error, MessageError):
            id_ = answered_by_beginning(error.beginning) if isinstance(error, FrameTooLarge) else None
            error = MessageError(str(error), rpc_code=error.rpc_code, message_id=id_, answerable=id_ is None)
        if error.message_id is not None and not error.answerable:
            self._fail_call(error)
        answer = self.era.unreadable(error)
        if answer is not None:
            self.outbox.put_urgent(None, answer, False)
        # A line that is too long is one unreadable message; after any other framing error nothing more can be read.
        self.report(error if isinstance(original, FrameTooLarge) else original)

    def report(self, error: TransportError) -> None:
        """Give an error to the handler's ``handle_error``, through the queue like any message."""
        logger.debug("%s %s: %s", self.info.transport, self.info.connection_id, error)
        if not self.intake.wants_errors:
            return
        exchange = Exchange(Fault(error), self.context(), self.outbox, size=1024)
        if not self._admit(exchange, None):
            self.metrics.dropped += 1

    def context(self) -> MessageContext:
        """Return a context of the connection itself, for the hooks."""
        return MessageContext(self.info, Envelope(), self.received_at)

    def _take_request(self, request: Request) -> None:
        if request.id in self.exchanges.by_id:
            error = RpcError(INVALID_REQUEST, f"the id {request.id!r} belongs to a request that is still running")
            self._answer(request, Response(request.id, error=error))
            return
        try:
            terms = self.era.request(request)
        except RpcError as error:
            self._answer(request, Response(request.id, error=error))
            return
        if terms is None:
            self.metrics.dropped += 1
            logger.debug("%s: dropped the request %.100r", self.info.connection_id, request.method)
            return
        if not isinstance(terms, Envelope):
            self._answer(request, Response(request.id, terms))
            return
        if terms.modern:
            context = MessageContext(self.info, terms, self.received_at)
        else:
            context = self.era.context(terms, self.received_at)
        exchange = Exchange(request, context, self.outbox, size=request.size)
        if not self.accepting:
            exchange.cancel(CancelCause.DRAIN)
            exchange.settle()
        elif not self._admit(exchange, request.id):
            self.metrics.refused += 1
            data = {"reason": "busy"}
            self._answer(request, Response(request.id, error=RpcError(INTERNAL_ERROR, "the server is busy", data)))

    def _take_notification(self, notification: Notification) -> None:
        method = notification.method
        if method == "notifications/cancelled":
            self._take_cancel(notification)
            return
        if len(self.calls) and (call := self.calls.owner_of(notification)) is not None:
            touch(call)
            lost = call.dropped
            call.notify(notification)
            self.metrics.dropped += call.dropped - lost
            return
        terms = self.era.notification(notification)
        if terms is None:
            return
        exchange = Exchange(
            notification, self.era.context(terms, self.received_at), self.outbox, size=notification.size
        )
        if not self.accepting or not self._admit(exchange, None):
            self.metrics.dropped += 1

    def _take_cancel(self, notification: Notification) -> None:
        params = notification.params
        exchange = self.exchanges.find(id_ := params.get("requestId"))
        reason = params.get("reason")
        logger.debug("%s: the peer cancelled %.100r, reason: %.200r", self.info.connection_id, id_, reason)
        if exchange is not None:
            exchange.cancel(CancelCause.PEER)
            if self.admission.withdraw(exchange):
                exchange.end()
        elif (call := self.calls.find(id_)) is not None and call.request.method == LISTEN:
            # A server that tears down a listen names this side's own id (M-SU-11): an end without a result.  Any other
            # call with that id has it by chance: what the peer cancels is its own request, which has ended here.
            self.calls.remove(call)
            call.fail(ConnectionClosed(f"the peer ended {call.request.method}"))

    def _take_response(self, response: Response) -> None:
        if self.calls.respond(response) is None:
            self.metrics.dropped += 1
            logger.debug("%s: response %.100r for nobody", self.info.connection_id, response.id)

    def _take_batch(self, batch: Batch) -> None:
        try:
            members = self.era.batch(batch)
        except MessageError as error:
            self.unreadable(error)
            return
        for member in members:
            if isinstance(member, MessageError):
                self.unreadable(member)
            else:
                self.take(member)

    def _answer(self, request: Request, response: Response) -> None:
        try:
            self.outbox.put_urgent(None, response, False)
        except LocalProtocolError as error:
            logger.error("the answer to %.100r cannot be written: %s", request.method, error)
            data = {"reason": "internal"}
            fallback = Response(request.id, error=RpcError(INTERNAL_ERROR, "internal error", data))
            self.outbox.put_urgent(None, fallback, False)

    def _fail_call(self, error: MessageError) -> None:
        call = self.calls.find(error.message_id)
        if call is not None:
            self.calls.remove(call)
            call.fail(RemoteProtocolError(f"{call.request.method}: the response is invalid: {error}"))

    # Inbound exchanges.

    def _admit(self, exchange: Exchange, id_: int | str | None) -> bool:
        self.exchanges.add(exchange, id_)
        if self.admission.admit(exchange):
            return True
        self.exchanges.open.discard(exchange)
        if id_ is not None:
            self.exchanges.answered(id_, exchange)
        return False

    def _on_answered(self, exchange: Exchange, message: Message) -> None:
        request = exchange.message
        if type(request) is Request:
            # As `ExchangeTable.answered`, without the call: this is done for every answer.
            if (by_id := self.exchanges.by_id).get(request.id) is exchange:
                del by_id[request.id]
            if request.method == "initialize" and type(message) is Response:
                self.era.answered(request, message)

    def _on_done(self, exchange: Exchange) -> None:
        try:
            self.exchanges.open.remove(exchange)
        except KeyError:
            return
        if not exchange.answered:
            request = exchange.message
            if type(request) is Request:
                self.exchanges.answered(request.id, exchange)
        self.admission.release(exchange)
        if self._waiting:
            self._changed.unpark_all()

    def cancel_exchanges(self, cause: CancelCause, *, listens_only: bool = False) -> None:
        """Cancel what has not ended, queued exchanges included; those get what the cause grants at once."""
        if not listens_only:
            for exchange in self.admission.drop_queue():
                exchange.cancel(cause)
                exchange.settle()
        for exchange in list(self.exchanges.open):
            if exchange.is_listen or not listens_only:
                exchange.cancel(cause)

    def cancel_requests(self, cause: CancelCause) -> None:
        """Cancel requests that have not ended, queued ones included; notifications, which nobody waits for, go on."""
        for exchange in list(self.exchanges.open):
            if exchange.is_request:
                exchange.cancel(cause)
                if self.admission.withdraw(exchange):
                    exchange.end()

    def push(self, message: Message) -> None:
        """Send a message of the connection's own, without waiting."""
        if self.outbox.flooded:
            self.metrics.dropped += 1
            return
        self.outbox.put_urgent(None, message, False)

    async def call(self, method: str, params: Mapping[str, Any] | None, context: MessageContext) -> Any:
        """Ask the peer on behalf of a message being handled; its permit is lent to others meanwhile.

        A checkpoint; cancelled, the peer is told.

        Raises:
            RpcError: The peer's answer.
            TransportError: There will be none.
        """
        return await ask(self, method, params, context)

    async def wait_change(self) -> None:
        """Wait until an exchange ended, bytes were written, or a call to the peer began; a checkpoint."""
        self._waiting += 1
        try:
            await self._changed.park()
        finally:
            self._waiting -= 1

    def _note_change(self) -> None:
        if self._waiting:
            self._changed.unpark_all()

    async def close_link(self) -> None:
        """Close the link; what it raises is logged, for the hooks have run and nobody is left to raise it to."""
        failure = await self.intake.contain(self.link.aclose)
        if failure is not None:
            logger.warning("%s: closing failed: %s", self.info.connection_id, failure)

    def leave_era(self) -> None:
        """Let the era machine give up what it attached to, once."""
        if not self._era_left:
            self._era_left = True
            self.era.closed()

    def load(self) -> Load:
        """Return what this connection holds."""
        open_ = len(self.exchanges.open)
        queued = self.admission.queued
        return Load(open_ - queued, queued, len(self.calls), self.outbox.pending_bytes)


def connection_id(transport: str) -> str:
    """Return an identifier that no other connection has."""
    return f"{transport}-{secrets.token_hex(6)}"
