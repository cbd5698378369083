"""The package as text: its modules and their imports, for the tests about its shape.  Imports nothing of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "trio_mcp_transport"
PACKAGE = ROOT / NAME


@dataclass(frozen=True)
class Import:
    """One imported module, as a dotted absolute name; `typing_only` when it stands under `if TYPE_CHECKING`."""

    target: str
    typing_only: bool


@dataclass(frozen=True)
class Module:
    """One file of a package: its dotted name below the package ("" is the package itself), path and syntax tree."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def part(self) -> str:
        """The module or folder directly below the package that this file belongs to."""
        return self.name.split(".")[0]


def modules(package: Path = PACKAGE) -> list[Module]:
    """Return every module of a package folder, sorted by path."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path))))
    return found


def imports(module: Module, package: Path = PACKAGE) -> list[Import]:
    """Return what a module imports, wherever in the file; `from package import submodule` names the submodule."""
    found = []
    for node, typing_only in _import_nodes(module.tree, False):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, typing_only) for alias in node.names]
            continue
        base = _base_of(node, module, package)
        for alias in node.names:
            found.append(Import(_submodule(f"{base}.{alias.name}", package) or base, typing_only))
    return found


def internal(target: str, package: Path = PACKAGE) -> str | None:
    """Return the name below the package of an imported module, "" for the package itself, None for anything else."""
    head, _, rest = target.partition(".")
    return rest if head == package.name else None


def _import_nodes(node: ast.AST, typing_only: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, typing_only
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for inner in child.body:
                yield from _import_nodes(ast.Module([inner], []), True)
            for inner in child.orelse:
                yield from _import_nodes(ast.Module([inner], []), typing_only)
        else:
            yield from _import_nodes(child, typing_only)


def _base_of(node: ast.ImportFrom, module: Module, package: Path) -> str:
    if not node.level:
        return node.module or ""
    here = [package.name, *(module.name.split(".") if module.name else [])]
    up = node.level - 1 if module.is_package else node.level
    base = here[: len(here) - up] if up else here
    return ".".join(base + ([node.module] if node.module else []))


def _submodule(dotted: str, package: Path) -> str | None:
    name = internal(dotted, package)
    if not name:
        return None
    path = package.joinpath(*name.split("."))
    return dotted if path.with_suffix(".py").exists() or (path / "__init__.py").exists() else None
