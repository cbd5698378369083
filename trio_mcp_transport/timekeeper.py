"""The deadlines of all calls of one client, kept by one task: a scope per call would cost 5 us each.

Must never end anything but calls, and only those whose own deadline has passed.
"""

from __future__ import annotations

import math

import trio

from .call import Call
from .deadlines import DeadlineExceeded

__all__ = ["Timekeeper"]


class Timekeeper:
    """Fails a call with `DeadlineExceeded` when it has been silent, or alive, for too long."""

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._scope = trio.CancelScope(deadline=math.inf)
        self._next = math.inf
        # Bound once: Trio's own front door looks the clock up with every call, which is a third of what `watch` costs.
        self._clock = trio.lowlevel.current_clock().current_time

    def watch(self, call: Call) -> None:
        """Start the deadlines of a call that is about to be sent."""
        deadlines = call.deadlines
        if deadlines.idle is None:
            if deadlines.total is None:
                return
            due = call.total_at = self._clock() + deadlines.total
        else:
            call.idle_at, call.total_at = deadlines.first(self._clock())
            due = min(call.idle_at, call.total_at)
        self._calls.add(call)
        if due < self._next:
            self._next = due
            self._scope.deadline = due

    def forget(self, call: Call) -> None:
        """Stop the deadlines of a call that ended or was left."""
        self._calls.discard(call)

    async def run(self) -> None:
        """Keep the deadlines until cancelled."""
        while True:
            with self._scope:
                await trio.sleep_forever()
            self._expire()
            self._next = min((min(call.idle_at, call.total_at) for call in self._calls), default=math.inf)
            self._scope = trio.CancelScope(deadline=self._next)

    def _expire(self) -> None:
        now = trio.current_time()
        for call in [call for call in self._calls if call.done or min(call.idle_at, call.total_at) <= now]:
            self._calls.discard(call)
            if call.done:
                continue
            name = "idle" if call.idle_at <= call.total_at else "total"
            seconds = call.deadlines.idle if name == "idle" else call.deadlines.total
            call.fail(DeadlineExceeded(name, seconds or 0.0, call.request.method))
            call.cancel()
