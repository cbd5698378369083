"""The front doors of a server: `serve` inside a nursery, `run` as a whole program.

Must never install a signal handler outside `run`, and must never close what a transport still uses.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from functools import partial
from typing import Any

import trio

from .abc import MessageHandler, ServerTransport
from .context import MessageContext
from .dispatcher import Dispatcher
from .era import InboundEra, Port
from .errors import ConfigError, TransportError
from .exchange import LISTEN, Exchange
from .intake import Intake, wants_errors
from .limits import Limits
from .subscriptions import Subscriptions
from .transports.eras import EraPolicy, ServerEras
from .transports.firewall import run_contained
from .wire.envelope import ServerInfo
from .wire.messages import Notification, Request

__all__ = ["run", "serve"]

DRAIN = 5.0
"""Seconds for answering what was asked at the end of input or at shutdown (hypercorn's graceful timeout: 3)."""


async def serve(
    handler: MessageHandler,
    transport: ServerTransport,
    *,
    shutdown: trio.Event | None = None,
    drain: float = DRAIN,
    server_info: ServerInfo | None = None,
    subscriptions: Subscriptions | None = None,
    limits: Limits | None = None,
    eras: EraPolicy | None = None,
    task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a transport with a handler until its input ends or ``shutdown`` is set.

    Reports the addresses it serves with ``task_status.started``.  A checkpoint.  Cancelled, it ends now: handlers are
    cancelled and nobody is answered.  Installs no signal handler.  A handler that blocks the event loop stops all of
    this; `watchdog.watch_stalls`, started beside it in the same nursery, logs which one.

    Args:
        handler: Gets every message the library does not answer itself.
        transport: Where messages come from; runs once.
        shutdown: Set it to stop accepting and answer what was asked within ``drain`` seconds.
        drain: Seconds.
        server_info: With it the library answers ``server/discover``, ``initialize`` and ``ping`` itself.
        subscriptions: With it the library answers ``subscriptions/listen`` itself.
        limits: The bounds; None for the defaults.
        eras: Which eras are spoken; None for both, without plain JSON-RPC.
        task_status: Told the addresses once messages can come.

    Raises:
        TransportError: The transport cannot be opened, or was used before; never wrapped in a group.
        ConfigError: ``drain`` is negative or not finite.
    """
    if not 0 <= drain < math.inf:
        raise ConfigError(f"drain is a finite number of seconds from 0, not {drain!r}")
    policy = eras or EraPolicy()
    limits = limits or Limits()
    shutdown = trio.Event() if shutdown is None else shutdown
    if subscriptions is not None:
        handler = _WithSubscriptions(handler, subscriptions)

    def new_era(port: Port) -> InboundEra:
        return ServerEras(port, policy, server_info, subscriptions)

    send, receive = trio.open_memory_channel[Exchange](math.inf)
    dispatcher = Dispatcher(handler, receive)
    intake = Intake(
        send, handler, new_era, dispatcher, limits=limits, drain=drain, shutdown=shutdown, contain=run_contained
    )
    failure: TransportError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dispatcher.run)
        # Closing the channel ends the dispatcher once every exchange has ended; the transport must not close it.
        with send:
            failure = await run_contained(partial(transport.run, intake, task_status=task_status))
        if failure is not None:
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def run(handler: MessageHandler, transport: ServerTransport, **options: Any) -> None:
    """Run a server as a whole program: `trio.run` around `serve`, plus signals.

    The first SIGINT or SIGTERM sets ``shutdown``: what was asked is answered within ``drain``, and an idle server ends
    at once.  A second one cancels.

    Args:
        handler: As for `serve`.
        transport: As for `serve`.
        **options: As for `serve`.

    Raises:
        TransportError: As for `serve`.
    """
    trio.run(_run, handler, transport, options)


async def _run(handler: MessageHandler, transport: ServerTransport, options: Mapping[str, Any]) -> None:
    shutdown = options.get("shutdown")
    shutdown = trio.Event() if shutdown is None else shutdown
    failure: TransportError | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(_obey_signals, shutdown, nursery.cancel_scope)
        try:
            await serve(handler, transport, **{**options, "shutdown": shutdown})
        except TransportError as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _obey_signals(
    shutdown: trio.Event, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if shutdown.is_set():
                scope.cancel()
                return
            shutdown.set()


class _WithSubscriptions(MessageHandler):
    """Answers listens and leaves everything else to the host's handler."""

    def __init__(self, inner: MessageHandler, subscriptions: Subscriptions) -> None:
        self._inner = inner
        self._subscriptions = subscriptions
        self.wants_errors = wants_errors(inner)
        self.parameter_headers = inner.parameter_headers  # type: ignore[method-assign]  # the inner handler decides

    async def handle_message(self, message: Request | Notification, context: MessageContext) -> Any:
        if isinstance(message, Request) and message.method == LISTEN and context.envelope.modern:
            return await self._subscriptions.serve_listen(message, context)
        return await self._inner.handle_message(message, context)

    async def handle_error(self, error: TransportError, context: MessageContext) -> None:
        await self._inner.handle_error(error, context)

    async def handle_close(self, context: MessageContext) -> None:
        await self._inner.handle_close(context)
