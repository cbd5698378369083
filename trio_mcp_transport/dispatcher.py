"""From an exchange to a handler and back: the one place where handlers start.

Must never wait for anything but the next exchange: admission, back-pressure and flushing belong to the connection.

Workers are parked, not spawned: a task and a scope per request cost about 10 us.  And they follow each other: one woken
worker serves exchange after exchange until a handler suspends, and the next worker, woken before that handler
began, takes over; handlers that never suspend pay no task switch at all.  The cures that make this safe: a worker
leaves a scope that was cancelled or given a deadline, each exchange runs in a fresh copy of the context `serve` was
called in, an exchange lets go of the scope before its worker takes the next, and a worker that never suspends yields.
"""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import trio

from .abc import MessageHandler
from .errors import ConnectionClosed, MessageTooLarge, RpcError
from .exchange import CancelCause, Exchange, Fault
from .wire.codes import INTERNAL_ERROR

__all__ = ["Dispatcher"]

logger: logging.Logger = logging.getLogger("trio_mcp_transport")

MAX_IDLE = 128
"""Workers kept parked; one more than a connection runs at once, so that steady load spawns nothing."""

_MISSING: Final = object()

YIELD_EVERY = 64
"""Exchanges after which a worker lets other tasks run, as a reader does after as many messages."""


