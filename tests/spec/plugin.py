"""The pytest plugin behind ``@pytest.mark.requirement``: links tests to rows of the spec map and judges the run.

A mark with an unknown id stops the session. A marked test that is skipped or expected to fail proves nothing, so it
fails the session; a full run also fails when a test that the committed map names did not run. The plugin must never
decide which tests run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.spec.document import MAP_FILE, named_tests
from tests.spec.rows import ROWS_FILE, load_rows

_NARROWING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise", "collectonly")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the marks, and the outcomes of their tests, to other programs."""
    parser.addoption("--requirements-json", metavar="FILE", help="write {id: {test: outcome or null}} to FILE")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark and watch the session.

    Raises:
        pytest.UsageError: when the rows cannot be read.
    """
    config.addinivalue_line("markers", f"requirement(*ids): rows of {ROWS_FILE} that the test proves")
    try:
        known = frozenset(load_rows(config.rootpath))
    except (OSError, ValueError, TypeError) as error:
        raise pytest.UsageError(f"{ROWS_FILE}: {error}") from error
    config.pluginmanager.register(_SpecMap(config, known), "spec-map")


@attrs.define(eq=False)
class _SpecMap:
    """What one session knows of marks and outcomes; parametrised tests count as one, by their plain name."""

    config: pytest.Config
    known: frozenset[str]
    marks: dict[str, set[str]] = attrs.field(factory=dict)
    outcomes: dict[str, str] = attrs.field(factory=dict)
    skipped: dict[str, str] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Read the marks before anything is deselected, so that a bad id is found in every run."""
        wrong: list[str] = []
        for item in items:
            for mark in item.iter_markers("requirement"):
                unknown = [repr(id_) for id_ in mark.args if id_ not in self.known]
                if unknown or not mark.args:
                    wrong.append(f"{item.nodeid}: unknown requirement {', '.join(unknown) or '(none given)'}")
                self.marks.setdefault(_name(item.nodeid), set()).update(mark.args)
        if wrong:
            raise pytest.UsageError(*wrong)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst outcome of each test: failed before skipped before passed."""
        name = _name(report.nodeid)
        if report.failed:
            self.outcomes[name] = "failed"
        elif report.skipped:
            self.skipped.setdefault(name, _why(report))
            if self.outcomes.get(name) != "failed":
                self.outcomes[name] = "skipped"
        elif report.when == "call":
            self.outcomes.setdefault(name, "passed")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that otherwise succeeded but did not prove what the map says."""
        if not self.config.option.collectonly:
            self.problems.extend(self._skipped_marks())
        if session.exitstatus == pytest.ExitCode.OK and _is_full(self.config):
            self.problems.extend(self._named_but_not_run())
        if self.problems and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        target = self.config.getoption("--requirements-json")
        if target:
            Path(target).write_text(json.dumps(self._by_id(), indent=1), encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what the spec map misses."""
        if self.problems:
            terminalreporter.section("spec map", red=True)
            for problem in self.problems:
                terminalreporter.write_line(problem)

    def _skipped_marks(self) -> Iterator[str]:
        for name, why in sorted(self.skipped.items()):
            if name in self.marks:
                yield f"skipped: {name} should prove {', '.join(sorted(self.marks[name]))} ({why})"

    def _named_but_not_run(self) -> Iterator[str]:
        path = self.config.rootpath / MAP_FILE
        if not path.exists():
            yield f"missing: {MAP_FILE}"
            return
        for name in sorted(named_tests(path.read_text(encoding="utf-8")) - self.outcomes.keys()):
            yield f"did not run: {name} is named in {MAP_FILE}"

    def _by_id(self) -> dict[str, dict[str, str | None]]:
        by_id: dict[str, dict[str, str | None]] = {}
        for name, ids in sorted(self.marks.items()):
            for id_ in ids:
                by_id.setdefault(id_, {})[name] = self.outcomes.get(name)
        return dict(sorted(by_id.items()))


def _name(nodeid: str) -> str:
    return nodeid.partition("[")[0]


def _why(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "expected to fail"
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else "no reason"


def _is_full(config: pytest.Config) -> bool:
    """Tell whether the session was asked for all tests; what a narrower one leaves out is nobody's fault."""
    if any(getattr(config.option, option, None) for option in _NARROWING):
        return False
    tests = config.rootpath / "tests"
    return any(tests.is_relative_to((config.invocation_params.dir / argument).resolve()) for argument in config.args)
