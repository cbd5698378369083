"""Opening, running and closing a client: every task and scope of a client lives in `run_client`.

Must never yield inside a nursery and must never let a dead connection cancel the caller's own code: it fails calls,
pending and later ones, with its cause.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import trio

from .abc import ClientTransport, MessageHandler
from .call import Call
from .client import Client
from .connect import ClientConnection, ClientSetup
from .deadlines import DeadlineExceeded, Deadlines
from .dispatcher import Dispatcher, contain
from .era import InboundEra, Port
from .errors import ConnectionClosed, RpcError, TransportError
from .exchange import Exchange
from .handlers import Handlers
from .intake import Intake
from .limits import Limits
from .service import as_transport_error
from .timekeeper import Timekeeper
from .transports.eras import ClientInbound
from .transports.negotiation import Era, Negotiator, Terms, supported_of
from .wire.envelope import ClientInfo
from .wire.messages import Notification, Request
from .wire.revisions import MODERN

__all__ = ["open_client", "run_client"]

DEFAULT_INFO = ClientInfo("trio-mcp-transport", "0")


async def run_client(
    transport: ClientTransport,
    *,
    client_info: ClientInfo | None = None,
    handler: MessageHandler | None = None,
    era: Era = "auto",
    limits: Limits | None = None,
    deadlines: Deadlines | None = None,
    discover: bool = True,
    extensions: frozenset[str] = frozenset(),
    send_info: bool = True,
    revisions: tuple[str, ...] = MODERN,
    task_status: trio.TaskStatus[Client] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a client until it is closed; ``task_status.started`` gives the `Client`.

    A checkpoint.  Cancelled, everything it opened is closed within the bounds of the transport.  Once started it
    returns normally even when the connection dies: that is told to the callers of the client.

    Args:
        transport: How to reach the server; runs once.
        client_info: Name, version and capabilities of this program.
        handler: Serves what the server sends of its own accord on legacy connections, and learns of unreadable
            messages.  Default: ping is answered, requests get -32601, notifications are counted.
        era: ``auto`` probes and falls back, ``modern`` and ``legacy`` speak nothing else.
        limits: The bounds; None for the defaults.
        deadlines: The client's own deadlines; None for the defaults.
        discover: Whether a ``modern`` client asks ``server/discover`` first.
        extensions: ``resultType`` values of declared extensions (M-JR-10).
        send_info: Whether requests carry ``clientInfo`` (M-ME-03).
        revisions: Modern revisions to speak, preferred first.

    Raises:
        TransportError: The connection could not be made, or the two sides share no revision; never in a group.
        RpcError: A legacy server refused ``initialize``.
    """
    limits = limits or Limits()
    deadlines = deadlines or Deadlines()
    timekeeper = Timekeeper()
    client = Client(limits, deadlines, timekeeper)
    handler = handler or Handlers()
    send, receive = trio.open_memory_channel[Exchange](math.inf)

    def new_era(port: Port) -> InboundEra:
        return ClientInbound(port, runner.revision)

    intake = Intake(send, handler, new_era, contain, limits=limits, drain=0.0, shutdown=client.closing)
    runner = _Runner(transport, client, ClientSetup(intake=intake, limits=limits, deadlines=deadlines))
    runner.negotiation = {
        "info": client_info or DEFAULT_INFO,
        "era": era,
        "discover": discover,
        "probe": deadlines.probe,
        "extensions": extensions,
        "send_info": send_info,
        "revisions": revisions,
    }
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timekeeper.run)
            nursery.start_soon(Dispatcher(handler, receive).run)
            await runner.run(task_status)
            nursery.cancel_scope.cancel()
    finally:
        client.ended(runner.failure)
    if runner.failure is not None and not runner.started:
        raise runner.failure


