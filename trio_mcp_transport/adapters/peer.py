"""A transport of ours run without client or service above it: messages in, messages out, nothing decided.

Must never answer a message by itself and must never start a task outside of `run`.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import trio

from ..abc import ClientTransport, MessageHandler, ServerTransport
from ..call import Call
from ..connect import ClientConnection, ClientSetup
from ..context import MessageContext
from ..deadlines import Deadlines
from ..dispatcher import Dispatcher
from ..era import Port
from ..errors import ConnectionClosed, LocalProtocolError, MessageError, RpcError, TransportError
from ..exchange import CancelCause, Exchange
from ..intake import Intake
from ..limits import Limits
from ..transports.firewall import run_contained
from ..wire import messages
from ..wire.envelope import Envelope
from ..wire.messages import Batch, Message, MessageId, Notification, Request, Response

__all__ = ["ClientPeer", "Peer", "ServerPeer"]

READ_AHEAD = 16
"""Messages received and not asked for yet; whoever delivers one more waits."""

CROSSING = 1000
"""Cancelled requests remembered, for an answer may have crossed the cancellation."""


class _RawEra:
    """Implements `era.InboundEra`: everything is for the user, and on no terms at all."""

    def __init__(self, port: Port) -> None:
        self._info = port.info

    def request(self, request: Request) -> Envelope:
        return Envelope()

    def notification(self, notification: Notification) -> Envelope:
        return Envelope()

    def batch(self, batch: Batch) -> list[Message | MessageError]:
        members: list[Message | MessageError] = []
        for item in batch.items:
            try:
                members.append(messages.from_value(item))
            except MessageError as error:
                members.append(error)
        return members

    def answered(self, request: Request, response: Response) -> None:
        return

    def unreadable(self, error: MessageError) -> None:
        return

    def context(self, envelope: Envelope, received_at: float) -> MessageContext:
        return MessageContext(self._info, envelope, received_at)

    def closed(self) -> None:
        return


class Peer(MessageHandler):
    """Whoever is at the other end of a transport: `send` goes there, `receive` comes from there."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._inbox_send, self._inbox = trio.open_memory_channel[bytes | MessageError](READ_AHEAD)
        self._reading = trio.Lock()
        self._open: dict[MessageId, _Asked] = {}
        self._cancelled: deque[MessageId] = deque(maxlen=CROSSING)
        self._late: deque[bytes] = deque()  # cancellations without room; as many as requests at most
        self._failure: TransportError | None = None
        self._closing = trio.Event()
        self._ended = trio.Event()
        self._ids = 0

    async def run(self) -> None:
        """Run the transport to its end; raises no error, `send` and `receive` do."""
        send, receive = trio.open_memory_channel[Exchange](math.inf)
        dispatcher = Dispatcher(self, receive)
        intake = Intake(
            send,
            self,
            _RawEra,
            dispatcher,
            limits=self._limits,
            drain=0,
            shutdown=self._closing,
            contain=run_contained,
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(dispatcher.run)
                with send:
                    self._failure = await run_contained(partial(self._run_transport, intake, nursery))
                nursery.cancel_scope.cancel()
        finally:
            self._failure = self._failure or ConnectionClosed("the connection is closed")
            self._inbox_send.close()
            self._ended.set()
            self._has_ended()

    async def send(self, message: Message) -> None:
        """Pass one message on.  A checkpoint.

        Raises:
            LocalProtocolError: It cannot be sent in this role.
            TransportError: The connection has ended.
        """
        raise NotImplementedError

    async def receive(self) -> bytes:
        """Return the next message.  A checkpoint; cancelled, nothing is lost.

        Raises:
            MessageError: It is unreadable.
            TransportError: The connection has ended.
        """
        async with self._reading:
            if self._late:
                await trio.lowlevel.checkpoint()
                return self._late.popleft()
            try:
                item = await self._inbox.receive()
            except (trio.EndOfChannel, trio.ClosedResourceError):
                raise self._end() from None
            if isinstance(item, MessageError):
                raise item
            return item

    async def close(self) -> None:
        """Close and wait until nothing is left, which the transport bounds."""
        self._closing.set()
        for asked in self._open.values():
            asked.give(None)
        self._inbox.close()  # nobody reads any more, and nobody may wait for that
        await self._ended.wait()

    async def _run_transport(self, intake: Intake, nursery: trio.Nursery) -> None:
        raise NotImplementedError

    def _has_ended(self) -> None:
        return

    def _end(self) -> TransportError:
        return (self._failure or ConnectionClosed("the connection is closed")).twin()

    # What the dispatcher calls.

    async def handle_message(self, message: Request | Notification, context: MessageContext) -> Any:
        """Give a message to the user, and wait for the answer of a request."""
        if not isinstance(message, Request):
            await self._deliver(messages.encode(message))
            return None
        id_ = message.id
        while id_ in self._open:
            self._ids += 1
            id_ = f"{message.id}/{self._ids}"
        self._open[id_] = asked = _Asked(message, context)
        try:
            await self._deliver(messages.encode(Request(id_, message.method, message.raw_params)))
            return await asked.answer()
        finally:
            del self._open[id_]
            if context.cancel_cause is CancelCause.PEER:
                self._tell_cancelled(id_)

    def _tell_cancelled(self, id_: MessageId) -> None:
        """Give the user the cancellation of a request; the answer that may be on its way all the same is dropped."""
        self._cancelled.append(id_)
        note = messages.encode(Notification("notifications/cancelled", {"requestId": id_}))
        with contextlib.suppress(trio.BrokenResourceError):
            try:
                self._inbox_send.send_nowait(note)
            except trio.WouldBlock:
                self._late.append(note)

    async def handle_error(self, error: TransportError, context: MessageContext) -> None:
        """Give an unreadable message to the user; other errors end the connection, which `receive` tells."""
        if isinstance(error, MessageError):
            await self._deliver(error)
        elif self._failure is None:
            self._failure = error

    async def _deliver(self, item: bytes | MessageError) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await self._inbox_send.send(item)

    def _answer(self, response: Response) -> None:
        id_ = response.id
        if id_ is not None and id_ in self._open:
            self._open[id_].give(response)
        elif id_ is not None and id_ in self._cancelled:
            self._cancelled.remove(id_)
        else:
            raise LocalProtocolError(f"{id_!r} is no request that waits for an answer")


class _Asked:
    """A request of the peer, and the answer the user gives."""

    def __init__(self, request: Request, context: MessageContext) -> None:
        self.request = request
        self.context = context
        self._response: Response | None = None
        self._answered = trio.Event()

    def give(self, response: Response | None) -> None:
        self._response = response
        self._answered.set()

    async def answer(self) -> Any:
        await self._answered.wait()
        response = self._response
        if response is None:
            raise RpcError(-32603, "the program that was asked has closed its transport")
        if response.error is not None:
            raise response.error
        return bytes(response.raw_result)


class ClientPeer(Peer):
    """A server, reached through a client transport."""

    def __init__(self, transport: ClientTransport, limits: Limits) -> None:
        super().__init__(limits)
        self._transport = transport
        self._connection: ClientConnection | None = None
        self._connected = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._calls: dict[MessageId, Call] = {}

    async def send(self, message: Message) -> None:
        """Send a message; a request becomes a call, so that any transport of ours can carry it."""
        await self._connected.wait()
        connection, nursery = self._connection, self._nursery
        if connection is None or nursery is None or self._ended.is_set():
            raise self._end()
        if isinstance(message, Response):
            self._answer(message)
            await trio.lowlevel.checkpoint()
        elif isinstance(message, Request):
            await self._send_request(message, connection, nursery)
        elif message.method == "notifications/cancelled" and (
            call := self._calls.get(message.params.get("requestId", ""))
        ):
            # Each transport has its own way to cancel.
            call.abandon()
            await trio.lowlevel.checkpoint()
        else:
            await connection.notify(message)

    async def _send_request(self, request: Request, connection: ClientConnection, nursery: trio.Nursery) -> None:
        if request.id in self._calls:
            raise LocalProtocolError(f"the id {request.id!r} belongs to a request that has no answer yet")
        call = Call(request, Deadlines(total=None), self._limits, buffered=True)
        token = request.meta.get("progressToken")
        call.token = token if type(token) is int or type(token) is str else None
        self._calls[request.id] = call
        try:
            await connection.send_call(call)
        except BaseException:
            del self._calls[request.id]
            raise
        nursery.start_soon(self._follow, call)

    async def _follow(self, call: Call) -> None:
        """Give the user what belongs to one request, in order."""
        try:
            while True:
                message = await call.receive()
                if isinstance(message, Response):
                    # Its id is free from here on, for the user may ask again as soon as this is read.
                    self._calls.pop(call.request.id, None)
                await self._deliver(messages.encode(message))
        except (trio.EndOfChannel, trio.ClosedResourceError, TransportError):
            # Answered, cancelled, or lost with the connection, which `receive` tells.
            return
        finally:
            self._calls.pop(call.request.id, None)

    async def close(self) -> None:
        """Close the connection and wait until nothing is left."""
        self._closing.set()
        if self._connection is not None:
            self._connection.close()
        elif self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        await super().close()

    def started(self, connection: ClientConnection) -> None:
        """Take the connection; the transport calls this as ``task_status.started``."""
        self._connection = connection
        self._connected.set()

    async def _run_transport(self, intake: Intake, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        if self._closing.is_set():
            return
        setup = ClientSetup(intake=intake, limits=self._limits, deadlines=Deadlines())
        await self._transport.run(setup, task_status=self)  # type: ignore[arg-type]  # one in shape

    def _has_ended(self) -> None:
        self._connected.set()


class ServerPeer(Peer):
    """A client, which comes in through a server transport."""

    def __init__(self, transport: ServerTransport, limits: Limits) -> None:
        super().__init__(limits)
        self._transport = transport

    async def send(self, message: Message) -> None:
        """Send an answer, or a notification along a request that has none yet."""
        if self._ended.is_set():
            raise self._end()
        if isinstance(message, Request):
            raise LocalProtocolError("a server has no requests of its own in this shape")
        if isinstance(message, Response):
            self._answer(message)
            await trio.lowlevel.checkpoint()
            return
        await self._along(message.params)(message.method, message.params)

    def _along(self, params: Mapping[str, Any]) -> Callable[[str, Mapping[str, Any]], Awaitable[None]]:
        token, found = params.get("progressToken"), None
        for asked in self._open.values():
            if token is None or asked.request.meta.get("progressToken") == token:
                found = asked
        if found is None:
            raise LocalProtocolError("there is no request this notification could belong to")
        return found.context.notify

    async def _run_transport(self, intake: Intake, nursery: trio.Nursery) -> None:
        await self._transport.run(intake)
