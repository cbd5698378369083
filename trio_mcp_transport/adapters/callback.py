"""Objects that push messages into callbacks as our transports, in both roles, and ours in that shape.

Two shapes are known: AIRS' event-driven ``Transport`` (``start``, ``send``, ``close``, ``set_message_handler``), and
that of the TypeScript SDK (``start``, ``send``, ``close``, attributes ``onmessage``, ``onclose``, ``onerror``).  Must
never start a task outside of a nursery that somebody handed over or holds open.
"""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import trio

from ..abc import ClientTransport, MessageHandler, ServerTransport
from ..client_block import open_client
from ..connect import ClientConnection, ClientSetup
from ..context import ConnectionInfo
from ..errors import ConfigError, ConnectionFailed, LocalProtocolError, TransportError
from ..intake import Intake
from ..limits import Limits
from ..metrics import TransportMetrics, TransportStatistics
from ..pipe.client import CLIENT_MESSAGE_SIZE, PipeConnection
from ..pipe.end import connection_id
from ..pipe.server import SERVER_MESSAGE_SIZE, serve_link
from ..service import serve
from ..transports.firewall import run_contained
from .callback_link import CallbackLink, Form
from .callback_view import CallbackView, as_callback_transport
from .mapping import mapped

__all__ = [
    "CallbackClientTransport",
    "CallbackServerTransport",
    "CallbackTransport",
    "CallbackView",
    "Form",
    "as_callback_transport",
    "open_callback_client",
    "serve_callback",
]


class CallbackTransport(Protocol):
    """A transport in the shape of AIRS' event-driven ``Transport``.

    It calls ``handler.handle_message(message, context)`` for each message, ``handler.handle_error(error)`` and, last,
    ``handler.handle_close()``; it had better await them, for that is the back-pressure.  It may also have
    ``session_id`` and ``is_connected``, attributes or methods.
    """

    def set_message_handler(self, handler: Any, /) -> Any:
        """Take the handler to call; before `start`."""
        ...

    async def start(self) -> None:
        """Connect, and return once connected.

        One that wants to run for as long as the connection lasts has a keyword ``task_status`` and calls
        ``task_status.started()`` once connected, as for `trio.Nursery.start`.  When it returns the connection has
        ended, and when it raises it has failed.
        """
        ...

    async def send(self, message: Any, /) -> None:
        """Send one message."""
        ...

    async def close(self) -> None:
        """Close both directions."""
        ...


