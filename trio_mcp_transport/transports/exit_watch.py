"""Learning that a child process ended without forgetting it.

A process that has ended keeps its number until it is reaped, and so does its group: as long as that lasts, a signal to
the group cannot hit a stranger.  This module must never reap before it is told to.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ExitWatch"]


def _peek(pid: int) -> int | None:
    """Return how ``pid`` ended, as a Python return code, or None while it runs; it stays a zombie."""
    result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


class ExitWatch:
    """Watch one process, from any number of tasks.

    Where the system has no process descriptors (Linux before 5.3, other systems) the process is reaped as soon as it
    is seen to have ended, and the guarantee about its number is lost.

    Args:
        process: A process that nobody else waits for.
    """

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._lock = trio.Lock()
        self._pidfd = -1
        opener: Callable[[int], int] | None = getattr(os, "pidfd_open", None)
        if opener is not None:
            # An old kernel, a sandbox, or a process that is gone already because the program ignores SIGCHLD.
            with contextlib.suppress(OSError):
                self._pidfd = opener(process.pid)

    def poll(self) -> int | None:
        """Return how the process ended: its exit status, the negative number of a signal, or None while it runs."""
        if self._pidfd != -1:
            # It may have been reaped behind our back: the program ignores SIGCHLD, or waits for any child.
            with contextlib.suppress(ChildProcessError):
                return _peek(self._process.pid)
        return self._process.poll()

    async def wait(self) -> int:
        """Wait until the process has ended and return its status.  Always a checkpoint; cancellable."""
        async with self._lock:  # One task at a time may wait for one descriptor.
            while (status := self.poll()) is None:
                if self._pidfd == -1:
                    await self._process.wait()
                else:
                    with contextlib.suppress(trio.ClosedResourceError):  # Reaped meanwhile.
                        await trio.lowlevel.wait_readable(self._pidfd)
            return status

    def reap(self) -> int | None:
        """Let go of the process; return its status, or None when it still runs."""
        status = self._process.poll()
        if self._pidfd != -1:
            pidfd, self._pidfd = self._pidfd, -1
            trio.lowlevel.notify_closing(pidfd)
            os.close(pidfd)
        return status
