"""Standard input and output, moved out of reach of stray prints and children while they carry a protocol.

This module must never write to the wire itself, never keep module-level state, and never leave file descriptors 0 and 1
or their flags other than it found them, whatever ends the block.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from typing import TYPE_CHECKING

from trio_mcp_transport.errors import ConnectionFailed, LocalProtocolError
from trio_mcp_transport.transports.descriptor import widen_pipe
from trio_mcp_transport.transports.fdstream import FdPair, FdReceiveStream, FdSendStream

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["StdioGuard"]

_STDIN, _STDOUT, _STDERR = 0, 1, 2

# O_APPEND means nothing on a /dev/null that is only read, so nobody else opens it this way: it marks a standard input
# that a guard has moved, in this process or in the parent this process inherited it from, without a global variable.
_MARKED_NULL = os.O_RDONLY | os.O_APPEND


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _is_marked(fd: int) -> bool:
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.stat(os.devnull).st_rdev:
        return False
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    return flags & os.O_ACCMODE == os.O_RDONLY and bool(flags & os.O_APPEND)


def _private_duplicate(fd: int) -> int:
    """Duplicate ``fd`` where neither a child nor a closed standard descriptor can be mistaken for it."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)


def _private_description(fd: int, access: int) -> int:
    """Open the terminal or pipe behind ``fd`` again, so that ``O_NONBLOCK`` is not shared with the user's shell.

    A shell, a standard error stream or a sibling that shares the description would meet `BlockingIOError`, and after
    SIGKILL nobody could put the flag back.  Falls back to a duplicate for the rest: sockets, files (whose position
    belongs to the description), another user's terminal, a system without ``/proc``.
    """
    status = os.fstat(fd)
    reopened = -1
    with contextlib.suppress(OSError):
        if os.isatty(fd):
            reopened = os.open(os.ttyname(fd), access | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        elif stat.S_ISFIFO(status.st_mode):
            reopened = os.open(f"/proc/self/fd/{fd}", access | os.O_NONBLOCK | os.O_CLOEXEC)
    if reopened == -1:
        return _private_duplicate(fd)
    try:
        # The name of a terminal may lead elsewhere inside a container.
        return _private_duplicate(reopened if os.path.samestat(os.fstat(reopened), status) else fd)
    finally:
        os.close(reopened)


def _open_log() -> int:
    """Return a private descriptor for what goes astray: standard error, or ``/dev/null`` when that is closed."""
    if _is_open(_STDERR):
        return _private_duplicate(_STDERR)
    return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _flush_python_output() -> None:
    for file in (sys.stdout, sys.__stdout__):
        if file is not None:
            with contextlib.suppress(OSError, ValueError):  # ValueError: the program closed it.
                file.flush()


def _flush_strays() -> None:
    """Empty the buffers of `print` while descriptor 1 still leads away from the wire.

    What standard error refuses (its reader left) stays in the buffer and would reach the wire when the interpreter
    exits, so that a second flush goes to ``/dev/null``.
    """
    _flush_python_output()
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.dup2(null, _STDOUT)
    finally:
        os.close(null)
    _flush_python_output()


class StdioGuard:
    """Take standard input and output for a protocol, for a ``with`` block; they are restored on every exit path.

    Inside the block descriptor 0 is ``/dev/null`` and descriptor 1 a duplicate of standard error (``/dev/null`` when
    that is closed), so that `print`, ``os.write(1, ...)`` and the output of child processes reach the log and never the
    wire, and no child eats the peer's bytes.  What was printed before the block goes where it was meant to go.  After
    the block descriptors 0 and 1 are the same files with the same flags as before; the streams are closed.

    Output that a C library buffers itself is out of reach.  Bytes that ``sys.stdin`` had read before are not put back.

    Enter and leave synchronously, in one thread, inside or outside `trio.run`; neither blocks, but for a flush of what
    was printed.

    Attributes:
        receive_stream: The peer's bytes, from the old descriptor 0.
        send_stream: The way to the peer, the old descriptor 1.

    Raises:
        ConnectionFailed: On entry, when descriptor 0 or 1 is closed.
        LocalProtocolError: On entry, when another guard holds standard input, in this process or in a parent that
            this process inherited it from.
    """

    receive_stream: FdReceiveStream
    send_stream: FdSendStream

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()

    @property
    def pair(self) -> FdPair:
        """Both directions as one duplex stream."""
        return FdPair(self.send_stream, self.receive_stream)

    def __enter__(self) -> StdioGuard:
        self._check()
        with contextlib.ExitStack() as undo:
            _flush_python_output()
            saved_input = self._save(undo, _STDIN)
            saved_output = self._save(undo, _STDOUT)
            for fd in (saved_input, saved_output):
                widen_pipe(fd)
            # Flags are restored by the guard, once both directions have ended: they may share one description.
            self.receive_stream = FdReceiveStream(_private_description(saved_input, os.O_RDONLY), restore_flags=False)
            undo.callback(self.receive_stream.close)
            self.send_stream = FdSendStream(_private_description(saved_output, os.O_WRONLY), restore_flags=False)
            undo.callback(self.send_stream.close)
            self._divert(undo, saved_input, saved_output)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._undo.close()

    @staticmethod
    def _check() -> None:
        for fd, name, file in ((_STDIN, "input", sys.__stdin__), (_STDOUT, "output", sys.__stdout__)):
            # A descriptor that was closed when Python started may be anything by now, an epoll of Trio's included;
            # Python remembers with None.
            if file is None or not _is_open(fd):
                raise ConnectionFailed(f"cannot serve over stdio: standard {name} (descriptor {fd}) is closed")
        if _is_marked(_STDIN):
            raise LocalProtocolError(
                "standard input and output are already taken by a StdioGuard, in this process or in the one that "
                "started it: one process has one stdio connection at a time"
            )

    @staticmethod
    def _save(undo: contextlib.ExitStack, fd: int) -> int:
        """Keep ``fd`` and its blocking flag; the callbacks put the flag back last."""
        saved = _private_duplicate(fd)
        undo.callback(os.close, saved)
        undo.callback(os.set_blocking, saved, os.get_blocking(saved))
        return saved

    @staticmethod
    def _divert(undo: contextlib.ExitStack, saved_input: int, saved_output: int) -> None:
        """Point descriptors 0 and 1 elsewhere; undone in reverse, the flush of stray prints first of all."""
        with contextlib.ExitStack() as opened:
            log = _open_log()
            opened.callback(os.close, log)
            null_input = os.open(os.devnull, _MARKED_NULL | os.O_CLOEXEC)
            opened.callback(os.close, null_input)
            undo.callback(os.dup2, saved_input, _STDIN, os.get_inheritable(_STDIN))
            os.dup2(null_input, _STDIN)
            undo.callback(os.dup2, saved_output, _STDOUT, os.get_inheritable(_STDOUT))
            undo.callback(_flush_strays)
            os.dup2(log, _STDOUT)
