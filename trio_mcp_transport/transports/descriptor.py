"""One owned file descriptor: what kind of file it is, and the flag to put back when it is let go.

Must never read or write; `transports.fdstream` does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat

from trio.lowlevel import in_trio_run, notify_closing

__all__ = ["WIDE_PIPE", "Descriptor", "widen_pipe"]

WIDE_PIPE = 128 * 1024
"""Bytes a pipe of ours holds, twice Linux' own default (pipe(7)): half the wake-ups for messages of 10 KB.

No more than that: the kernel counts all pipes of a user (64 MiB unprivileged), and shrinks new ones beyond it.
"""

DEFAULT_PIPE = 64 * 1024


def widen_pipe(fd: int) -> None:
    """Let a pipe hold `WIDE_PIPE` bytes; other files, larger pipes, and where it is not granted, stay as they are."""
    with contextlib.suppress(AttributeError, OSError):  # AttributeError: Python knows these calls on Linux only.
        if fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) < WIDE_PIPE:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, WIDE_PIPE)


def _capacity(fd: int) -> int:
    with contextlib.suppress(AttributeError, OSError):
        return min(max(fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ), DEFAULT_PIPE), WIDE_PIPE)
    return DEFAULT_PIPE


def _needs_nonblocking(status: os.stat_result) -> bool:
    """Return whether calls on such a file can block and have no per-call way to say "do not wait"."""
    if stat.S_ISFIFO(status.st_mode):
        return True
    return stat.S_ISCHR(status.st_mode) and status.st_rdev != os.stat(os.devnull).st_rdev


class Descriptor:
    """One owned file descriptor: its number, its kind, and the flag to put back.

    Attributes:
        fd: The number; -1 once closed, so that a number the kernel has given to another file is never used.
        sock: The socket behind it, or None.
        terminal: Whether it is a character device.
        fifo: Whether it is a pipe.
        capacity: Bytes worth asking for at once.
    """

    __slots__ = ("__weakref__", "_restore", "capacity", "fd", "fifo", "sock", "terminal")

    def __init__(self, fd: int, restore_flags: bool) -> None:
        """Take a descriptor over.

        Args:
            fd: An open descriptor of any kind.
            restore_flags: Whether `close` puts ``O_NONBLOCK`` back.

        Raises:
            OSError: ``fd`` is not open.
        """
        self.fd: int = -1
        self.sock: socket.socket | None = None
        self._restore = False
        status = os.fstat(fd)
        self.terminal: bool = stat.S_ISCHR(status.st_mode)
        self.fifo: bool = stat.S_ISFIFO(status.st_mode)
        self.capacity: int = _capacity(fd) if self.fifo else DEFAULT_PIPE
        if stat.S_ISSOCK(status.st_mode):
            self.sock = socket.socket(fileno=fd)
        elif _needs_nonblocking(status) and os.get_blocking(fd):
            os.set_blocking(fd, False)
            self._restore = restore_flags
        self.fd = fd

    def close(self) -> None:
        """Put the flag back and close; a task that waits for it is woken.  May be repeated."""
        fd, self.fd = self.fd, -1
        if fd != -1:
            if in_trio_run():
                notify_closing(fd)
            self._release(fd)

    def _release(self, fd: int) -> None:
        try:
            if self._restore:
                os.set_blocking(fd, True)
        finally:
            if self.sock is not None:
                self.sock.detach()
            os.close(fd)

    def __del__(self) -> None:
        # No task can be waiting on a descriptor that nothing refers to, so nobody needs to be woken.
        if self.fd != -1:
            self._release(self.fd)
