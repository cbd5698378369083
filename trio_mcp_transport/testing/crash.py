"""Crash injection: a handler that raises at its first, second, third ... step until a run completes untouched.

Must never crash anything but the handler it wraps: the library around it has to contain the crash.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import trio

from ..abc import MessageHandler
from ..context import MessageContext
from ..errors import TransportError
from ..wire.messages import Notification, Request
from .injection import InjectionOptions, inject

__all__ = ["CrashPlan", "InjectedCrash", "crash_at_every_step"]


class InjectedCrash(Exception):
    """What a handler raises under `crash_at_every_step`."""


class CrashPlan:
    """Where the handler of a scenario crashes.

    Point 1 is the first instruction of the first call of the handler; every further point is a moment at which one of
    its coroutines would go on after a checkpoint, hooks and concurrent calls included, counted together.  The wait at
    the end of a nursery block is no point: what is raised there comes from the block or its tasks, and an exception
    out of nowhere would break trio, not the handler.

    Attributes:
        reached: Whether the crash came.
    """

    def __init__(self, point: int) -> None:
        self.reached: bool = False
        self._point = point
        self._count = 0
        self._place = "not reached"

    def handler(self, inner: MessageHandler) -> MessageHandler:
        """Return a handler that does what ``inner`` does, up to the point."""
        return _Crashing(inner, self)

    def describe(self) -> str:
        """Say in which coroutine the crash came."""
        return self._place

    def problems(self) -> list[str]:
        """Find nothing by itself: what a crash does to its callers is for the scenario to check."""
        return []

    def instruments(self) -> list[trio.abc.Instrument]:
        """Need none."""
        return []

    async def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine step by step, with `InjectedCrash` thrown into it at the point."""
        return await _Driven(coroutine, self)

    def crash(self, coroutine: Coroutine[Any, Any, Any]) -> InjectedCrash | None:
        """Count a step of a coroutine; return what to throw into it, or None."""
        if _ends_a_nursery(coroutine):
            return None
        self._count += 1
        if self._count != self._point:
            return None
        self.reached = True
        self._place = getattr(coroutine, "__qualname__", repr(coroutine))
        return InjectedCrash(f"step {self._point}")


class _Driven:
    """Stands between trio and a coroutine; the iterator that ``await`` drives."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], plan: CrashPlan) -> None:
        self._coroutine = coroutine
        self._plan = plan

    def __await__(self) -> Generator[Any, Any, Any]:
        return self  # has the methods of a generator that ``yield from`` uses

    def __iter__(self) -> _Driven:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        crash = self._plan.crash(self._coroutine)
        return self._coroutine.send(value) if crash is None else self._coroutine.throw(crash)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()


def _ends_a_nursery(coroutine: Any) -> bool:
    inner = coroutine
    while inner is not None:
        code = getattr(inner, "cr_code", None) or getattr(inner, "gi_code", None)
        if code is trio.Nursery._nested_child_finished.__code__:
            return True
        inner = getattr(inner, "cr_await", None) or getattr(inner, "gi_yieldfrom", None)
    return False


class _Crashing(MessageHandler):
    def __init__(self, inner: MessageHandler, plan: CrashPlan) -> None:
        self._inner = inner
        self._plan = plan
        self.parameter_headers = inner.parameter_headers  # type: ignore[method-assign]  # the inner handler decides

    async def handle_message(self, message: Request | Notification, context: MessageContext) -> Any:
        return await self._plan.drive(self._inner.handle_message(message, context))

    async def handle_error(self, error: TransportError, context: MessageContext) -> None:
        await self._plan.drive(self._inner.handle_error(error, context))

    async def handle_close(self, context: MessageContext) -> None:
        await self._plan.drive(self._inner.handle_close(context))


def crash_at_every_step(
    scenario: Callable[[CrashPlan], Awaitable[object]],
    *,
    limit: int = 300,
    seconds: float = 60.0,
    allowed: tuple[type[BaseException], ...] = (),
    seed: int = 0,
) -> int:
    """Run a scenario whose handler crashes at its k-th step, for k = 1, 2, 3 ... until one run is untouched.

    The scenario wraps its handler in `CrashPlan.handler` and checks that every request was answered and that the next
    one is served; no task, descriptor or child may be left and every run ends within ``seconds`` of a virtual clock.
    A plain function, as `cancel_at_every_checkpoint`.

    Args:
        scenario: Gets the plan.
        limit: Most points.
        seconds: Longest run, of the virtual clock.
        allowed: Exceptions that may leave the scenario.
        seed: Chooses the order of tasks that are ready at once.

    Returns:
        The number of runs with a crash.

    Raises:
        AssertionError: Something was left, or a run took too long.
        BaseException: What left the scenario and is not allowed, with a note that names the point.
    """
    options = InjectionOptions(limit=limit, dense=limit, seconds=seconds, allowed=allowed, seed=seed)
    return inject(scenario, CrashPlan, options, "crashed")