class _Runner:
    """Connects, and connects again where the transport's restart policy says so."""

    def __init__(self, transport: ClientTransport, client: Client, setup: ClientSetup) -> None:
        self._transport = transport
        self._client = client
        self._setup = setup
        self._terms: Terms | None = None
        self._history: list[float] = []
        self.negotiation: dict[str, Any] = {}
        self.failure: Any = None
        self.started = False

    def revision(self) -> str:
        return "" if self._terms is None else self._terms.revision

    async def run(self, task_status: trio.TaskStatus[Client]) -> None:
        listens: list[Call] = []
        while True:
            listens = await self._connect(task_status, listens)
            if self.failure is None or self._client.closing.is_set() or not self.started:
                break
            self._client.disconnected()
            delay = self._restart_delay()
            if delay is None:
                break
            with trio.move_on_after(delay):
                await self._client.closing.wait()
                break
        for call in listens:
            call.fail((self.failure or ConnectionClosed("the client was closed")).twin())

    def _restart_delay(self) -> float | None:
        policy = getattr(self._transport, "restart", None)
        if policy is None:
            return None
        now = trio.current_time()
        delay: float | None = policy.next_delay(self._history, now, random.random)
        self._history.append(now)
        return delay

    async def _connect(self, task_status: trio.TaskStatus[Client], listens: list[Call]) -> list[Call]:
        """Run one connection to its end; return the listens to send again on the next."""
        self.failure = None
        self._terms = None
        attempt = _Attempt(self._transport, self._setup)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt.run)
            try:
                connection = await self._establish(attempt)
            except (RpcError, TransportError) as error:
                self.failure = error
                nursery.cancel_scope.cancel()
            else:
                self._keep_listens(connection)
                if not self.started:
                    self.started = True
                    task_status.started(self._client)
                await self._reopen(connection, listens)
                listens = []
                await attempt.ended.wait()
                self.failure = attempt.failure
                listens = connection.take_listens()
        return listens

    async def _establish(self, attempt: _Attempt) -> ClientConnection:
        limit = self._setup.deadlines.connect
        with trio.move_on_after(math.inf if limit is None else limit) as scope:
            connection = await attempt.connection()
            negotiator = Negotiator(
                call=_Caller(connection, self._setup).call,
                notify=lambda method: connection.notify(Notification(method)),
                **self.negotiation,
            )
            self._terms = await negotiator.negotiate()
            self._client.connected(connection, self._terms, lambda error: _other_terms(negotiator, error))
            if self._client.closing.is_set():
                connection.close()
            return connection
        assert scope.cancelled_caught and limit is not None
        raise DeadlineExceeded("connect", limit, self._transport.address)

    def _keep_listens(self, connection: ClientConnection) -> None:
        if getattr(self._transport, "restart", None) is not None:
            connection.keep_listens()

    async def _reopen(self, connection: ClientConnection, listens: list[Call]) -> None:
        """Send the listens of a dead connection again, each with a new id (M-IO-19, M-SU-13)."""
        for call in listens:
            if call.done:
                continue
            call.request = Request(connection.next_id(), call.request.method, call.request.params)
            try:
                await connection.send_call(call)
            except TransportError as error:
                call.fail(error)


def _other_terms(negotiator: Negotiator, error: RpcError) -> Terms | None:
    revision = negotiator.common(supported_of(error))
    requested = error.data.get("requested") if isinstance(error.data, Mapping) else None
    return None if revision is None or revision == requested else negotiator.modern(None, revision)


class _Attempt:
    """One run of a transport: its connection once it stands, its failure once it ended."""

    def __init__(self, transport: ClientTransport, setup: ClientSetup) -> None:
        self._transport = transport
        self._setup = setup
        self._connection: ClientConnection | None = None
        self._changed = trio.Event()
        self.ended = trio.Event()
        self.failure: TransportError | None = None

    def started(self, connection: ClientConnection) -> None:
        """Take the connection; the transport calls this as ``task_status.started``."""
        self._connection = connection
        self._changed.set()

    async def run(self) -> None:
        failure: BaseExceptionGroup[Exception] | None = None
        try:
            await self._transport.run(self._setup, task_status=self)  # type: ignore[arg-type]  # a TaskStatus in shape
        except* Exception as group:
            failure = group
        finally:
            if failure is not None:
                self.failure = as_transport_error(failure)
            self.ended.set()
            self._changed.set()

    async def connection(self) -> ClientConnection:
        """Wait for the connection.

        Raises:
            TransportError: There is none.
        """
        await self._changed.wait()
        if self._connection is None:
            raise self.failure or ConnectionClosed(f"{self._transport.address} ended before it connected")
        return self._connection


