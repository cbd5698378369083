"""The rows on custom transports: what was proved of stdio holds over TCP, Unix sockets and WebSocket."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import tests.spec.test_rows_ca_pr
import tests.spec.test_rows_io
import tests.spec.test_rows_jr
import tests.spec.test_rows_l03
import tests.spec.test_rows_l25
import tests.spec.test_rows_mr_vn
import tests.spec.test_rows_st_me
import tests.spec.test_rows_su
import tests.spec.test_rows_su_lasting
import tests.spec.test_rows_tr_er
from tests.channels import KINDS, Channel

SUITE: tuple[ModuleType, ...] = (
    tests.spec.test_rows_jr,
    tests.spec.test_rows_io,
    tests.spec.test_rows_ca_pr,
    tests.spec.test_rows_su,
    tests.spec.test_rows_su_lasting,
    tests.spec.test_rows_mr_vn,
    tests.spec.test_rows_st_me,
    tests.spec.test_rows_tr_er,
    tests.spec.test_rows_l25,
    tests.spec.test_rows_l03,
)
"""The behavioural suite of stdio."""

SUPPORT = ("serve_bytes", "client_over_bytes", "client_and_wire")
"""What stands between its tests and the sockets."""

CUSHION = 0.002
"""Real seconds without an event after which nothing is on its way through a socket of this machine."""

LEFT_OUT: dict[str, str] = {}
LEFT_OUT_WS: dict[str, str] = {}


@attrs.frozen
class Case:
    """A test of another module with one set of its parameters."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    id: str


def names_in(code: CodeType) -> Iterator[str]:
    """Yield the names that a function uses, those inside it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def speaks_through_support(function: Any, seen: frozenset[str] = frozenset()) -> bool:
    """Tell whether a test uses what can be put over a socket, itself or through another function of its module."""
    function = inspect.unwrap(function)
    for name in names_in(function.__code__):
        used = function.__globals__.get(name)
        if name in SUPPORT:
            return True
        own = inspect.isfunction(used) and inspect.unwrap(used).__module__ == function.__module__
        if own and name not in seen and speaks_through_support(used, seen | {name}):
            return True
    return False


def parameter_sets(function: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield every combination of parameters of a test, with an id."""
    axes = []
    for mark in getattr(function, "pytestmark", ()):
        if mark.name == "parametrize":
            names = [name.strip() for name in mark.args[0].split(",")] if type(mark.args[0]) is str else mark.args[0]
            rows = [getattr(row, "values", row) if not isinstance(row, dict) else row for row in mark.args[1]]
            axes.append([dict(zip(names, row if len(names) > 1 else (row,), strict=True)) for row in rows])
    for number, chosen in enumerate(itertools.product(*axes)):
        yield {name: value for one in chosen for name, value in one.items()}, f"-{number}" if axes else ""


def cases() -> Iterator[Case]:
    """Yield the cases of the suite."""
    for module in SUITE:
        prefix = module.__name__.rpartition("test_rows_")[2]
        for name, function in vars(module).items():
            if name.startswith("test_") and inspect.iscoroutinefunction(function) and speaks_through_support(function):
                for arguments, suffix in parameter_sets(function):
                    yield Case(function, arguments, f"{prefix}-{name.removeprefix('test_')}{suffix}")


CASES = list(cases())


@pytest.fixture(params=KINDS)
def channel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:
    """Put a channel under the modules of the suite."""
    channel = Channel(request.param, tmp_path)
    blocked = trio.testing.wait_all_tasks_blocked
    patient = lambda cushion=CUSHION: blocked(max(cushion, CUSHION))  # noqa: E731
    monkeypatch.setattr(trio.testing, "wait_all_tasks_blocked", patient)
    for module in SUITE:
        for name in SUPPORT:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(channel, name))
        if getattr(module, "settle", None) is blocked:
            monkeypatch.setattr(module, "settle", patient)
    yield channel
    channel.close()


@pytest.fixture(params=CASES, ids=lambda case: case.id)
def case(request: pytest.FixtureRequest, autojump_clock: trio.testing.MockClock) -> Callable[[], Any]:
    """Return a case with all its arguments."""
    case: Case = request.param
    wanted = inspect.signature(case.function).parameters.keys() - case.arguments.keys()
    return partial(case.function, **case.arguments, **{name: request.getfixturevalue(name) for name in wanted})


@pytest.mark.requirement("M-CT-01", "M-CT-05")
async def test_the_cases_of_stdio(
    channel: Channel, case: Callable[[], Any], autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 2 * CUSHION
    await case()
    assert channel.connections > 0
