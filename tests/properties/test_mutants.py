"""Every mistake of `mutants/` is noticed by the codec's tests, and the script that says so can say no."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.properties.mutants.run import PACKAGE, Mutant, Plan, complaint, complaints

PLANS = sorted((Path(__file__).parent / "mutants").glob("*.toml"))


def test_there_are_plans() -> None:
    assert "newline.toml" in [path.name for path in PLANS]


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_no_mutant_survives(path: Path) -> None:
    plan = Plan.read(path)
    assert len(plan.mutants) >= 12
    assert complaints(plan) == {}


def toy(project: Path) -> Plan:
    """A package of one function, and a test that looks at one of its two lines."""
    package = project / PACKAGE
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "errors.py").touch()
    (package / "toy.py").write_text("def double(x):\n    y = x +   x\n    return y\n\n\ndef unseen(x):\n    return y\n")
    tests = project / "tests"
    tests.mkdir()
    (tests / "helper.py").write_text("EXPECTED = 6\n")
    (tests / "test_toy.py").write_text(
        f"from tests.helper import EXPECTED\nfrom {PACKAGE}.toy import double\n\n\n"
        "def test_double():\n    assert double(3) == EXPECTED\n"
    )
    changes = {
        "killed": ("y = x + x", "y = x * x"),
        "survivor": ("def unseen(x):", "def unseen(x, z=0):"),
        "gone": ("y = x - x", "y = 0"),
        "ambiguous": ("return y", "return 0"),
        "no program": ("y = x + x", "y = ("),
    }
    mutants = [Mutant(name, "toy.py", find, replace, "a toy") for name, (find, replace) in changes.items()]
    return Plan(("tests/test_toy.py",), ("tests/helper.py",), tuple(mutants))


def test_survivors_and_stale_mutants_are_named(tmp_path: Path) -> None:
    wrong = complaints(toy(tmp_path), tmp_path)
    assert sorted(wrong) == ["ambiguous", "gone", "no program", "survivor"]
    assert wrong["survivor"] == "survived"
    assert wrong["gone"] == "no longer applies: its text stands 0 times in toy.py"
    assert wrong["ambiguous"] == "no longer applies: its text stands 2 times in toy.py"
    assert wrong["no program"].startswith("pytest exited 2")


def test_tests_that_fail_by_themselves_kill_nothing(tmp_path: Path) -> None:
    plan = toy(tmp_path)
    (tmp_path / "tests" / "helper.py").write_text("EXPECTED = 7\n")
    own = complaint(plan, None, tmp_path)
    assert own is not None and own.startswith("pytest exited 1")
    assert list(complaints(plan, tmp_path)) == ["(no mutant)"]


def test_the_tree_is_left_alone(tmp_path: Path) -> None:
    plan = toy(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    complaint(plan, plan.mutants[0], tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