class _Caller:
    """Sends requests as they are, for the negotiation."""

    def __init__(self, connection: ClientConnection, setup: ClientSetup) -> None:
        self._connection = connection
        self._setup = setup

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        request = Request(self._connection.next_id(), method, params)
        call = Call(request, Deadlines(total=None), self._setup.limits)
        await self._connection.send_call(call)
        response = await call.answer()
        if response.error is not None:
            raise response.error
        return response.result


class open_client:  # noqa: N801 - used as a function in front of ``async with``, as trio.open_nursery is
    """A block in which a client is open.

    With ``nursery`` the client's tasks live there, and the block may be left in any task.  Without it the block holds a
    nursery of its own and must be entered and left in one task; the body's exceptions leave unwrapped, and a dead
    connection does not cancel the body.
    """

    def __init__(
        self,
        transport: ClientTransport,
        *,
        nursery: trio.Nursery | None = None,
        client_info: ClientInfo | None = None,
        handler: MessageHandler | None = None,
        era: Era = "auto",
        limits: Limits | None = None,
        deadlines: Deadlines | None = None,
        **options: Any,
    ) -> None:
        """Take the options of `run_client`; nothing happens before the block is entered.

        Args:
            transport: How to reach the server.
            nursery: Where the client's tasks live; None for one of the block's own.
            client_info: As for `run_client`.
            handler: As for `run_client`.
            era: As for `run_client`.
            limits: As for `run_client`.
            deadlines: As for `run_client`.
            **options: The further options of `run_client`.
        """
        self._transport = transport
        self._nursery = nursery
        self._options: dict[str, Any] = {
            "client_info": client_info,
            "handler": handler,
            "era": era,
            "limits": limits,
            "deadlines": deadlines,
            **options,
        }
        self._manager: Any = None
        self._task: trio.lowlevel.Task | None = None
        self._client: Client | None = None

    async def __aenter__(self) -> Client:
        """Connect and find out the era.  A checkpoint; cancelled, nothing is left open.

        Raises:
            TransportError: As for `run_client`.
            RpcError: As for `run_client`.
        """
        opening = _Opening(self._transport, self._options)
        nursery = self._nursery
        if nursery is None:
            self._task = trio.lowlevel.current_task()
            self._manager = trio.open_nursery()
            nursery = await self._manager.__aenter__()
        try:
            nursery.start_soon(opening.run)
            self._client = await opening.client()
        except BaseException:
            opening.scope.cancel()
            if self._manager is not None:
                await self._manager.__aexit__(None, None, None)
            raise
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client and wait until nothing is left.

        A checkpoint; under cancellation the closing keeps its own bounds.

        Raises:
            RuntimeError: The block has a nursery of its own and is left in another task than it was entered in.
        """
        client = self._client
        assert client is not None
        client.close()
        if self._manager is None:
            with trio.CancelScope(shield=True):
                # Bounded by the transport: it flushes, ends its child and closes within grace times of its own.
                await client.aclose()
            return
        if trio.lowlevel.current_task() is not self._task:
            raise RuntimeError("open_client without nursery= is entered and left in one task; pass nursery=")
        await self._manager.__aexit__(None, None, None)


class _Opening:
    """The task behind one `open_client` block, which never raises into the nursery it runs in."""

    def __init__(self, transport: ClientTransport, options: Mapping[str, Any]) -> None:
        self._transport = transport
        self._options = options
        self._changed = trio.Event()
        self._client: Client | None = None
        self._error: BaseException | None = None
        self.scope = trio.CancelScope()

    def started(self, client: Client) -> None:
        self._client = client
        self._changed.set()

    async def run(self) -> None:
        with self.scope:
            try:
                await run_client(self._transport, **self._options, task_status=self)  # type: ignore[arg-type]  # as above
            except (TransportError, RpcError) as error:
                self._error = error
            finally:
                self._changed.set()

    async def client(self) -> Client:
        await self._changed.wait()
        if self._client is None:
            raise self._error or ConnectionClosed("the client was cancelled before it connected")
        return self._client
