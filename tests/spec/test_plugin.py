"""The machinery of the spec map finds unknown ids, skipped tests and missing tests, each shown on a tiny tree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.spec import plugin
from tests.spec.generate import collect_proofs

pytest_plugins = ["pytester"]

COLUMNS = (
    'revision="2026-07-28"\nrole="both"\nlevel="MUST"\nown="enforce"\nscope="core"\ntext="Do it."\nsource="basic"\n'
)
HEAD = "import pytest\nrequirement = pytest.mark.requirement\n"
PROVEN = HEAD + '@requirement("M-XX-01")\ndef test_a(): pass\n'


@pytest.fixture
def tree(pytester: pytest.Pytester) -> pytest.Pytester:
    """Give a project with the rows M-XX-01 and M-XX-02 and a map that names ``tests/test_it.py::test_a``."""
    write(pytester, "tests/spec/rows.toml", f"[M-XX-01]\n{COLUMNS}[M-XX-02]\n{COLUMNS}")
    write(pytester, "docs/spec_map.rst", "``tests/test_it.py::test_a``\n")
    write(pytester, "pytest.ini", "[pytest]\ntestpaths = tests\n")
    return pytester


def write(tree: pytest.Pytester, name: str, text: str) -> None:
    path = tree.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(tree: pytest.Pytester, *args: str) -> pytest.RunResult:
    return tree.runpytest_inprocess("-p", "no:cacheprovider", *args, plugins=[plugin])


def test_a_proven_tree_passes(tree: pytest.Pytester) -> None:
    write(tree, "tests/test_it.py", PROVEN + "@pytest.mark.skip\ndef test_without_mark(): pass\n")
    result = run(tree)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*spec map*")


def test_an_unknown_id_stops_the_session(tree: pytest.Pytester) -> None:
    write(tree, "tests/test_it.py", PROVEN + '@requirement("M-XX-02", "M-XX-99")\ndef test_b(): pass\n')
    result = run(tree, "-k", "test_a")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*tests/test_it.py::test_b: unknown requirement 'M-XX-99'"])


def test_a_mark_without_ids_stops_the_session(tree: pytest.Pytester) -> None:
    write(tree, "tests/test_it.py", HEAD + "@requirement()\ndef test_a(): pass\n")
    assert run(tree).ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(
    ("decoration", "body", "why"),
    [
        ("@pytest.mark.skip(reason='no time')", "pass", "no time"),
        ("@pytest.mark.skipif(True, reason='no disk')", "pass", "no disk"),
        ("", "pytest.skip('no luck')", "no luck"),
        ("@pytest.mark.xfail", "assert False", "expected to fail"),
        ("@pytest.mark.parametrize('n', [1, pytest.param(2, marks=pytest.mark.skip('odd'))])", "pass", "odd"),
    ],
)
def test_a_skipped_proof_fails_the_session(tree: pytest.Pytester, decoration: str, body: str, why: str) -> None:
    arguments = "n" if "parametrize" in decoration else ""
    mark = '@requirement("M-XX-01")'
    write(tree, "tests/test_it.py", f"{HEAD}{mark}\n{decoration}\ndef test_a({arguments}): {body}\n")
    for args in ((), ("tests/test_it.py",), ("-k", "test_a")):
        result = run(tree, *args)
        assert result.ret == pytest.ExitCode.TESTS_FAILED, args
        result.stdout.fnmatch_lines([f"skipped: tests/test_it.py::test_a should prove M-XX-01 (*{why})"])


@pytest.mark.parametrize(
    "source",
    [
        "def test_b(): pass\n",
        PROVEN.replace("test_a", "test_renamed"),
        "import pytest\npytest.skip('not here', allow_module_level=True)\ndef test_a(): pass\n",
    ],
)
def test_a_named_test_that_does_not_run_fails_a_full_run(tree: pytest.Pytester, source: str) -> None:
    write(tree, "tests/test_it.py", source)
    write(tree, "tests/test_other.py", "def test_b(): pass\n")
    for args in ((), ("tests",), (".",)):
        result = run(tree, *args)
        assert result.ret == pytest.ExitCode.TESTS_FAILED, args
        result.stdout.fnmatch_lines(["did not run: tests/test_it.py::test_a is named in docs/spec_map.rst"])


@pytest.mark.parametrize("args", [("tests/test_other.py",), ("-k", "test_b"), ("--ignore", "tests/test_it.py")])
def test_a_partial_run_is_judged_by_what_ran(tree: pytest.Pytester, args: tuple[str, ...]) -> None:
    write(tree, "tests/test_it.py", PROVEN)
    write(tree, "tests/test_other.py", "def test_b(): pass\n")
    assert run(tree, *args).ret == pytest.ExitCode.OK


def test_a_full_run_needs_the_page(tree: pytest.Pytester) -> None:
    write(tree, "tests/test_it.py", PROVEN)
    (tree.path / "docs/spec_map.rst").unlink()
    result = run(tree)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["missing: docs/spec_map.rst"])


@pytest.mark.parametrize(
    "text",
    [
        "not TOML",
        f"[M-XX-01]\n{COLUMNS}[M-XX-01]\n{COLUMNS}",
        f"[M-XX-01]\n{COLUMNS.replace('core', 'moon')}",
        f"[M-XX-01]\n{COLUMNS}colour=1\n",
        "[M-XX-01]\nlevel='MUST'\n",
    ],
)
def test_bad_rows_stop_the_session(tree: pytest.Pytester, text: str) -> None:
    write(tree, "tests/spec/rows.toml", text)
    write(tree, "tests/test_it.py", PROVEN)
    assert run(tree).ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(
    ("bodies", "outcome"),
    [
        (("pass", "pass"), "passed"),
        (("pass", "pytest.skip('')"), "skipped"),
        (("pytest.skip('')", "pass"), "skipped"),
        (("pytest.skip('')", "assert False"), "failed"),
        (("assert False", "pytest.skip('')"), "failed"),
    ],
)
def test_the_worst_outcome_of_a_test_counts(tree: pytest.Pytester, bodies: tuple[str, str], outcome: str) -> None:
    marks = '@requirement("M-XX-01", "M-XX-02")\n@pytest.mark.parametrize("first", [True, False])\n'
    body = f"    if first: {bodies[0]}\n    else: {bodies[1]}\n"
    write(tree, "tests/test_it.py", f"{PROVEN}{marks}def test_b(first):\n{body}")
    run(tree, "--requirements-json=out.json")
    assert json.loads((tree.path / "out.json").read_text()) == {
        "M-XX-01": {"tests/test_it.py::test_a": "passed", "tests/test_it.py::test_b": outcome},
        "M-XX-02": {"tests/test_it.py::test_b": outcome},
    }


def test_the_generator_collects_marks(tree: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k nothing")
    write(tree, "tests/test_it.py", PROVEN)
    assert collect_proofs(Path(tree.path)) == {"M-XX-01": ["tests/test_it.py::test_a"]}


def test_the_generator_refuses_a_tree_that_cannot_be_collected(tree: pytest.Pytester) -> None:
    write(tree, "tests/test_it.py", PROVEN + "import no_such_module\n")
    with pytest.raises(RuntimeError, match="no_such_module"):
        collect_proofs(Path(tree.path))
