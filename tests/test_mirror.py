"""The test tree mirrors the package: whoever changes a module knows where its tests are."""

from __future__ import annotations

from pathlib import Path

from tests.package_tree import PACKAGE, ROOT, modules

# Folders whose tests belong to no single module.
OTHER_FOLDERS = frozenset({"conformance", "interop", "problems", "properties", "spec"})
# Tests of the project itself, and of what many modules share.
OTHER_FILES = frozenset(
    {
        "test_benchmarks.py",
        "test_cancellation.py",
        "test_cancellation_sockets.py",
        "test_crashes_and_faults.py",
        "test_docstrings.py",
        "test_examples.py",
        "test_exports.py",
        "test_layers.py",
        "test_mirror.py",
        "test_nothing_left.py",
        "test_plugin_example.py",
        "test_readme.py",
        "test_reference.py",
        "transports/test_attacks.py",
        "transports/test_certified.py",
    }
)


def missing_tests(package: Path, tests: Path) -> list[str]:
    """Return the test files that the package asks for and that do not exist."""
    return sorted(_wanted(package) - _existing(tests))


def stray_tests(package: Path, tests: Path) -> list[str]:
    """Return the test files in mirrored folders that belong to no module."""
    return sorted(_existing(tests) - _wanted(package) - OTHER_FILES)


def _wanted(package: Path) -> set[str]:
    wanted = set()
    for module in modules(package):
        if not module.path.stem.startswith("__"):  # __init__ and __main__ only pass names on
            path = module.path.relative_to(package)
            wanted.add(path.with_name(f"test_{path.stem.lstrip('_')}.py").as_posix())
    return wanted


def _existing(tests: Path) -> set[str]:
    paths = (path.relative_to(tests) for path in tests.rglob("test_*.py"))
    return {path.as_posix() for path in paths if path.parts[0] not in OTHER_FOLDERS}


def test_every_module_has_its_tests() -> None:
    assert missing_tests(PACKAGE, ROOT / "tests") == []


def test_every_test_has_its_module() -> None:
    assert stray_tests(PACKAGE, ROOT / "tests") == []


def test_both_directions_are_seen(tmp_path: Path) -> None:
    package, tests = tmp_path / "toy", tmp_path / "tests"
    for path in (
        package / "__init__.py",
        package / "__main__.py",
        package / "wire" / "__init__.py",
        package / "wire" / "codec.py",
        package / "tested.py",
        tests / "test_tested.py",
        tests / "pipe" / "test_gone.py",
        tests / "interop" / "test_anything.py",
        tests / "test_mirror.py",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert missing_tests(package, tests) == ["wire/test_codec.py"]
    assert stray_tests(package, tests) == ["pipe/test_gone.py"]
