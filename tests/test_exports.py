"""The public names are the documented ones, and reaching them costs no network library."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib

from tests.package_tree import NAME, PACKAGE, ROOT, Module, modules

DOCUMENTED = ROOT / "docs" / "reference" / "index.rst"
HEAVY = ("hypercorn", "httpx", "trio_websocket")


def documented_names() -> list[str]:
    """Return the names that the front page of the reference lists as importable from the package itself."""
    return re.findall(rf"^\s*\* :py:\w+:`~{NAME}\.(?:\w+\.)*(\w+)`", DOCUMENTED.read_text(encoding="utf-8"), re.M)


def run(code: str) -> list[str]:
    """Run code in a fresh interpreter and return the words it prints."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def has_all(module: Module) -> bool:
    """Tell whether a module says what it exports; a module that defines nothing need not."""
    targets = [ast_name for node in module.tree.body for ast_name in _assigned(node)]
    defines = any(type(node).__name__ in {"FunctionDef", "AsyncFunctionDef", "ClassDef"} for node in module.tree.body)
    return "__all__" in targets or not (defines or targets)


def _assigned(node: object) -> list[str]:
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    return [target.id for target in targets if type(target).__name__ == "Name"]


def test_top_level_names_are_the_documented_ones() -> None:
    package = importlib.import_module(NAME)
    assert sorted(package.__all__) == sorted(["__version__", *documented_names()])


def test_every_top_level_name_can_be_reached() -> None:
    package = importlib.import_module(NAME)
    assert [name for name in package.__all__ if getattr(package, name, None) is None] == []
    assert set(package.__all__) <= set(dir(package))


def test_the_version_is_the_one_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert importlib.import_module(NAME).__version__ == project["version"]


def test_importing_the_package_imports_no_network_library() -> None:
    words = run(f"import sys, {NAME}; print(*sys.modules)")
    assert NAME in words
    assert [name for name in HEAVY if name in words] == []


def test_every_module_says_what_it_exports() -> None:
    assert [module.name for module in modules(PACKAGE) if module.path.stem != "__main__" and not has_all(module)] == []


def test_what_a_module_exports_exists() -> None:
    missing = []
    for module in modules(PACKAGE):
        if module.path.stem == "__main__":
            continue
        loaded = importlib.import_module(f"{NAME}.{module.name}".rstrip("."))
        missing += [f"{module.name}.{name}" for name in getattr(loaded, "__all__", ()) if not hasattr(loaded, name)]
    assert missing == []
