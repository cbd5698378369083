"""What the Python client contenders share: the plan they are given, the meter, and the report they print.

It adds two clock readings and one comparison to each call, the same for every client.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Awaitable, Callable

Call = Callable[[str], Awaitable[str]]
RunAll = Callable[[list[Callable[[], Awaitable[None]]]], Awaitable[None]]


class Plan:
    """The harness's orders, from the only argument."""

    def __init__(self) -> None:
        orders = json.loads(sys.argv[1])
        self.server: list[str] = orders["server"]
        self.era: str = orders["era"]
        self.size: int = orders["size"]
        self.concurrency: int = orders["concurrency"]
        self.warm_up: float = orders["warm_up"]
        self.measure: float = orders["measure"]
        self.least: int = orders["least"]


class Load:
    """Many callers, each with one call at a time, every answer checked."""

    def __init__(self, plan: Plan, call: Call, run_all: RunAll) -> None:
        self._plan = plan
        self._call = call
        self._run_all = run_all
        self._round = 0
        self.latencies: list[int] = []

    async def _caller(self, slot: int, calls: int) -> None:
        call, clock, latencies, size = self._call, time.perf_counter_ns, self.latencies, self._plan.size
        for number in range(calls):
            text = f"{self._round:02d}{slot:03d}{number:07d}".ljust(size, "x")
            started = clock()
            if await call(text) != text:
                raise SystemExit(f"caller {slot} got a wrong answer to call {number}")
            latencies.append(clock() - started)

    async def run(self, calls: int) -> float:
        """Let every caller make `calls` calls and return the seconds it took."""
        self._round += 1
        self.latencies.clear()
        started = time.perf_counter()

        def caller(slot: int) -> Callable[[], Awaitable[None]]:
            return lambda: self._caller(slot, calls)

        await self._run_all([caller(slot) for slot in range(self._plan.concurrency)])
        return time.perf_counter() - started


async def measure(plan: Plan, call: Call, run_all: RunAll) -> None:
    """Warm up, measure once and print the report."""
    load = Load(plan, call, run_all)
    seconds = await load.run(plan.least)
    calls = max(plan.least, math.ceil(plan.least / seconds * plan.warm_up))
    seconds = await load.run(calls)
    calls = max(plan.least, math.ceil(calls / seconds * plan.measure))
    before = time.process_time_ns()  # of all threads, children excluded
    seconds = await load.run(calls)
    cpu = time.process_time_ns() - before
    ranked = sorted(load.latencies)
    report = {
        "calls": len(ranked),
        "cpu_ns": cpu,
        "seconds": seconds,
        "p50_us": ranked[len(ranked) // 2] / 1000,
        "p99_us": ranked[len(ranked) * 99 // 100] / 1000,
    }
    print(json.dumps(report), flush=True)