class Dispatcher:
    """Drains the channel of exchanges into workers.

    Attributes:
        handler: What every exchange is given to.
        ready: Exchanges that a worker will take; while it is not empty, a worker is awake or about to be.
        base: The context every exchange begins in.
        variables: What is set in it.
    """

    def __init__(self, handler: MessageHandler, channel: trio.MemoryReceiveChannel[Exchange]) -> None:
        self.handler = handler
        self._channel = channel
        self._idle: list[trio.lowlevel.Task] = []
        self.waking: bool = False
        self._closing = False
        self._nursery: trio.Nursery | None = None
        self.variables: tuple[tuple[contextvars.ContextVar[Any], Any], ...] = ()
        self.base: contextvars.Context = contextvars.copy_context()
        self.ready: deque[Exchange] = deque()

    async def run(self) -> None:
        """Serve until the channel is closed and every exchange ended; cancelled, handlers are cancelled with it."""
        self.base = contextvars.copy_context()
        self.variables = tuple(self.base.items())
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                async for exchange in self._channel:
                    self.ready.append(exchange)
                    self._drain_channel()
                    self.wake_one()
                self._closing = True
                while self._idle:
                    trio.lowlevel.reschedule(self._idle.pop())
        finally:
            # Only a cancelled service leaves exchanges that no worker took; whoever waits for their end must see it.
            self._drain_channel()
            while self.ready:
                exchange = self.ready.popleft()
                exchange.cancel(CancelCause.SERVICE)
                exchange.end()
                # Its end may have let in another one, out of the queue of its connection.
                self._drain_channel()

    def offer(self, exchange: Exchange) -> bool:
        """Take an exchange past the channel when a parked worker can serve it; saves this task a turn."""
        if not self.waking:
            if not self._idle:
                return False
            self.wake_one()
        self.ready.append(exchange)
        return True

    async def park(self) -> bool:
        """Wait until there may be something to take; False when the worker shall end."""
        if self._closing or len(self._idle) >= MAX_IDLE:
            return False
        task = trio.lowlevel.current_task()
        self._idle.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._idle.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        self.waking = False
        return True

    async def yield_(self) -> bool:
        """Let other tasks run; False when the worker shall end.  A worker that was woken meanwhile takes over."""
        if self.ready and self.waking:
            # Going on beside it, both would serve as many again before anybody else had a turn.
            return await self.park()
        await trio.lowlevel.checkpoint()
        return True

    def stained(self) -> bool:
        """Tell whether the last handler left anything in the context of the running worker."""
        context = contextvars.copy_context()
        variables = self.variables
        if len(context) != len(variables):
            return True
        # By identity: a value may claim to be equal to another, or refuse to be compared.
        return bool(variables) and any(context.get(variable, _MISSING) is not value for variable, value in variables)

    async def refresh(self) -> None:
        """Give the running worker a clean context, for the last handler left something in its own; a checkpoint."""
        trio.lowlevel.current_task().context = self.base.copy()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def awake(self) -> None:
        """Learn that the worker that was started last runs."""
        self.waking = False

    async def contain(self, hook: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a hook of the handler; what it raises is logged and goes no further."""
        try:
            await hook(*args)
        except* (Exception, SystemExit) as group:
            logger.error("%s failed", getattr(hook, "__qualname__", hook), exc_info=group)

    def wake_one(self) -> None:
        """Have one worker more look for what is ready, unless one is on its way; synchronous."""
        if self.waking:
            return
        self.waking = True
        if self._idle:
            task = self._idle.pop()
            task.context = self.base.copy()
            trio.lowlevel.reschedule(task)
        else:
            assert self._nursery is not None, "nothing is ready before the dispatcher runs"
            self._nursery.start_soon(_Worker(self).run)

    def _drain_channel(self) -> None:
        while True:
            try:
                self.ready.append(self._channel.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return


class _Worker:
    """One task that serves exchange after exchange."""

    __slots__ = ("_dispatcher", "_exchange", "_served", "_stopped")

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._exchange: Exchange | None = None
        self._served = 0
        self._stopped = False

    async def run(self) -> None:
        """Serve whatever is ready, and park when nothing is."""
        self._dispatcher.awake()
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
                    if self._dispatcher.stained():
                        await self._dispatcher.refresh()
        finally:
            if self._exchange is not None:
                # Only Cancelled of the service, or KeyboardInterrupt, comes this way.
                self._exchange.cancel(CancelCause.SERVICE)
                self._exchange.end()

    async def _serve(self, scope: trio.CancelScope) -> None:
        """Serve exchanges under one scope, until the scope is spent or the worker is told to end."""
        dispatcher = self._dispatcher
        handler = dispatcher.handler
        ready = dispatcher.ready
        context, variables = trio.lowlevel.current_task().context, len(dispatcher.variables)
        while True:
            if not ready:
                self._stopped = not await dispatcher.park()
                if self._stopped:
                    return
                # Whoever woke it may have given it a fresh one.
                context = trio.lowlevel.current_task().context
                self._served = 0
                continue
            if self._served >= YIELD_EVERY:
                # Counted by worker, not by scope: handlers that fail and those that are cancelled count as well.
                self._served = 0
                if not await dispatcher.yield_():
                    self._stopped = True
                    return
                context = trio.lowlevel.current_task().context
                continue
            self._exchange = exchange = ready.popleft()
            if ready and not dispatcher.waking:
                # Another one for those behind it: this worker's handler may wait.
                dispatcher.wake_one()
            self._served += 1
            if exchange.begin(scope):
                message = exchange.message
                if type(message) is Fault:
                    value = None
                    await handler.handle_error(message.error, exchange.context)
                else:
                    value = await handler.handle_message(message, exchange.context)
                if exchange.cause is None and exchange.is_request and not exchange.answered:
                    response = exchange.response(value)
                    # With nothing left to do in this step the reply is written at once, if the stream can; else the
                    # writer collects the replies of the whole step.
                    if not exchange.outbox.put_nowait(exchange, response, True, last=not ready):
                        await exchange.outbox.put(exchange, response, True)
                    if exchange.is_listen:
                        exchange.note_listen_end()
            if exchange.cause is None:
                exchange.end()
            else:
                # A result returned after a cancel is discarded; the cause decides what the peer gets instead.
                exchange.settle()
            self._exchange = None
            # The count first: where there are no variables, as is the rule, it says all.
            if len(context) != variables or (variables and dispatcher.stained()):
                await dispatcher.refresh()
                context = trio.lowlevel.current_task().context
            if exchange.cause is not None:
                # The scope may be cancelled, and nobody else ever sees it: leave it, the next exchange gets another.
                return


def _conclude(exchange: Exchange, failure: BaseExceptionGroup[BaseException] | None) -> None:
    """End an exchange whose handler raised or was cancelled."""
    if exchange.cause is None and failure is not None:
        error = _answer_for(exchange, failure)
        try:
            exchange.refuse(error)
        except Exception as unwritable:
            # Writing it runs code of the handler's own objects, which may raise anything.
            logger.error("the error of %s cannot be written: %r", exchange.name, unwritable)
            exchange.refuse(RpcError(INTERNAL_ERROR, "internal error", {"reason": "internal"}))
    if exchange.cause is None:
        exchange.end()
    else:
        exchange.settle()


def _answer_for(exchange: Exchange, failure: BaseExceptionGroup[BaseException]) -> RpcError:
    """Return the error a failed handler is answered with; a group of one is that one (strict exception groups)."""
    leaves = list(_leaves(failure))
    single = leaves[0] if len(leaves) == 1 else None
    if isinstance(single, RpcError) and type(exchange.message) is not Fault:
        return single
    if isinstance(single, MessageTooLarge):
        return RpcError(INTERNAL_ERROR, str(single), {"reason": "too_large"})
    if isinstance(single, ConnectionClosed):
        logger.debug("%s: %s", exchange.name, single)
    else:
        logger.error("the handler of %s failed", exchange.name, exc_info=single or failure)
    return RpcError(INTERNAL_ERROR, "internal error", {"reason": "internal"})


def _leaves(failure: BaseException) -> Iterator[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        for inner in failure.exceptions:
            yield from _leaves(inner)
    else:
        yield failure
