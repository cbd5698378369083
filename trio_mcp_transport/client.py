"""The client: requests with answers, exchanges with everything in between, over any client transport.

Must never own a task: `run_client` owns them all, and `aclose` only signals and waits, so that a client opened in one
task may be used from fifty and closed by another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import trio

from .call import Call, Overflow
from .connect import ClientConnection
from .deadlines import Deadlines
from .errors import ConnectionClosed, LocalProtocolError, RemoteProtocolError, RpcError, TransportError
from .exchange import LISTEN
from .limits import Limits
from .metrics import TransportStatistics
from .replies import OpenExchange
from .timekeeper import Timekeeper
from .transports.negotiation import Terms
from .wire.codes import UNSUPPORTED_REVISION
from .wire.messages import MessageId, Notification, Request, Response
from .wire.meta import own_progress_token

__all__ = ["Client", "Progress"]

NO_DEADLINES = Deadlines(total=None)
"""What a listen has unless it is given others."""

Progress = Callable[[Mapping[str, Any]], Awaitable[None] | None]
"""Called, in order and in the caller's task, with the params of each ``notifications/progress``."""


class Client:
    """A client of one server; made by `run_client` and `open_client`.

    Every method may be called from any task of the thread.

    Attributes:
        deadlines: The defaults of every call.
        limits: The bounds.
    """

    def __init__(self, limits: Limits, deadlines: Deadlines, timekeeper: Timekeeper) -> None:
        self.limits = limits
        self.deadlines = deadlines
        self._timekeeper = timekeeper
        self._connection: ClientConnection | None = None
        self._replaceable = False
        self._terms: Terms | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self._closing = trio.Event()
        self._ended = trio.Event()
        self._failure: TransportError | None = None
        self._renegotiate: Callable[[RpcError], Terms | None] = lambda _: None

    # What the server said.

    @property
    def revision(self) -> str:
        """The protocol revision in use."""
        return self._known().revision

    @property
    def era(self) -> str:
        """``modern`` or ``legacy``."""
        return "modern" if self._known().modern else "legacy"

    @property
    def server_info(self) -> Mapping[str, Any] | None:
        """The server's name and version, or None; for logs only (M-ME-10)."""
        return self._known().server_info

    @property
    def server_capabilities(self) -> Mapping[str, Any]:
        """What the server declared."""
        return self._known().server_capabilities

    @property
    def instructions(self) -> str | None:
        """The server's text for the model, or None."""
        return self._known().instructions

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the transport's counters; zeros while no connection stands."""
        return TransportStatistics() if self._connection is None else self._connection.statistics()

    # What a program does.

    async def request(
        self,
        method: str,
        params: Mapping[str, Any] | bytes | msgspec.Raw | None = None,
        *,
        on_progress: Progress | None = None,
        deadlines: Deadlines | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the decoded result.

        A checkpoint.  Cancelled, or at the caller's own deadline, the request is cancelled at the server.

        Args:
            method: Such as ``tools/call``.
            params: A mapping, the JSON text of an object, or None.
            on_progress: Asks for progress and gets it.
            deadlines: Instead of the client's.

        Raises:
            RpcError: The server answered with an error.
            TransportError: There will be no answer; `DeadlineExceeded` when a deadline of this library passed.
        """
        response = await self._respond(method, params, on_progress, deadlines)
        result: dict[str, Any] = response.result
        return result

    async def request_raw(
        self,
        method: str,
        params: Mapping[str, Any] | bytes | msgspec.Raw | None = None,
        *,
        on_progress: Progress | None = None,
        deadlines: Deadlines | None = None,
    ) -> msgspec.Raw:
        """Send a request and return the result as JSON text, exactly as received; otherwise as `request`."""
        return (await self._respond(method, params, on_progress, deadlines)).raw_result

    async def notify(self, method: str, params: Mapping[str, Any] | bytes | msgspec.Raw | None = None) -> None:
        """Send a notification.  A checkpoint; cancelled while waiting for room, nothing was sent.

        Raises:
            TransportError: It was not sent.
        """
        connection = await self._connected()
        await connection.notify(Notification(method, params))

    def open_exchange(
        self,
        method: str,
        params: Mapping[str, Any] | bytes | msgspec.Raw | None = None,
        *,
        deadlines: Deadlines | None = None,
        overflow: Overflow = "fail",
    ) -> OpenExchange:
        """Return a block that holds one request open and yields everything that arrives for it.

        Leaving the block before the response cancels the request, by the binding's own signal.

        Args:
            method: Such as ``subscriptions/listen``.
            params: As for `request`.
            deadlines: Instead of the client's; listens have none unless given here.
            overflow: What happens when the consumer is slower than the server: ``fail`` ends this exchange with
                `ReceiveBufferFull`, ``drop_oldest`` loses its oldest notifications, counted.
        """
        return OpenExchange(self, method, params, deadlines, overflow)

    async def aclose(self) -> None:
        """Close: cancel open calls, end the connection, wait until nothing is left.

        From any task, any number of times.  A checkpoint; cancelled, the closing goes on in its own task.
        """
        self.close()
        await self._ended.wait()

    def close(self) -> None:
        """Begin to close without waiting; synchronous, from any task, any number of times."""
        self._closing.set()
        if self._connection is not None:
            self._connection.close()
        self._changed.unpark_all()

    # What `open_exchange` and `request` share.

    async def begin(
        self,
        method: str,
        params: Any,
        deadlines: Deadlines | None,
        *,
        buffered: bool,
        overflow: Overflow = "fail",
    ) -> Call:
        """Send a request and return the call that waits for it.

        A checkpoint; cancelled, the request was not sent, or was cancelled at the peer.

        Raises:
            TransportError: It was not sent.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        connection = self._connection
        if connection is None or self._replaceable:
            connection = await self._connected()
        call = self._prepare(connection, method, params, deadlines, buffered, overflow)
        try:
            if not connection.send_call_nowait(call):
                await connection.send_call(call)
            else:
                await trio.lowlevel.checkpoint()
        except BaseException:
            self.forget(call)
            raise
        return call

    def _prepare(
        self,
        connection: ClientConnection,
        method: str,
        params: Any,
        deadlines: Deadlines | None,
        buffered: bool = False,
        overflow: Overflow = "fail",
    ) -> Call:
        """Return a call ready to be sent, its deadlines running."""
        terms = self._terms
        assert terms is not None, "a client is given out only after its era is known"
        chosen = deadlines or (NO_DEADLINES if method == LISTEN else self.deadlines)
        id_ = connection.next_id()
        token: MessageId | None = None
        if (buffered and method != LISTEN) or chosen.idle is not None:
            token = own_progress_token(params)
            token = id_ if token is None else token
        call = Call(Request(id_, method, terms.prepare(params, token)), chosen, self.limits, buffered, overflow)
        call.token = token
        self._timekeeper.watch(call)
        return call

    def forget(self, call: Call) -> None:
        """Leave a call: unanswered it is cancelled at the peer, answered nothing happens."""
        self._timekeeper.forget(call)
        if call.response is None:
            call.abandon()

    def check(self, method: str, response: Response) -> None:
        """Check a result by the rules of the era; an error is not looked at.

        Raises:
            RemoteProtocolError: It is invalid, for example by an unknown ``resultType`` (M-JR-09).
        """
        if response.error is not None:
            return
        result = response.result
        if result.get("resultType") == "complete":
            # Valid in every era, and nearly always so.
            return
        try:
            self._known().check(result)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"{method}: {error}") from None

    async def _respond(
        self, method: str, params: Any, on_progress: Progress | None, deadlines: Deadlines | None
    ) -> Response:
        asked_again = False
        while True:
            if on_progress is None:
                # As `begin`, without its coroutine: this is the path of every plain request.
                await trio.lowlevel.checkpoint_if_cancelled()
                connection = self._connection
                if connection is None or self._replaceable:
                    connection = await self._connected()
                call = self._prepare(connection, method, params, deadlines)
                try:
                    if not connection.send_call_nowait(call):
                        await connection.send_call(call)
                    if not call.done:
                        await call.ended()
                finally:
                    self.forget(call)
                if (answer := call.response) is None:
                    raise call.error or ConnectionClosed(f"{method} was left")
                response = answer
            else:
                response = await self._with_progress(method, params, on_progress, deadlines)
            error = response.error
            if error is None:
                self.check(method, response)
                return response
            if asked_again or error.code != UNSUPPORTED_REVISION or (terms := self._renegotiate(error)) is None:
                raise error
            self._terms = terms
            asked_again = True

    async def _with_progress(
        self, method: str, params: Any, on_progress: Progress, deadlines: Deadlines | None
    ) -> Response:
        async with self.open_exchange(method, params, deadlines=deadlines) as replies:
            async for message in replies:
                if isinstance(message, Response):
                    return message
                if message.method == "notifications/progress":
                    waiting = on_progress(message.params)
                    if waiting is not None:
                        await waiting
        raise LocalProtocolError(f"{method}: the exchange ended twice")

    # What `run_client` does to it.

    def connected(
        self,
        connection: ClientConnection,
        terms: Terms,
        renegotiate: Callable[[RpcError], Terms | None],
        *,
        replaceable: bool = False,
    ) -> None:
        """Take a connection into use; a replaceable one is followed by another when it fails."""
        self._connection, self._terms, self._renegotiate = connection, terms, renegotiate
        self._replaceable = replaceable
        self._changed.unpark_all()

    def disconnected(self) -> None:
        """Hold further calls until another connection stands, or the client ends."""
        self._connection = None

    def ended(self, failure: TransportError | None) -> None:
        """Fail every later call with the cause of the end."""
        self._failure = failure or ConnectionClosed("the client was closed")
        self._connection = None
        self._ended.set()
        self._changed.unpark_all()

    @property
    def closing(self) -> trio.Event:
        """Set once the client shall close."""
        return self._closing

    async def _connected(self) -> ClientConnection:
        # A failed connection still winds up for a while: a caller that tries again at once waits for the next one.
        while self._connection is None or (self._replaceable and self._connection.failure is not None):
            if self._failure is not None:
                await trio.lowlevel.checkpoint()
                raise self._failure.twin()
            if self._closing.is_set():
                await trio.lowlevel.checkpoint()
                raise ConnectionClosed("the client was closed")
            await self._changed.park()
        return self._connection

    def _known(self) -> Terms:
        assert self._terms is not None, "a client is given out only after its era is known"
        return self._terms
