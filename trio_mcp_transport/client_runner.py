"""What lives behind a `Client`: it connects, agrees on the terms, and connects again where the transport says so.

Must never yield inside a nursery and must never let a dead connection cancel the caller's own code: it fails calls,
pending and later ones, with its cause.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from functools import partial

import trio

from .abc import ClientTransport, MessageHandler
from .call import Call
from .client import Client
from .client_attempt import Attempt, ask
from .connect import ClientConnection, ClientSetup
from .deadlines import DeadlineExceeded, Deadlines
from .dispatcher import Dispatcher
from .era import InboundEra, Port
from .errors import ConnectionClosed, ConnectionFailed, RpcError, TransportError
from .exchange import Exchange
from .intake import Intake
from .limits import Limits
from .timekeeper import Timekeeper
from .transports.eras import ClientInbound
from .transports.firewall import run_contained
from .transports.negotiation import Negotiator, Terms, supported_of
from .transports.restart import RestartPolicy
from .wire.messages import Notification, Request

__all__ = ["ClientRunner"]


class ClientRunner:
    """Holds every task and scope of one client."""

    def __init__(
        self,
        transport: ClientTransport,
        handler: MessageHandler,
        negotiator: Callable[..., Negotiator],
        limits: Limits,
        deadlines: Deadlines,
    ) -> None:
        """Prepare a client; nothing happens before `run`.

        Args:
            transport: How to reach the server.
            handler: Serves what the server sends of its own accord.
            negotiator: Makes a `Negotiator` out of ``call`` and ``notify``.
            limits: The bounds.
            deadlines: The client's own deadlines.
        """
        self._transport = transport
        self._negotiator = negotiator
        self._timekeeper = Timekeeper()
        self._client = Client(limits, deadlines, self._timekeeper)
        send, receive = trio.open_memory_channel[Exchange](math.inf)
        self._dispatcher = Dispatcher(handler, receive)
        intake = Intake(
            send,
            handler,
            self._new_era,
            self._dispatcher,
            limits=limits,
            drain=0.0,
            shutdown=self._client.closing,
            contain=run_contained,
        )
        self._setup = ClientSetup(intake=intake, limits=limits, deadlines=deadlines)
        self._restart: RestartPolicy | None = getattr(transport, "restart", None)
        self._restarts: list[float] = []
        self._terms: Terms | None = None
        self._failure: TransportError | None = None
        self._refusal: RpcError | None = None
        self._started = False

    async def run(self, task_status: trio.TaskStatus[Client]) -> None:
        """Run until the client is closed; once started, a dead connection is told to its callers only.

        A checkpoint.  Cancelled, everything it opened is closed within the bounds of the transport.

        Raises:
            TransportError: The first connection could not be made.
            RpcError: The server refused ``initialize`` on it.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._timekeeper.run)
                nursery.start_soon(self._dispatcher.run)
                await self._keep_connected(task_status)
                nursery.cancel_scope.cancel()
        finally:
            self._client.ended(self._failure)
        failure = self._refusal or self._failure
        if failure is not None and not self._started:
            raise failure

    async def _keep_connected(self, task_status: trio.TaskStatus[Client]) -> None:
        listens: list[Call] = []
        while True:
            listens = await self._connect(task_status, listens)
            if self._failure is None or self._client.closing.is_set() or not self._started:
                break
            self._client.disconnected()
            delay = self._restart_delay()
            if delay is None:
                break
            with trio.move_on_after(delay):
                await self._client.closing.wait()
                break
        for call in listens:
            call.fail((self._failure or ConnectionClosed("the client was closed")).twin())

    def _restart_delay(self) -> float | None:
        if self._restart is None:
            return None
        now = trio.current_time()
        delay = self._restart.next_delay(self._restarts, now, random.random)
        self._restarts.append(now)
        return delay

    async def _connect(self, task_status: trio.TaskStatus[Client], listens: list[Call]) -> list[Call]:
        """Run one connection to its end; return the listens to send again on the next."""
        self._failure = None
        self._terms = None
        attempt = Attempt(self._transport, self._setup)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt.run)
            nursery.start_soon(self._obey_close, attempt, nursery.cancel_scope)
            try:
                connection = await self._establish(attempt)
            except TransportError as error:
                self._failure = error
            except RpcError as error:
                self._refused(error)
            else:
                if self._restart is not None:
                    connection.keep_listens()
                if not self._started:
                    self._started = True
                    task_status.started(self._client)
                listens = await self._reopen(connection, listens)
                await attempt.ended.wait()
                self._failure = attempt.failure
                listens += connection.take_listens()
            nursery.cancel_scope.cancel()
        return listens

    async def _obey_close(self, attempt: Attempt, connecting: trio.CancelScope) -> None:
        """Close the connection with the client; one that does not stand yet is given up."""
        await self._client.closing.wait()
        if not attempt.close():
            connecting.cancel()

    def _refused(self, error: RpcError) -> None:
        self._refusal = error
        # Callers that wait for a new connection asked something else: to them this is a failure, not an answer.
        self._failure = ConnectionFailed(f"{self._transport.address} refused the handshake: {error}")
        self._failure.__cause__ = error

    async def _establish(self, attempt: Attempt) -> ClientConnection:
        limit = self._setup.deadlines.connect
        with trio.move_on_after(math.inf if limit is None else limit):
            connection = await attempt.connection()
            negotiator = self._negotiator(
                call=partial(ask, connection, self._setup),
                notify=lambda method: connection.notify(Notification(method)),
            )
            self._terms = await negotiator.negotiate()
            other_terms = partial(_other_terms, negotiator)
            self._client.connected(connection, self._terms, other_terms, replaceable=self._restart is not None)
            return connection
        raise DeadlineExceeded("connect", limit or 0.0, self._transport.address)

    async def _reopen(self, connection: ClientConnection, listens: list[Call]) -> list[Call]:
        """Send the listens of a dead connection again, each with a new id (M-IO-19, M-SU-13).

        Returns:
            Those that the next connection must take, because this one ended before they were sent.
        """
        unsent: list[Call] = []
        for call in listens:
            if call.done:
                continue
            call.request = Request(connection.next_id(), call.request.method, call.request.params)
            try:
                await connection.send_call(call)
            except TransportError as error:
                if connection.failure is None:
                    call.fail(error)
                else:
                    unsent.append(call)
        return unsent

    def _new_era(self, port: Port) -> InboundEra:
        return ClientInbound(port, lambda: "" if self._terms is None else self._terms.revision)


def _other_terms(negotiator: Negotiator, error: RpcError) -> Terms | None:
    revision = negotiator.common(supported_of(error))
    requested = error.data.get("requested") if isinstance(error.data, Mapping) else None
    return None if revision is None or revision == requested else negotiator.modern(None, revision)
