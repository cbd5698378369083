"""Break the codecs on purpose, one line at a time, and fail when the tests do not notice.

Each `*.toml` beside this file names tests and mutants::

    tests = [...]                  # what has to notice, relative to the project
    helpers = [...]                # what those tests import from the test tree

    [[mutant]]
    name = "..."
    file = "wire/newline.py"       # in the package
    find = "..."                   # stands there exactly once; white space is compared loosely
    replace = "..."
    why = "..."                    # what a user would suffer

Run it as ``python tests/properties/mutants/run.py``.  Must never touch the tree it is run from: every mutant lives in a
temporary copy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
PACKAGE = "trio_mcp_transport"
PROCESSES = 2
EXAMPLES = 25
LONGEST = 30.0
"""Seconds until a mutant that hangs counts as noticed."""

# The examples are the same in every run, so that a mutant does not survive by bad luck.  The assertion keeps an
# installed package from being tested in place of the copy.
CONFTEST = f"""
from pathlib import Path
from hypothesis import Phase, settings
import {PACKAGE}.errors as probe
assert Path(probe.__file__).is_relative_to(Path(__file__).parent), probe.__file__
settings.register_profile("mutants", derandomize=True, deadline=None, max_examples={EXAMPLES}, database=None,
                          phases=[Phase.explicit, Phase.generate])
settings.load_profile("mutants")
"""


class NotApplicable(Exception):
    """The text a mutant replaces is not there exactly once."""


@dataclass(frozen=True)
class Mutant:
    """One mistake, and the tests that have to notice it."""

    name: str
    file: str
    find: str
    replace: str
    why: str

    def apply(self, package: Path) -> None:
        """Make the mistake in a copy of the package.

        Raises:
            NotApplicable: The text is missing, or stands there more than once.
        """
        path = package / self.file
        source = path.read_text(encoding="utf-8")
        pattern = re.compile(r"\s+".join(map(re.escape, self.find.split())))
        places = list(pattern.finditer(source))
        if len(places) != 1:
            raise NotApplicable(f"its text stands {len(places)} times in {self.file}")
        (place,) = places
        path.write_text(source[: place.start()] + self.replace.rstrip(" ") + source[place.end() :], encoding="utf-8")


@dataclass(frozen=True)
class Plan:
    """What one TOML file says."""

    tests: tuple[str, ...]
    helpers: tuple[str, ...]
    mutants: tuple[Mutant, ...]

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read a TOML file; a mutant without a reason, or with anything unknown, is refused."""
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(tuple(data["tests"]), tuple(data["helpers"]), tuple(Mutant(**entry) for entry in data["mutant"]))


def complaint(plan: Plan, mutant: Mutant | None, project: Path = PROJECT) -> str | None:
    """Return why a mutant was not killed, or None; without a mutant, why the tests fail by themselves, or None."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        shutil.copytree(project / PACKAGE, copy / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
        for name in (*plan.tests, *plan.helpers):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project / name, copy / name)
        (copy / "conftest.py").write_text(CONFTEST)
        (copy / "pytest.ini").write_text("[pytest]\n")
        if mutant is not None:
            try:
                mutant.apply(copy / PACKAGE)
            except NotApplicable as error:
                return f"no longer applies: {error}"
        status, output = _pytest(copy, plan.tests)
    expected = 0 if mutant is None else 1
    if status == expected:
        return None
    if status == 0:
        return "survived"
    # Anything but failed tests, a syntax error for one, would kill any mutant and prove nothing.
    return f"pytest exited {status}:\n{output}"


def _pytest(folder: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    hidden = ("COVERAGE", "PYTEST", "PYTHON", "HYPOTHESIS")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    environment |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "--import-mode=importlib"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        return 1, f"hung for {LONGEST} s"
    return done.returncode, done.stdout + done.stderr


def complaints(plan: Plan, project: Path = PROJECT) -> dict[str, str]:
    """Return what is wrong, by the name of the mutant; empty when tests that pass by themselves killed every one."""
    own = complaint(plan, None, project)
    if own is not None:
        return {"(no mutant)": own}
    with ThreadPoolExecutor(PROCESSES) as pool:
        answers = list(pool.map(lambda mutant: complaint(plan, mutant, project), plan.mutants))
    return {mutant.name: answer for mutant, answer in zip(plan.mutants, answers, strict=True) if answer}


def main() -> None:
    """Run every plan beside this file; exit 1 when a mutant was not killed."""
    failed = False
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        plan = Plan.read(path)
        wrong = complaints(plan)
        failed = failed or bool(wrong)
        print(f"{path.name}: {len(plan.mutants)} mutants, {len(wrong)} not killed")
        for name, why in wrong.items():
            print(f"  {name}: {why}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
