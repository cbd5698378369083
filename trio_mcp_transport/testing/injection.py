"""One scenario, run again and again with one disturbance at its first, second, third ... point, until nothing happens.

The model is SQLite's: every allocation and every I/O call is made to fail in turn until a run completes untouched.
This module runs and judges; what a point is and what happens there, `testing.cancel`, `testing.crash` and
`testing.faults` decide.  Must never let a run outlive its bound.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol, TypeVar

import attrs
import trio
import trio.testing

from .footprint import Footprint, living_tasks

__all__ = ["Disturbance", "InjectionOptions", "inject", "repeatable"]


class Disturbance(Protocol):
    """What happens once, at one point of a run."""

    reached: bool
    """Whether the point came."""

    def describe(self) -> str:
        """Say where it struck."""
        ...

    def problems(self) -> list[str]:
        """Say what it found wrong by itself once the run is over."""
        ...

    def instruments(self) -> list[trio.abc.Instrument]:
        """Return what trio has to tell it."""
        ...


D = TypeVar("D", bound=Disturbance)


@attrs.frozen(kw_only=True)
class InjectionOptions:
    """How a scenario is run.

    Attributes:
        limit: Most runs; a scenario with more points is an error, not a silent sample.
        dense: Points taken one by one, before ``stride`` applies.
        stride: Distance of the points after the first ``dense``, for scenarios with real processes.
        seconds: Longest run, on its clock.
        real_clock: Use the real clock, for scenarios with processes or sockets; otherwise a `trio.testing.MockClock`
            that jumps.
        allowed: Exceptions that may leave the scenario.
        seed: Chooses the order in which trio steps tasks that are ready at once; equal seeds repeat a run.
    """

    limit: int = 300
    dense: int = 300
    stride: int = 1
    seconds: float = 60.0
    real_clock: bool = False
    allowed: tuple[type[BaseException], ...] = ()
    seed: int = 0


def inject(
    scenario: Callable[[D], Awaitable[object]], make: Callable[[int], D], options: InjectionOptions, what: str
) -> int:
    """Run ``scenario`` with a disturbance at point 1, 2, 3 ... until one run completes untouched.

    Every run is a `trio.run` of its own, so this is a plain function: call it from a plain test.  After each run
    nothing may be left: no task, no descriptor, no child.

    Args:
        scenario: Gets the disturbance.
        make: Makes the disturbance for a point.
        options: How to run.
        what: Names the disturbance in failures, such as "cancelled".

    Returns:
        The number of disturbed runs.

    Raises:
        AssertionError: Something was left, a run took too long, there are too many points, or none.
        BaseException: Whatever left the scenario and is not allowed, with a note that names the point.
    """
    point, runs = 1, 0
    while True:
        disturbance = make(point)
        try:
            problems = _Run(options).run(scenario, disturbance)
        except BaseException as error:
            error.add_note(f"{what} at point {point}: {disturbance.describe()}")
            raise
        if problems:
            raise AssertionError(f"{what} at point {point}: {disturbance.describe()}\n" + "\n".join(problems))
        if not disturbance.reached:
            if runs == 0:
                raise AssertionError(f"the scenario has no point at which it could be {what}")
            return runs
        runs += 1
        if runs > options.limit:
            raise AssertionError(f"the scenario has more than {options.limit} points")
        point += 1 if point < options.dense else options.stride


class _Run:
    """One run: the scenario beside a watchdog."""

    def __init__(self, options: InjectionOptions) -> None:
        self._options = options
        self._scope = trio.CancelScope()
        self._problems: list[str] = []

    def run(self, scenario: Callable[[D], Awaitable[object]], disturbance: D) -> list[str]:
        clock = None if self._options.real_clock else trio.testing.MockClock(autojump_threshold=0)
        with repeatable(self._options.seed):
            trio.run(self._main, scenario, disturbance, clock=clock, instruments=disturbance.instruments())
        return self._problems + disturbance.problems()

    async def _main(self, scenario: Callable[[D], Awaitable[object]], disturbance: D) -> None:
        watching = trio.Event()
        trio.lowlevel.spawn_system_task(self._watch, watching)
        await watching.wait()  # its first step would count as a point of the scenario
        before = Footprint.take()
        with self._scope, contextlib.suppress(*self._options.allowed):
            await scenario(disturbance)
        self._problems += before.left_by(Footprint.take(), threads=False)

    async def _watch(self, watching: trio.Event) -> None:
        watching.set()
        await trio.sleep(self._options.seconds)
        stuck = "\n".join(f"  {task.name}: {where(task)}" for task in living_tasks())
        self._problems.append(f"not finished after {self._options.seconds:g} s; living tasks:\n{stuck}")
        self._scope.cancel()
        await trio.sleep(self._options.seconds)
        # Something waits under a shield for what will never come: the run could not even report it.
        for task in living_tasks():
            _break_shields(task)


@contextlib.contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Let runs of trio inside the block step their tasks in an order that equal seeds repeat.

    Args:
        seed: Chooses the order.
    """
    # The two hooks trio keeps for Hypothesis.  Without them a run is as valid, but cannot be repeated.
    core: Any = getattr(getattr(trio, "_core", None), "_run", None)
    generator = getattr(core, "_r", None)
    if generator is None or not hasattr(core, "_ALLOW_DETERMINISTIC_SCHEDULING"):
        yield
        return
    state, allowed = generator.getstate(), core._ALLOW_DETERMINISTIC_SCHEDULING
    generator.seed(seed)
    core._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        yield
    finally:
        generator.setstate(state)
        core._ALLOW_DETERMINISTIC_SCHEDULING = allowed


def _break_shields(task: trio.lowlevel.Task) -> None:
    status: Any = getattr(task, "_cancel_status", None)
    while status is not None:
        status._scope.shield = False
        status = status._parent


def where(task: trio.lowlevel.Task) -> str:
    """Return the innermost place of a waiting task that is not trio's own, as ``file:line function``."""
    place = "not started"
    for frame, line in task.iter_await_frames():
        if "/trio/" not in frame.f_code.co_filename:
            place = f"{frame.f_code.co_filename}:{line} {frame.f_code.co_qualname}"
    return place
