"""Cancel injection: a scenario is cancelled at its first, second, third ... point until a run completes untouched.

Must never cancel anything but the region a scenario marks: what it does before and afterwards is how it sets up and
how it looks at what the cancellation left.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from types import TracebackType

import attrs
import trio

from .injection import InjectionOptions, inject, where

__all__ = ["CancelRegion", "cancel_at_every_checkpoint"]

_REASON = "cancel injection"


class CancelRegion(trio.abc.Instrument):
    """The part of a scenario that is cancelled: a ``with`` block.

    Point 1 is the entry of the block; every further point is the start of a task step, of whatever task, while the
    block is open (`trio.abc.Instrument.before_task_step`).  A task runs from one checkpoint to the next in one step, so
    a cancellation before a step is seen by the checkpoint it leaves or the one it comes to, and a cancellation before
    somebody else's step reaches a task in the middle of its wait: together these are all the moments at which a
    cancellation can arrive in this order of tasks.

    Attributes:
        reached: Whether the cancellation came.
    """

    def __init__(self, point: int, within: float = math.inf) -> None:
        self.reached: bool = False
        self._within = within
        self._cancelled_at = math.inf
        self._point = point
        self._count = 0
        self._open = False
        self._delivered = False
        self._problems: list[str] = []
        self._place = "not reached"
        self._scope: trio.CancelScope | None = None
        self._task: trio.lowlevel.Task | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the block was left by the cancellation; False when it had come to its end all the same."""
        return self._scope is not None and self._scope.cancelled_caught

    def __enter__(self) -> CancelRegion:
        """Open the region.

        Raises:
            RuntimeError: It was open before: points are counted over one block.
        """
        if self._scope is not None:
            raise RuntimeError("a cancel region is entered once")
        self._task = trio.lowlevel.current_task()
        self._scope = trio.CancelScope()
        self._scope.__enter__()
        self._open = True
        self._tick(self._task)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Close the region and absorb its own cancellation."""
        self._open = False
        assert self._scope is not None
        absorbed = self._scope.__exit__(kind, error, traceback)
        if trio.current_time() - self._cancelled_at > self._within:
            late = trio.current_time() - self._cancelled_at
            self._problems.append(
                f"the block was left {late:g} s after the cancellation, not within {self._within:g} s"
            )
        if self._delivered and error is None:
            self._problems.append("the cancellation was swallowed: Cancelled was raised inside and did not come out")
        return absorbed

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count a step and cancel when its turn has come; trio calls this."""
        if not self._open:
            return
        if task is self._task:
            error = getattr(getattr(task, "_next_send", None), "error", None)
            self._delivered |= isinstance(error, trio.Cancelled) and error.reason == _REASON
        self._tick(task)

    def describe(self) -> str:
        """Say which task was about to go on, and where."""
        return self._place

    def problems(self) -> list[str]:
        """Say whether the cancellation was swallowed or obeyed late."""
        return self._problems

    def instruments(self) -> list[trio.abc.Instrument]:
        """Count the steps."""
        return [self]

    def _tick(self, task: trio.lowlevel.Task) -> None:
        self._count += 1
        if self._count == self._point:
            assert self._scope is not None
            self.reached = True
            self._cancelled_at = trio.current_time()
            self._place = f"before a step of {task.name} at {where(task)}"
            self._scope.cancel(_REASON)


def cancel_at_every_checkpoint(
    scenario: Callable[[CancelRegion], Awaitable[object]],
    *,
    limit: int = 300,
    dense: int | None = None,
    stride: int = 1,
    seconds: float | None = None,
    within: float = math.inf,
    real_clock: bool = False,
    allowed: tuple[type[BaseException], ...] = (),
    seed: int = 0,
) -> int:
    """Run a scenario once per point of its `CancelRegion`, each time cancelled there, until one run is untouched.

    After every run: nothing but the region's own `trio.Cancelled` came out of it, no task, descriptor or child process
    is left, and it ended within ``seconds``.  Each run is a `trio.run` of its own under a virtual clock, so this is a
    plain function for a plain test::

        async def scenario(region):
            async with connect(handler) as client:
                with region:
                    await client.request("echo")
                assert await client.request("echo") == {}  # the connection lives

        def test_request():
            assert cancel_at_every_checkpoint(scenario) > 5

    Args:
        scenario: Opens the region around what is under test.
        limit: Most points.
        dense: Points taken one by one before ``stride`` applies; all of them by default.
        stride: Distance of the later points, for scenarios with processes, where a run costs a tenth of a second.
        seconds: Longest run; 60 of the virtual clock, 10 of the real one.
        within: Longest time from the cancellation to the end of the region: 0 on a virtual clock says "at once".
        real_clock: For scenarios with processes or sockets.
        allowed: Exceptions that may leave the scenario.
        seed: Chooses the order of tasks that are ready at once.

    Returns:
        The number of cancelled runs.

    Raises:
        AssertionError: Something was left or swallowed, a run took too long, or there are more points than ``limit``.
        BaseException: What left the scenario and is not allowed, with a note that names the point.
    """
    options = InjectionOptions(limit=limit, stride=stride, real_clock=real_clock, allowed=allowed, seed=seed)
    options = attrs.evolve(
        options,
        dense=limit if dense is None else dense,
        seconds=(10.0 if real_clock else 60.0) if seconds is None else seconds,
    )
    return inject(scenario, lambda point: CancelRegion(point, within), options, "cancelled")
