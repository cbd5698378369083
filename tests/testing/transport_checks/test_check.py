"""A check has a name, a promise and its needs; a failure says what was expected and what was found."""

from __future__ import annotations

import pickle

from trio_mcp_transport.testing.transport_checks.bench import Bench
from trio_mcp_transport.testing.transport_checks.check import CheckFailed, CheckReport, check


def test_a_check_is_made_of_a_function() -> None:
    @check("limits", "half_close", when="each")
    async def something_holds(bench: Bench) -> None:
        """Something holds.

        And more about it.
        """

    assert (something_holds.name, something_holds.promise) == ("something_holds", "Something holds.")
    assert something_holds.when == "each"
    assert something_holds.needs == {"limits", "half_close"}


def test_a_failure_is_a_sentence() -> None:
    failure = CheckFailed("something_holds", "legacy", "three answers", "there were two")
    assert str(failure) == "something_holds (legacy): expected three answers; there were two"
    assert isinstance(failure, AssertionError)


def test_a_report_lists_everything() -> None:
    failure = CheckFailed("b", "modern", "this", "that")
    report = CheckReport((("a", "modern"),), (failure,), {"c": "c=False"})
    assert report.failed == {"b"}
    assert str(report).splitlines() == [
        "passed: a (modern)",
        "FAILED: b (modern): expected this; that",
        "left out: c: c=False",
    ]


def test_the_name_of_a_check_survives_a_process() -> None:
    # pytest-xdist sends failures between processes.
    failure = CheckFailed("b", "modern", "this", "that")
    assert str(pickle.loads(pickle.dumps(failure))) == str(failure)
