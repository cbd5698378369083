"""From an exchange to a handler and back: the one place where handlers start.

Must never wait for anything but the next exchange: admission, back-pressure and flushing belong to the connection.

Workers are parked, not spawned: a task and a scope per request cost about 10 us, a parked worker 3.5.  The cures that
make this safe: a worker leaves a scope that was cancelled or given a deadline, each exchange runs in a fresh copy of
the context `serve` was called in, and an exchange lets go of the scope before its worker takes the next.
"""

from __future__ import annotations

import contextvars
import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import outcome
import trio

from .abc import MessageHandler
from .errors import ConnectionClosed, LocalProtocolError, MessageTooLarge, RpcError
from .exchange import CancelCause, Exchange, Fault
from .wire.codes import INTERNAL_ERROR

__all__ = ["Dispatcher", "contain"]

logger = logging.getLogger("trio_mcp_transport")

MAX_IDLE = 128
"""Workers kept parked; one more than a connection runs at once, so that steady load spawns nothing."""


class Dispatcher:
    """Drains the channel of exchanges into workers."""

    def __init__(self, handler: MessageHandler, channel: trio.MemoryReceiveChannel[Exchange]) -> None:
        self._handler = handler
        self._channel = channel
        self._idle: list[trio.lowlevel.Task] = []
        self._context = contextvars.copy_context()
        self.closing = False

    async def run(self) -> None:
        """Serve until the channel is closed and every exchange ended; cancelled, handlers are cancelled with it."""
        async with trio.open_nursery() as nursery:
            async for first in self._channel:
                self._start(first, nursery)
                while True:
                    try:
                        exchange = self._channel.receive_nowait()
                    except (trio.WouldBlock, trio.EndOfChannel):
                        break
                    self._start(exchange, nursery)
            self.closing = True
            while self._idle:
                trio.lowlevel.reschedule(self._idle.pop(), outcome.Value(None))

    def _start(self, exchange: Exchange, nursery: trio.Nursery) -> None:
        if self._idle:
            task = self._idle.pop()
            task.context = self._context.copy()
            trio.lowlevel.reschedule(task, outcome.Value(exchange))
        else:
            nursery.start_soon(_Worker(self).run, exchange)

    async def park(self) -> Exchange | None:
        """Wait for the next exchange of this worker, or None when it shall end."""
        if self.closing or len(self._idle) >= MAX_IDLE:
            return None
        task = trio.lowlevel.current_task()
        self._idle.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._idle.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        exchange: Exchange | None = await trio.lowlevel.wait_task_rescheduled(abort)
        return exchange

    async def handle(self, exchange: Exchange) -> Any:
        """Call the handler for one exchange."""
        message = exchange.message
        if type(message) is Fault:
            error = message.error
            return await self._handler.handle_error(error, exchange.context)
        return await self._handler.handle_message(message, exchange.context)


class _Worker:
    """One task that serves exchange after exchange."""

    __slots__ = ("_dispatcher", "_exchange", "_stopped")

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._exchange: Exchange | None = None
        self._stopped = False

    async def run(self, exchange: Exchange) -> None:
        """Serve ``exchange`` and whatever the dispatcher hands over afterwards."""
        self._exchange = exchange
        try:
            while not self._stopped:
                failure: BaseExceptionGroup[BaseException] | None = None
                # The scope inside the except: a nursery of the handler raises groups that mix Cancelled with
                # errors, and the scope must take its own Cancelled out before the rest is looked at.
                try:
                    with trio.CancelScope() as scope:
                        await self._serve(scope)
                except* (Exception, SystemExit) as group:
                    failure = group
                if self._exchange is not None:
                    _conclude(self._exchange, failure)
                    self._exchange = None
                if not self._stopped:
                    await self._next()
        finally:
            if self._exchange is not None:
                # Only Cancelled of the service, or KeyboardInterrupt, comes this way.
                self._exchange.cancel(CancelCause.SERVICE)
                self._exchange.end()

    async def _serve(self, scope: trio.CancelScope) -> None:
        """Serve exchanges under one scope, until the scope is spent or the worker is told to end."""
        handle = self._dispatcher.handle
        while (exchange := self._exchange) is not None:
            if exchange.begin(scope):
                value = await handle(exchange)
                if exchange.cause is None:
                    await _reply(exchange, value)
            _settle(exchange)
            self._exchange = None
            if scope.cancel_called or scope.deadline != math.inf or scope.shield:
                return
            await self._next()

    async def _next(self) -> None:
        self._exchange = await self._dispatcher.park()
        self._stopped = self._exchange is None


async def _reply(exchange: Exchange, value: Any) -> None:
    if not exchange.is_request or exchange.answered:
        return
    response = exchange.response(value)
    if not exchange.outbox.put_nowait(exchange, response, True):
        await exchange.outbox.put(exchange, response, True)
    if exchange.is_listen:
        exchange.note_listen_end()


def _settle(exchange: Exchange) -> None:
    # A result returned after a cancel was discarded above; the cause decides what the peer gets instead.
    if exchange.cause is None:
        exchange.end()
    else:
        exchange.settle()


def _conclude(exchange: Exchange, failure: BaseExceptionGroup[BaseException] | None) -> None:
    """End an exchange whose handler raised or was cancelled."""
    if exchange.cause is None and failure is not None:
        error = _answer_for(exchange, failure)
        try:
            exchange.refuse(error)
        except LocalProtocolError as unwritable:
            logger.error("the error of %s cannot be written: %s", exchange.message.method, unwritable)
            exchange.refuse(RpcError(INTERNAL_ERROR, "internal error", {"reason": "internal"}))
    _settle(exchange)


def _answer_for(exchange: Exchange, failure: BaseExceptionGroup[BaseException]) -> RpcError:
    """Return the error a failed handler is answered with; a group of one is that one (strict exception groups)."""
    leaves = list(_leaves(failure))
    single = leaves[0] if len(leaves) == 1 else None
    if isinstance(single, RpcError) and type(exchange.message) is not Fault:
        return single
    if isinstance(single, MessageTooLarge):
        return RpcError(INTERNAL_ERROR, str(single), {"reason": "too_large"})
    if isinstance(single, ConnectionClosed):
        logger.debug("%s: %s", exchange.message.method, single)
    else:
        logger.error("the handler of %s failed", exchange.message.method or "an error", exc_info=single or failure)
    return RpcError(INTERNAL_ERROR, "internal error", {"reason": "internal"})


def _leaves(failure: BaseException) -> Iterator[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        for inner in failure.exceptions:
            yield from _leaves(inner)
    else:
        yield failure


async def contain(hook: Callable[..., Awaitable[object]], *args: object) -> None:
    """Run a hook of the handler; what it raises is logged and goes no further."""
    try:
        await hook(*args)
    except* (Exception, SystemExit) as group:
        logger.error("%s failed", getattr(hook, "__qualname__", hook), exc_info=group)
