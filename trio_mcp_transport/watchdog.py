"""Tells which handler keeps the event loop from running: a thread outside the loop watches, and names the function.

Must never be needed for correctness and must never touch a task: it looks at the stack of the loop's thread, reports,
and ends with the nursery it was started in.
"""

from __future__ import annotations

import inspect
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType

import attrs
import trio

from .dispatcher import Dispatcher
from .errors import ConfigError

__all__ = ["Stall", "log_stall", "watch_stalls"]

logger: logging.Logger = logging.getLogger("trio_mcp_transport")

SAMPLES_PER_THRESHOLD = 4
"""Heartbeats per threshold: a stall is seen at the latest when it is a quarter longer than the threshold."""

STACK_LINES = 20
"""Innermost frames kept of the stalled stack; a traceback longer than a screen is not read."""

_DOOR = Dispatcher.__module__
"""The module that calls handlers; what the program runs inside its innermost frame is the handler."""

_OURS = __name__.rpartition(".")[0] + "."
_NOT_THE_USERS = (_OURS, "trio.", "outcome.")


@attrs.frozen(kw_only=True)
class Stall:
    """One time the event loop stood still, seen while it still does.

    Attributes:
        handler: Qualified name of the handler function that is running, or None when no handler is.
        function: Qualified name of the innermost coroutine function in it, which is the one that should have awaited;
            the handler itself where that is a plain function.
        location: ``file:line`` where ``function`` stands now.
        seconds: How long the loop has not run, at least.
        stack: The innermost frames of the loop's thread, oldest first, as a traceback prints them.
    """

    handler: str | None
    function: str
    location: str
    seconds: float
    stack: tuple[str, ...]


def log_stall(stall: Stall) -> None:
    """Log a warning that names the guilty function and shows where it stands."""
    what = stall.function if stall.handler is None else f"the handler {stall.handler}"
    where = f" in {stall.function}" if stall.handler not in (None, stall.function) else ""
    logger.warning(
        "the event loop has not run for %.2f s: %s blocks it%s at %s; mark it with @blocking or await instead\n%s",
        stall.seconds,
        what,
        where,
        stall.location,
        "".join(stall.stack).rstrip(),
    )


async def watch_stalls(
    threshold: float = 1.0,
    *,
    report: Callable[[Stall], object] = log_stall,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Report whenever the event loop stands still for ``threshold`` seconds; run it in a nursery beside `serve`.

    A thread sends the loop a heartbeat four times per ``threshold`` and looks at the stack of the loop's thread when
    one is not acknowledged.  One stall is reported once, while it lasts.  Code that holds the GIL is seen only if it
    lets go of it before the stall is over.  Runs until cancelled; then the thread ends by itself at once.  Real
    seconds, also under a virtual clock.

    Args:
        threshold: Seconds without a turn of the loop that count as a stall.
        report: Called in the watching thread, with the loop standing still: it must not call into Trio.  What it
            raises leaves this function.
        task_status: Told once the watching has begun.

    Raises:
        ConfigError: ``threshold`` is not a positive finite number.
    """
    if not 0 < threshold < threading.TIMEOUT_MAX:
        raise ConfigError(f"threshold is a positive number of seconds, not {threshold!r}")
    watch = _Watch(threshold, report, trio.lowlevel.current_trio_token(), threading.get_ident())
    # A limiter of its own: blocking handlers that fill the host's default limiter must not keep the watcher waiting.
    limiter = trio.CapacityLimiter(1)
    try:
        task_status.started()
        await trio.to_thread.run_sync(watch.run, limiter=limiter, abandon_on_cancel=True)
    finally:
        watch.stop()


class _Watch:
    """What the thread does."""

    def __init__(
        self, threshold: float, report: Callable[[Stall], object], token: trio.lowlevel.TrioToken, loop: int
    ) -> None:
        self._threshold = threshold
        self._report = report
        self._token = token
        self._loop = loop
        self._stopped = threading.Event()
        self._beat = threading.Event()

    def stop(self) -> None:
        self._stopped.set()
        self._beat.set()

    def run(self) -> None:
        while not self._stopped.wait(self._threshold / SAMPLES_PER_THRESHOLD):
            self._beat.clear()
            if self._stopped.is_set():  # stop() came before clear(), which took its wake-up away
                return
            sent = time.monotonic()
            try:
                self._token.run_sync_soon(self._beat.set, idempotent=True)
            except trio.RunFinishedError:
                return
            if not self._beat.wait(self._threshold):
                self._look(sent)
                self._beat.wait()

    def _look(self, sent: float) -> None:
        frame = sys._current_frames().get(self._loop)
        # A loop that runs again has another stack by now, and would accuse the wrong one.
        if frame is not None and not self._beat.is_set():
            self._report(_describe(frame, time.monotonic() - sent))


def _describe(frame: FrameType, seconds: float) -> Stall:
    """Read a stack, from its innermost frame, as a `Stall`."""
    inward: list[FrameType] = []
    outer: FrameType | None = frame
    while outer is not None:
        inward.append(outer)
        outer = outer.f_back
    inward.reverse()
    doors = [number for number, one in enumerate(inward) if one.f_globals.get("__name__") == _DOOR]
    handler = _of_the_user(inward[doors[-1] + 1 :]) if doors else []
    frames = handler or _of_the_user(_task(inward)) or inward[-1:]
    guilty = next((one for one in reversed(frames) if one.f_code.co_flags & inspect.CO_COROUTINE), frames[0])
    return Stall(
        handler=frames[0].f_code.co_qualname if handler else None,
        function=guilty.f_code.co_qualname,
        location=f"{guilty.f_code.co_filename}:{guilty.f_lineno}",
        seconds=seconds,
        stack=tuple(traceback.format_list(traceback.extract_stack(frame)[-STACK_LINES:])),
    )


def _task(inward: list[FrameType]) -> list[FrameType]:
    """Return the frames of the running task: those inside the last frame of Trio's run loop."""
    loops = [number for number, one in enumerate(inward) if one.f_globals.get("__name__") == "trio._core._run"]
    return inward[loops[-1] + 1 :] if loops else inward


def _of_the_user(frames: list[FrameType]) -> list[FrameType]:
    """Return what the program itself runs innermost: its frames after the last call out of this package or Trio.

    A router of the program that hands a message on through `Handlers` is not to blame for what it called.
    """
    run: list[FrameType] = []
    foreign = True
    for frame in frames:
        if str(frame.f_globals.get("__name__", "")).startswith(_NOT_THE_USERS):
            foreign = True
            continue
        if foreign:
            run = []
            foreign = False
        run.append(frame)
    return run
