"""Tests of other modules as cases of one test: a suite runs again over something else without being written again.

Collects and must never run anything.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from types import CodeType, ModuleType
from typing import Any

import attrs
import pytest


@attrs.frozen
class Case:
    """A test with one set of its parameters.

    Attributes:
        function: The test.
        arguments: The parameters; what is missing are fixtures.
        id: For people.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    id: str

    def bind(self, request: pytest.FixtureRequest) -> Callable[[], Any]:
        """Return the case with all it asks for."""
        wanted = inspect.signature(self.function).parameters.keys() - self.arguments.keys()
        fixtures = {name: request.getfixturevalue(name) for name in wanted}
        return partial(self.function, **self.arguments, **fixtures)


def cases(module: ModuleType, *, through: Collection[str], without: Collection[str] = ()) -> Iterator[Case]:
    """Yield the cases of the asynchronous tests of a module.

    Args:
        module: Whose tests.
        through: Names of functions, one of which a test must use, itself or through another function of its module.
        without: Names of tests to leave out.
    """
    for name, function in vars(module).items():
        wanted = name.startswith("test_") and name not in without and inspect.iscoroutinefunction(function)
        if wanted and _uses(function, through, frozenset()):
            for arguments, suffix in _parameter_sets(function):
                yield Case(function, arguments, name.removeprefix("test_") + suffix)


def _uses(function: Any, wanted: Collection[str], seen: frozenset[str]) -> bool:
    function = inspect.unwrap(function)
    for name in _names_in(function.__code__):
        if name in wanted:
            return True
        used = function.__globals__.get(name)
        own = inspect.isfunction(used) and inspect.unwrap(used).__module__ == function.__module__
        if own and name not in seen and _uses(used, wanted, seen | {name}):
            return True
    return False


def _names_in(code: CodeType) -> Iterator[str]:
    """Yield the global names that a function uses, the functions inside it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _parameter_sets(function: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield every combination of the parameters of a test, with an end for its id."""
    axes: list[list[dict[str, Any]]] = []
    for mark in getattr(function, "pytestmark", ()):
        if mark.name == "parametrize":
            names = [one.strip() for one in mark.args[0].split(",")] if type(mark.args[0]) is str else mark.args[0]
            rows = [
                row.values if hasattr(row, "marks") else (row if len(names) > 1 else (row,)) for row in mark.args[1]
            ]
            axes.append([dict(zip(names, row, strict=True)) for row in rows])
    for number, chosen in enumerate(itertools.product(*axes)):
        yield {name: value for one in chosen for name, value in one.items()}, f"-{number}" if axes else ""
