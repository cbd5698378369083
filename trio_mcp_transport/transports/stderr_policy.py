"""What becomes of a child's standard error: inherited, thrown away, kept, or handed on line by line.

This module must never block, never keep more than its bounds whatever the child writes, and never let a caller's
callback stop the draining: a pipe nobody reads stops the child (M-IO-07).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Literal, TypeAlias

from trio_mcp_transport.errors import ConfigError
from trio_mcp_transport.transports.firewall import call_contained

__all__ = ["StderrCollector", "StderrPolicy", "check_stderr_policy"]

StderrPolicy: TypeAlias = Literal["inherit", "devnull", "capture"] | Callable[[str], object]
"""``inherit``, ``devnull``, ``capture``, or a plain function that gets each line and must not block."""

TAIL_BYTES = 64 * 1024
"""How much of the end is kept: the capacity of the pipe itself, more than any traceback needs."""
TAIL_LINES = 20
"""How many lines an error carries: a Python traceback of nine frames."""
TAIL_LINE_CHARACTERS = 1000
"""How much of one such line; the end of it is kept."""
CALLBACK_LINE_BYTES = 8192
"""Longest line a callback gets, before decoding; syslog implementations cut at the same length.  The rest follows."""

_log = logging.getLogger(__name__)


def check_stderr_policy(policy: StderrPolicy) -> None:
    """Refuse what is no policy.

    Raises:
        ConfigError: ``policy`` is neither a known word nor a plain function.
    """
    if inspect.iscoroutinefunction(policy):
        raise ConfigError("the function that gets the lines of standard error must be a plain one, not async")
    if not callable(policy) and policy not in ("inherit", "devnull", "capture"):
        raise ConfigError(f"stderr is 'inherit', 'devnull', 'capture' or a function, not {policy!r}")


class StderrCollector:
    """Keep the end of what a child wrote, and hand lines to a callback when there is one.

    Args:
        callback: Gets each line without its line end, decoded as UTF-8 with replacement.  What it raises is logged the
            first time and otherwise ignored; it is called again for the next line.
    """

    def __init__(self, callback: Callable[[str], object] | None = None) -> None:
        self._callback = callback
        self._callback_failed = False
        self._tail = bytearray()
        self._line = b""

    def feed(self, data: bytes) -> None:
        """Take what the child wrote; memory stays below three times 64 KiB."""
        self._tail += data[-TAIL_BYTES:]
        if len(self._tail) > 2 * TAIL_BYTES:  # Twice, so that trimming costs nothing per byte.
            del self._tail[:-TAIL_BYTES]
        if self._callback is not None:
            *lines, rest = (self._line + data).split(b"\n")
            for line in lines:
                self._hand_on(self._callback, line)
            cut = len(rest) - len(rest) % CALLBACK_LINE_BYTES
            if cut:
                self._hand_on(self._callback, rest[:cut])
            self._line = rest[cut:]

    def finish(self) -> None:
        """Hand on a last line that has no line end.  May be repeated."""
        if self._callback is not None and self._line:
            line, self._line = self._line, b""
            self._hand_on(self._callback, line)

    def tail(self) -> tuple[str, ...]:
        """Return the last 20 lines, oldest first; of a long line the last 1,000 characters."""
        text = self._tail[-TAIL_BYTES:].decode("utf-8", "replace").removesuffix("\n")
        lines = text.split("\n")[-TAIL_LINES:] if text else []
        return tuple(_shorten(line.removesuffix("\r")) for line in lines)

    def _hand_on(self, callback: Callable[[str], object], line: bytes) -> None:
        line = line.removesuffix(b"\r")
        for start in range(0, len(line) or 1, CALLBACK_LINE_BYTES):
            text = line[start : start + CALLBACK_LINE_BYTES].decode("utf-8", "replace")
            # A caller's log must not stop the draining, or the child stops with it.
            failure = call_contained(callback, text)
            if failure is not None and not self._callback_failed:
                self._callback_failed = True
                _log.error(
                    "the function for lines of standard error failed; further failures are not logged",
                    exc_info=failure,
                )


def _shorten(line: str) -> str:
    return line if len(line) <= TAIL_LINE_CHARACTERS else "…" + line[-TAIL_LINE_CHARACTERS:]
