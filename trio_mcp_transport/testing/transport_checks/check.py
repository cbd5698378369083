"""What a check is, what it says when it fails, and what a run of all of them reports.

Must never run anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from .bench import Bench

__all__ = ["Check", "CheckFailed", "CheckReport", "Need", "check"]

Need = Literal[
    "connect_stream",
    "half_close",
    "in_process",
    "large_messages",
    "limits",
    "own_statistics",
    "pressure",
    "server_messages",
    "several_clients",
    "write_deadline",
]
"""What a channel may lack: see `check_transport`, whose options switch these off."""

When = Literal["each", "once", "modern", "legacy"]
"""In which eras a check runs: in each of the channel's, in the first of them, or in one only."""


class CheckFailed(AssertionError):
    """A transport does not do what a check expects.

    Attributes:
        check: The check's name.
        era: The era it ran in.
        expected: What should have been, in one clause.
        found: What was instead.
    """

    def __init__(self, check: str, era: str, expected: str, found: str) -> None:
        super().__init__(f"{check} ({era}): expected {expected}; {found}")
        self.check = check
        self.era = era
        self.expected = expected
        self.found = found

    def __reduce__(self) -> tuple[type[CheckFailed], tuple[str, str, str, str]]:
        """Survive pickling, as the failures of a test run spread over processes must."""
        return type(self), (self.check, self.era, self.expected, self.found)


@attrs.frozen
class Check:
    """One property of a transport.

    Attributes:
        name: Names it in reports and in ``without``.
        promise: What a transport has to do, in one sentence.
        run: Tries it on a bench; raises `CheckFailed`.
        when: In which eras it runs.
        needs: What the channel must be able to do.
    """

    name: str
    promise: str
    run: Callable[[Bench], Awaitable[None]]
    when: When = "once"
    needs: frozenset[Need] = frozenset()


def check(*needs: Need, when: When = "once") -> Callable[[Callable[[Bench], Awaitable[None]]], Check]:
    """Make a `Check` of a coroutine function: its name, and the first line of its docstring as the promise."""

    def make(run: Callable[[Bench], Awaitable[None]]) -> Check:
        promise = (run.__doc__ or "").strip().splitlines()[0]
        return Check(run.__name__, promise, run, when, frozenset(needs))

    return make


@attrs.frozen
class CheckReport:
    """What was looked at.

    Attributes:
        passed: Names of the checks that passed, with the era: ``("requests_arrive", "modern")``.
        failures: What failed.
        left_out: Checks that did not run, and why.
    """

    passed: tuple[tuple[str, str], ...]
    failures: tuple[CheckFailed, ...]
    left_out: Mapping[str, str]

    @property
    def failed(self) -> frozenset[str]:
        """Names of the checks that failed."""
        return frozenset(failure.check for failure in self.failures)

    def __str__(self) -> str:
        lines = [f"passed: {name} ({era})" for name, era in self.passed]
        lines += [f"FAILED: {failure}" for failure in self.failures]
        lines += [f"left out: {name}: {why}" for name, why in self.left_out.items()]
        return "\n".join(lines)
