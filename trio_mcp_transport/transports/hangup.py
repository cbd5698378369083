"""Learning that nobody reads a descriptor any more, before a write would tell.

This module must never read from the descriptor or write to it, and never change a flag of it.
"""

from __future__ import annotations

import select

import trio

__all__ = ["wait_hangup"]


async def wait_hangup(fd: int) -> None:
    """Wait until the other end of a pipe, a socket or a terminal is gone.

    A socket whose peer has only ended its own writing is not gone.  Files and ``/dev/null`` have no other end, and some
    systems offer no way to ask: there it waits for ever.  A checkpoint; cancellable without effect.

    Args:
        fd: The descriptor that is written to; it stays open for as long as this waits.
    """
    watch = _watch(fd)
    if watch is None:
        await trio.sleep_forever()
    with watch:
        await trio.lowlevel.wait_readable(watch.fileno())


def _watch(fd: int) -> select.epoll | None:
    """Return an epoll that becomes readable at the hang-up of ``fd``, or None where there is no way to ask.

    Trio asks for "writable or gone", which a pipe with room is at once.  This epoll asks for neither, and errors and
    hang-ups are reported without being asked for (epoll_ctl(2)).
    """
    if not hasattr(select, "epoll"):
        return None
    try:
        watch = select.epoll(1)
    except OSError:  # No descriptor is left: the next write will tell.
        return None
    try:
        watch.register(fd, 0)
    except PermissionError:  # A file, or /dev/null.
        watch.close()
        return None
    return watch
