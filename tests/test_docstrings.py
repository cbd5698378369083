"""Every public thing says what it does, every module what it is, and none of them is long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.package_tree import PACKAGE, Module, modules

LONGEST_FUNCTION = 60
LONGEST_MODULE = 350

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def undocumented(package: Path) -> list[str]:
    """Return the modules and the public classes, functions and methods without a docstring."""
    missing = []
    for module in modules(package):
        if not ast.get_docstring(module.tree):
            missing.append(module.name or package.name)
        missing += [f"{module.name}.{name}" for name, node in _public(module) if not ast.get_docstring(node)]
    return missing


def too_long(package: Path) -> list[str]:
    """Return the functions and modules that are longer than the house allows, docstrings and comments included."""
    long = []
    for module in modules(package):
        lines = len(module.path.read_text(encoding="utf-8").splitlines())
        if lines > LONGEST_MODULE:
            long.append(f"{module.name}: {lines} lines")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long.append(f"{module.name}.{node.name}: {lines} lines")
    return long


def _public(module: Module) -> Iterator[tuple[str, Definition]]:
    if not any(part.startswith("_") for part in module.name.split(".")):
        yield from _public_below(module.tree, "")


def _public_below(parent: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, Definition]]:
    for node in _statements(parent.body):
        if not isinstance(node, Definition) or node.name.startswith("_") or _speaks_through_another(node):
            continue
        yield prefix + node.name, node
        if isinstance(node, ast.ClassDef):
            yield from _public_below(node, f"{prefix}{node.name}.")


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):  # a definition under a condition is as public as any other
            yield from _statements(node.body)
            yield from _statements(node.orelse)


def _speaks_through_another(node: Definition) -> bool:
    """Tell overloads and property setters, whose documentation stands at the implementation or the getter."""
    marks = {ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list}
    return bool(marks & {"overload", "setter", "deleter"})


def test_everything_public_is_documented() -> None:
    assert undocumented(PACKAGE) == []


def test_nothing_is_long() -> None:
    assert too_long(PACKAGE) == []


TOY = '''"""A module."""
import typing

@typing.overload
def f(x: int) -> int: ...
@typing.overload
def f(x: str) -> str: ...
def f(x):
    """Do it."""
    def inner(): pass

def bare(): pass

def _private(): pass

class C:
    """A class."""
    def __len__(self): return 0
    def bare(self): pass
    @property
    def p(self):
        """Say it."""
    @p.setter
    def p(self, value): pass

if True:
    class Conditional: pass
'''


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "_hidden.py").write_text("def f(): pass\n")
    assert undocumented(tmp_path) == ["_hidden", "toy.bare", "toy.C.bare", "toy.Conditional"]


def test_limits_are_exact(tmp_path: Path) -> None:
    (tmp_path / "fits.py").write_text("def f():\n" + "    1\n" * 59 + "#\n" * 290)
    (tmp_path / "over.py").write_text("def f():\n" + "    1\n" * 60 + "#\n" * 290)
    assert too_long(tmp_path) == ["over: 351 lines", "over.f: 61 lines"]
