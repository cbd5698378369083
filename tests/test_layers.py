"""Imports point one way: every module may use what is below it, and the network stays at the edge."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.package_tree import PACKAGE, Module, imports, internal, modules

# From the bottom up.  A module may import from its own row and the rows above it in this list; an import under
# `TYPE_CHECKING` is free, for it builds nothing.  "" is the package's own __init__.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "wire"}),
    frozenset({"addresses", "deadlines", "limits", "metrics"}),
    frozenset(
        {
            "abc",
            "call",
            "connect",
            "context",
            "dispatcher",
            "era",
            "exchange",
            "handlers",
            "intake",
            "subscriptions",
            "timekeeper",
            "watchdog",
        }
    ),
    frozenset({"legacy", "pipe"}),
    frozenset({"transports"}),
    frozenset({"config", "registry"}),
    frozenset({"client", "replies", "service"}),
    frozenset({"client_attempt", "keepalive"}),
    frozenset({"client_runner"}),
    frozenset({"client_lifecycle"}),
    frozenset({"client_block"}),
    frozenset({"", "__main__", "adapters", "bridge", "cli", "testing"}),
)
NOT_IN_WIRE = frozenset({"trio", "socket", "ssl", "logging", "time", "asyncio", "threading"})
IN_ONE_FILE = ("hypercorn", "httpx", "trio_websocket", "wsproto")
BROAD_EXCEPTS = frozenset({"dispatcher", "transports.firewall"})


def upward_imports(package: Path) -> list[str]:
    """Return every import that points up, and every module that nobody gave a layer."""
    height = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    wrong = [f"{module.part} has no layer" for module in modules(package) if module.part not in height]
    for module in modules(package):
        for found in imports(module, package):
            name = internal(found.target, package)
            if name is None or found.typing_only or wrong:
                continue
            target = name.split(".")[0]
            if height.get(target, len(LAYERS)) > height[module.part]:
                wrong.append(f"{module.name} imports {found.target}")
    return wrong


def importers(package: Path, wanted: str) -> list[str]:
    """Return the modules that import a library, or a part of the package written as `.part`."""
    found = []
    for module in modules(package):
        for one in imports(module, package):
            name = internal(one.target, package)
            target = one.target.split(".")[0] if name is None else "." + name.split(".")[0]
            if target == wanted and module.name not in found:
                found.append(module.name)
    return found


def broad_excepts(package: Path) -> list[str]:
    """Return where everything is caught and not raised again, outside the two boundaries."""
    wrong = []
    for module in modules(package):
        if module.name in BROAD_EXCEPTS:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and _catches_all(node.type) and not _raises_again(node):
                wrong.append(f"{module.name}:{node.lineno}")
    return wrong


def _catches_all(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(_catches_all(one) for one in kind.elts)
    return kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_imports_point_down() -> None:
    assert upward_imports(PACKAGE) == []


def test_wire_is_pure() -> None:
    impure = {library: [name for name in importers(PACKAGE, library) if _is_wire(name)] for library in NOT_IN_WIRE}
    assert {library: names for library, names in impure.items() if names} == {}


def test_each_network_library_has_one_file() -> None:
    found = {library: importers(PACKAGE, library) for library in IN_ONE_FILE}
    assert {library: names for library, names in found.items() if len(names) > 1} == {}


def test_legacy_plugs_in_at_one_place() -> None:
    users = [name for name in importers(PACKAGE, ".legacy") if name.split(".")[0] != "legacy"]
    # "" names the public context class of the old era, for type checkers and by name.
    assert set(users) <= {"", "transports.eras"}


def test_nothing_imports_testing() -> None:
    assert [name for name in importers(PACKAGE, ".testing") if name.split(".")[0] != "testing"] == []


def test_broad_excepts_stay_at_the_boundaries() -> None:
    assert broad_excepts(PACKAGE) == []


def _is_wire(name: str) -> bool:
    return name == "wire" or name.startswith("wire.")


def _toy(tmp_path: Path, **files: str) -> Path:
    package = tmp_path / "toy"
    for name, text in {"__init__": "", **files}.items():
        path = package.joinpath(*name.split("__in__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.parent != package:
            (path.parent / "__init__.py").touch()
    return package


def test_upward_import_is_seen_however_it_is_written(tmp_path: Path) -> None:
    for number, text in enumerate(
        (
            "from ..service import serve",
            "from .. import service",
            "import toy.service",
            "from toy import service",
            "def f():\n    from ..service import serve",
            "from .. import serve",
        )
    ):
        package = _toy(tmp_path / str(number), wire__in__codec=text, service="")
        assert len(upward_imports(package)) == 1, text


def test_downward_and_typing_imports_are_free(tmp_path: Path) -> None:
    text = "from typing import TYPE_CHECKING\nfrom .wire.codec import x\nif TYPE_CHECKING:\n    from .service import y"
    assert (
        upward_imports(_toy(tmp_path, wire__in__codec="from ..errors import E", errors="", abc=text, service="")) == []
    )


def test_module_without_layer_is_seen(tmp_path: Path) -> None:
    assert upward_imports(_toy(tmp_path, stranger="")) == ["stranger has no layer"]


def test_importers_are_found(tmp_path: Path) -> None:
    package = _toy(tmp_path, a="import httpx", b="from httpx import Client", c="from .testing import x", testing="")
    assert importers(package, "httpx") == ["a", "b"]
    assert importers(package, ".testing") == ["c"]


def test_broad_except_is_seen(tmp_path: Path) -> None:
    caught = "try:\n    pass\nexcept (ValueError, Exception):\n    pass"
    groups = "try:\n    pass\nexcept* Exception:\n    pass"
    again = "try:\n    pass\nexcept BaseException:\n    x = 1\n    raise"
    package = _toy(tmp_path, a=caught, b=groups, c=again, dispatcher=caught)
    assert broad_excepts(package) == ["a:3", "b:3"]


def test_modules_know_their_names(tmp_path: Path) -> None:
    found: list[Module] = modules(_toy(tmp_path, wire__in__codec=""))
    assert [module.name for module in found] == ["", "wire", "wire.codec"]
