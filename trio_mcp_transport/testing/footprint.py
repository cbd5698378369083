"""What a program holds at a moment: tasks, descriptors, children, threads, blocking modes; and what it left behind.

Must never change what it measures: no garbage collection, no waiting; a descriptor that only a collection would close
is a leak.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import trio

__all__ = ["Footprint", "living_tasks"]

_PROC = Path("/proc/self")
_FDS = _PROC / "fd" if _PROC.exists() else Path("/dev/fd")
_UNKNOWN_CHILD = 0
"""Stands for "some child" where the system does not list them."""


@attrs.frozen(kw_only=True)
class Footprint:
    """A snapshot.

    Attributes:
        tasks: Living Trio tasks, trio's own included; empty outside `trio.run`.
        fds: Open descriptors -> what they lead to.
        children: Process ids of children, zombies included.
        threads: Names of living threads by their identifiers.
        blocking: Descriptors 0, 1 and 2 -> whether they block, as far as open.
    """

    tasks: frozenset[trio.lowlevel.Task]
    fds: Mapping[int, str]
    children: frozenset[int]
    threads: Mapping[int, str]
    blocking: Mapping[int, bool]

    @classmethod
    def take(cls) -> Footprint:
        """Look at this process, now; synchronous, inside or outside `trio.run`."""
        return cls(
            tasks=frozenset(living_tasks()),
            fds=_open_fds(),
            children=_children(),
            threads={thread.ident or 0: thread.name for thread in threading.enumerate()},
            blocking=_blocking(),
        )

    def left_by(self, later: Footprint, *, threads: bool = True) -> list[str]:
        """Say what ``later`` holds that this did not, and what changed; empty when nothing is left.

        Args:
            later: Taken after the work.
            threads: Whether threads count.  Trio keeps idle worker threads for 10 s, so only work that starts none, or
                was done once before the first look, can be held to it.
        """
        left = [f"task {task.name} was left" for task in later.tasks - self.tasks]
        for fd, target in later.fds.items():
            if self.fds.get(fd) != target:
                left.append(f"descriptor {fd} ({target}) was left")
        left += [f"descriptor {fd} ({self.fds[fd]}) is gone" for fd in self.fds.keys() - later.fds.keys()]
        left += [f"child process {pid or ''} was left" for pid in later.children - self.children]
        if threads:
            left += [f"thread {name} was left" for ident, name in later.threads.items() if ident not in self.threads]
        left += [
            f"descriptor {fd} was made {'blocking' if mode else 'non-blocking'}"
            for fd, mode in later.blocking.items()
            if self.blocking.get(fd, mode) is not mode
        ]
        return left


def living_tasks() -> Iterator[trio.lowlevel.Task]:
    """Yield every living task of this run, trio's own included; nothing outside `trio.run`."""
    if not trio.lowlevel.in_trio_run():
        return
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        yield task
        for nursery in task.child_nurseries:
            waiting.extend(nursery.child_tasks)


def _open_fds() -> dict[int, str]:
    found = {}
    for name in os.listdir(_FDS):
        fd = int(name)
        try:
            status = os.fstat(fd)
        except OSError:
            continue  # the descriptor that listed the folder
        try:
            found[fd] = os.readlink(_FDS / name)
        except OSError:
            found[fd] = f"{status.st_dev}:{status.st_ino}"
    return found


def _children() -> frozenset[int]:
    lists = list(_PROC.glob("task/*/children"))
    if lists:
        return frozenset(int(pid) for one in lists for pid in _words(one))
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return frozenset()
    return frozenset({_UNKNOWN_CHILD})


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []  # the thread has ended meanwhile


def _blocking() -> dict[int, bool]:
    modes = {}
    for fd in (0, 1, 2):
        try:
            modes[fd] = os.get_blocking(fd)
        except OSError:
            continue
    return modes
