"""Opening a Unix socket: for its owner only from the first moment, in the place of a dead one, gone in the end.

Must never remove what is no socket, what somebody listens on, or what somebody else has put there meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from contextlib import suppress
from typing import Any

import trio

from ..errors import ConfigError, ConnectionFailed
from .socket_listener import BACKLOG, SocketListener

__all__ = ["check_path", "listen_at", "open_unix_listener"]

LONGEST_PATH = 107
"""Bytes: ``sun_path`` has 108 on Linux, its last a zero (unix(7))."""

PATIENCE = 1.0
"""Seconds after which a server starts although somebody holds a lock on the folder, who need not be a server at all."""

RETRY = 0.005
"""Seconds between two looks at that lock, which servers hold for less than a millisecond."""


def check_path(path: Any) -> str:
    """Return a path that a Unix socket can have.

    Raises:
        ConfigError: It is empty, too long, or no path; abstract names have no permissions and are none here.
    """
    try:
        text = os.fspath(path)
    except TypeError:
        raise ConfigError(f"path is a path, not {path!r}") from None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError(f"path is a path in the file system, not {text!r}")
    size = len(os.fsencode(text))
    if size > LONGEST_PATH:
        raise ConfigError(f"the path of a Unix socket has at most {LONGEST_PATH} bytes, not {size}: {text!r}")
    return text


def listen_at(path: str, mode: int) -> SocketListener:
    """Return a listener on a Unix socket, which is removed when the listener is closed.

    Args:
        path: Where; a socket there on which nobody listens is replaced.
        mode: Permission bits of the file.

    Raises:
        ConfigError: Something there is no socket.
        ConnectionFailed: Somebody listens there, or the system says no; the message has the path.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        ours = _bind(sock, path, mode)
    except OSError as error:
        sock.close()
        raise ConnectionFailed(f"cannot listen on unix:{path}: {error}") from error
    except BaseException:
        sock.close()
        raise
    return SocketListener(sock, before_close=lambda: _remove_ours(path, ours))


def _bind(sock: socket.socket, path: str, mode: int) -> os.stat_result:
    with suppress(OSError):
        # Linux makes the file with the mode of the socket (unix_bind in net/unix/af_unix.c), so that there is no moment
        # with another one; the umask of the process is nobody's to change here.
        # Elsewhere nobody can connect before `listen`, which comes last.
        os.fchmod(sock.fileno(), mode)
    sock.bind(path)
    ours = os.lstat(path)
    try:
        if stat.S_IMODE(ours.st_mode) != mode:
            os.chmod(path, mode)
        sock.listen(BACKLOG)
    except OSError:
        _remove_ours(path, ours)
        raise
    return ours


def _remove_stale(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{path} is there and no socket, so it is not replaced")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass  # Its backlog is full, so there is somebody.
    raise ConnectionFailed(f"cannot listen on unix:{path}: another server listens there")


def _remove_ours(path: str, ours: os.stat_result) -> None:
    # The socket is still open, so its inode number cannot have gone to another file.
    try:
        found = os.lstat(path)
        if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
            os.unlink(path)
    except OSError:
        return  # It is gone already, or the folder is not ours to write any more: there is nothing left to do.


async def open_unix_listener(path: str, mode: int) -> SocketListener:
    """Do as `listen_at`, alone among the servers that start in this folder now; a checkpoint if it has to wait.

    Otherwise one of two that find the same dead socket could take the fresh socket of the other for it.

    Args:
        path: As for `listen_at`.
        mode: As for `listen_at`.

    Raises:
        ConfigError: As for `listen_at`.
        ConnectionFailed: As for `listen_at`.
    """
    try:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return listen_at(path, mode)  # One that may be entered and not read, or none: what follows will tell.
    try:
        for _ in range(round(PATIENCE / RETRY)):
            if _lock(folder):
                break
            await trio.sleep(RETRY)
        return listen_at(path, mode)
    finally:
        os.close(folder)


def _lock(folder: int) -> bool:
    """Lock a folder until it is closed; False while somebody else does, True also where it cannot be done."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # Some network file systems know no locks.
        return True
    return True
