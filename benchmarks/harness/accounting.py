"""CPU accounting of other processes: the figure that stays put on a noisy machine.

Reads `/proc` and sets CPU affinity. It must never look at wall clocks to produce a judged figure.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import attrs


class AccountingError(Exception):
    """The figure cannot be trusted: a thread's time vanished with the thread."""


@attrs.frozen
class Placement:
    """Which CPUs the driver and the process under measurement run on.

    Attributes:
        driver: CPU of the driver.
        subject: CPU of the measured process; the same when the machine lends us only one.
    """

    driver: int
    subject: int

    @classmethod
    def choose(cls) -> Placement:
        """Choose the first and the last CPU this process may use."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(driver=allowed[0], subject=allowed[-1])

    @property
    def pinned_apart(self) -> bool:
        """Say whether driver and subject have a CPU each."""
        return self.driver != self.subject

    def pin_driver(self) -> None:
        """Pin the calling process to the driver's CPU."""
        os.sched_setaffinity(0, {self.driver})

    def pin_subject(self) -> None:
        """Pin the calling process to the subject's CPU; made for the moment between fork and exec."""
        os.sched_setaffinity(0, {self.subject})


def read_thread_times(pid: int) -> dict[int, int]:
    """Read the CPU time of every thread of `pid`, in nanoseconds, by thread id.

    Raises:
        FileNotFoundError: The process is gone.
    """
    times: dict[int, int] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        # proc(5): time on the CPU, time waiting for one, time slices
        times[int(task.name)] = int((task / "schedstat").read_text().split()[0])
    return times


def settle(
    pid: int, *, read: Callable[[int], dict[int, int]] = read_thread_times, limit: float = 0.5
) -> dict[int, int]:
    """Wait until `pid` uses no more CPU, and return its thread times in nanoseconds.

    The scheduler books a running thread's time late, and servers tidy up after the last answer: both belong to the
    work. A process that never rests is read after `limit` seconds.
    """
    deadline = time.monotonic() + limit
    times = read(pid)
    while time.monotonic() < deadline:
        time.sleep(0.005)
        later = read(pid)
        if later == times:
            break
        times = later
    return times


def cpu_between(before: dict[int, int], after: dict[int, int]) -> int:
    """Return the nanoseconds all threads used between two readings; threads born in between count in full.

    Raises:
        AccountingError: A thread ended in between and took its figure along.
    """
    gone = before.keys() - after.keys()
    if gone:
        raise AccountingError(f"{len(gone)} thread(s) ended during the measurement")
    return sum(spent - before.get(thread, 0) for thread, spent in after.items())
