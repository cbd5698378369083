"""Which public coroutines the tests cancel: one list for all files of such tests.

Must never know a scenario; the tests do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["COVERED", "covers_by_test"]

COVERED: set[str] = set()
"""Names as ``function`` or ``Class.method``."""


def covers_by_test(*names: str) -> Callable[[Any], Any]:
    """Note what a test of its own cancels."""
    COVERED.update(names)
    return lambda test: test