class _Adapter:
    """What both roles share."""

    def __init__(self, transport: Any, *, form: Form | None = None) -> None:
        """Take an object over; it is closed at the end.

        It has ``set_message_handler``, or else gets the attributes ``onmessage``, ``onclose`` and ``onerror``.  Its
        callbacks must run in the thread of this Trio loop.

        Args:
            transport: Somebody's transport, not started.
            form: What its ``send`` is given: ``message`` for a `Request`, `Notification` or `Response`, ``object`` for
                decoded JSON, ``bytes`` for JSON text.  None: ``message`` with ``set_message_handler``, else ``object``.
                What it hands to its callbacks may have any of these forms, or be a str.

        Raises:
            ConfigError: It is no such object.
        """
        for name in ("start", "send", "close"):
            if not callable(getattr(transport, name, None)):
                raise ConfigError(f"{type(transport).__name__} has no method {name}")
        self._airs = callable(getattr(transport, "set_message_handler", None))
        self._transport = transport
        self._form: Form = form or ("message" if self._airs else "object")
        self._metrics = TransportMetrics()
        self._used = False

    def _link(self, limits: Limits, largest: int, serving: bool) -> CallbackLink:
        if self._used:
            raise LocalProtocolError("a transport object runs once")
        self._used = True
        return CallbackLink(
            self._transport, limits, largest=largest, serving=serving, form=self._form, metrics=self._metrics
        )

    async def _start(self, link: CallbackLink, nursery: trio.Nursery) -> ConnectionInfo:
        transport = self._transport
        with mapped("starting failed"):
            if self._airs:
                done = transport.set_message_handler(link)
                if inspect.isawaitable(done):
                    await done
            else:
                transport.onmessage = lambda message, *extra: link.handle_message(message)
                transport.onerror = lambda error, *extra: link.hold_error(error)
                transport.onclose = lambda *extra: link.handle_close()
            if "task_status" in inspect.signature(transport.start).parameters:
                await nursery.start(self._run_start, link)
            else:
                await transport.start()
            if await _query(transport, "is_connected") is False:
                raise ConnectionFailed("the transport was started and says that it is not connected")
            session = await _query(transport, "session_id") or await _query(transport, "sessionId")
        return ConnectionInfo(
            transport="callback",
            connection_id=connection_id("callback"),
            session_id=session if isinstance(session, str) else None,
        )

    async def _run_start(self, link: CallbackLink, *, task_status: trio.TaskStatus[object]) -> None:
        """Run a `start` that lasts as long as the connection: with it the connection ends, and fails as it does."""
        status = _Started(task_status)

        async def run() -> None:
            with mapped("the transport failed"):
                await self._transport.start(task_status=status)

        failure = await run_contained(run)
        if status.called:
            if failure is not None:
                link.handle_error(failure)
            link.handle_close()
        elif failure is not None:
            raise failure

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters."""
        return self._metrics.snapshot()


class _Started:
    """A task status that knows whether it was used."""

    def __init__(self, status: trio.TaskStatus[object]) -> None:
        self._status = status
        self.called = False

    def started(self, value: object = None) -> None:
        self.called = True
        self._status.started(value)


async def _query(transport: Any, name: str) -> Any:
    """Return what an attribute holds, or what a method of that name returns, coroutine methods included."""
    value = getattr(transport, name, None)
    value = value() if callable(value) else value
    return await value if inspect.isawaitable(value) else value


async def _close_unstarted(link: CallbackLink) -> None:
    """Close an object whose start failed or was cancelled, without a word about how that went."""
    with trio.move_on_after(1, shield=True):
        try:
            await link.aclose()
        except TransportError:
            return


class CallbackServerTransport(_Adapter, ServerTransport):
    """Serves one peer through an object with callbacks."""

    async def run(
        self, exchanges: Intake, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Start the object and serve until it closes or shutdown; see `abc.ServerTransport.run`.

        Raises:
            LocalProtocolError: It has run before.
            TransportError: It could not be started.
        """
        limits = exchanges.limits
        link = self._link(limits, limits.message_size(SERVER_MESSAGE_SIZE), True)
        async with trio.open_nursery() as nursery:
            try:
                info = await self._start(link, nursery)
            except BaseException:
                await _close_unstarted(link)
                raise
            task_status.started(("callback:",))
            await serve_link(exchanges, link, info, self._metrics)
            nursery.cancel_scope.cancel()


class CallbackClientTransport(_Adapter, ClientTransport):
    """Reaches one server through an object with callbacks."""

    @property
    def address(self) -> str:
        """``callback:``."""
        return "callback:"

    async def run(
        self, setup: ClientSetup, *, task_status: trio.TaskStatus[ClientConnection] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Start the object and serve the connection until either side ends it; see `abc.ClientTransport.run`.

        Raises:
            LocalProtocolError: It has run before.
            TransportError: It could not be started, or what it raised, with that as ``__cause__``.
        """
        link = self._link(setup.limits, setup.limits.message_size(CLIENT_MESSAGE_SIZE), False)
        failure: TransportError | None = None
        async with trio.open_nursery() as nursery:
            try:
                info = await self._start(link, nursery)
            except BaseException:
                await _close_unstarted(link)
                raise
            try:
                await PipeConnection(setup, link, info, self._metrics).run(task_status=task_status)
            except TransportError as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure


async def serve_callback(
    handler: MessageHandler,
    transport: Any,
    *,
    form: Form | None = None,
    task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED,
    **options: Any,
) -> None:
    """Serve one peer through somebody's callback transport, until it closes; `service.serve` around the adapter.

    A checkpoint.  Cancelled, it ends now.

    Args:
        handler: Gets every message the library does not answer itself.
        transport: The object, not started; closed at the end.
        form: As for `CallbackServerTransport`.
        task_status: Told the address once messages can come.
        **options: As for `service.serve`.

    Raises:
        TransportError: As for `service.serve`.
    """
    await serve(handler, CallbackServerTransport(transport, form=form), task_status=task_status, **options)


def open_callback_client(transport: Any, *, form: Form | None = None, **options: Any) -> open_client:
    """Return a block in which a client is open that reaches its server through somebody's callback transport.

    Args:
        transport: The object, not started; closed at the end of the block.
        form: As for `CallbackClientTransport`.
        **options: As for `open_client`.
    """
    return open_client(CallbackClientTransport(transport, form=form), **options)
