"""What the pages for newcomers say is true: every program in them runs, and CI calls the commands of README.rst.

A page holds programs as ``code-block:: python`` with a ``:caption:``, the name of the file.  All programs of a page
are written into one folder, and each is run there with an empty standard input.  Where a ``code-block:: text`` with
the caption ``output of NAME`` follows, that is exactly what the program prints.  What follows a ``$`` in a
``code-block:: console`` is run by a shell, and prints exactly what stands below it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.package_tree import ROOT

PAGES = ("README.rst", "docs/tutorial.rst")
SESSIONS = ("docs/guides/command_line.rst",)
BLOCK = re.compile(
    r"^\.\. code-block:: (?P<language>\w+)\n"
    r"(?P<options>(?:[ ]+:[\w-]+:.*\n)*)"
    r"\n"
    r"(?P<text>(?:[ ]+.*\n|\n)+)",
    re.M,
)


@dataclass(frozen=True)
class Block:
    """One code block of a page."""

    language: str
    caption: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return the code blocks of a page in reStructuredText, in order."""
    found = []
    for match in BLOCK.finditer(page):
        caption = re.search(r":caption: (.*)", match["options"])
        text = textwrap.dedent(match["text"]).strip("\n") + "\n"
        found.append(Block(match["language"], caption[1].strip() if caption else "", text))
    return found


def outcome(page: str, name: str, folder: Path) -> tuple[int, str, str]:
    """Write the programs of a page into a folder, run one, and return its exit status, output and errors."""
    for block in blocks(page):
        if block.language == "python":
            (folder / block.caption).write_text(block.text, encoding="utf-8")
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-X", "dev", "-W", "error", name]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def expected_output(page: str, name: str) -> str | None:
    """Return what a page says that a program prints, or None where it says nothing."""
    told = [block.text for block in blocks(page) if block.caption == f"output of {name}"]
    return told[0] if told else None


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def programs() -> list[tuple[str, str]]:
    return [(page, block.caption) for page in PAGES for block in blocks(read(page)) if block.language == "python"]


@pytest.mark.parametrize(("page", "name"), programs())
def test_program_runs_as_told(page: str, name: str, tmp_path: Path) -> None:
    status, output, errors = outcome(read(page), name, tmp_path)
    assert (status, errors) == (0, "")
    told = expected_output(read(page), name)
    if told is not None:
        assert output == told


def session(text: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with what it prints."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:].strip(), ""))
        else:
            command, printed = found.pop()
            found.append((command, printed + line))
    return found


def shell(command: str) -> str:
    """Run a command as somebody would who installed the package, and return all it prints."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def commands() -> list[tuple[str, str]]:
    texts = [block.text for page in SESSIONS for block in blocks(read(page)) if block.language == "console"]
    return [pair for text in texts for pair in session(text)]


@pytest.mark.parametrize(("command", "printed"), commands())
def test_command_prints_what_is_told(command: str, printed: str) -> None:
    assert shell(command) == printed


def test_every_guide_with_commands_is_run() -> None:
    guides = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.rst")}
    assert {page for page in guides if "code-block:: console" in read(page)} == set(SESSIONS)
    assert len(commands()) > 3


def test_a_session_is_read() -> None:
    assert session("$ a b\none\n two\n$ c\n$ d\n\n") == [("a b", "one\n two\n"), ("c", ""), ("d", "\n")]


def test_no_program_is_passed_over() -> None:
    for page in PAGES:
        found = [block for block in blocks(read(page)) if block.language == "python"]
        assert len(found) == read(page).count("code-block:: python") > 0
        assert all(re.fullmatch(r"\w+\.py", block.caption) for block in found)
        told = [block.caption.removeprefix("output of ") for block in blocks(read(page)) if block.language == "text"]
        assert set(told) <= {block.caption for block in found}


def test_ci_calls_the_commands_of_the_readme() -> None:
    commands = [block.text for block in blocks(read("README.rst")) if block.language == "sh"]
    run, test = (command.removesuffix("\n") for command in commands)
    lines = [line.strip() for line in read(".ci/run").splitlines()]
    assert "\n" not in run + test
    assert run in lines
    assert f"{test} || tests=$?" in lines
    assert run.startswith("python3 -m venv ")
    assert run.endswith("trio-mcp demo")
    assert test.startswith("python3 -m venv ")


PAGE = """
Title
=====

.. code-block:: python
   :caption: hello.py

   import sys

   print("hello", sys.stdin.read())

.. code-block:: text
   :caption: output of hello.py

   hello

Text.

.. code-block:: python
   :caption: bad.py

   import hello
   raise SystemExit(3)
"""


def test_blocks_are_read_and_run(tmp_path: Path) -> None:
    assert [(block.language, block.caption) for block in blocks(PAGE)] == [
        ("python", "hello.py"),
        ("text", "output of hello.py"),
        ("python", "bad.py"),
    ]
    assert outcome(PAGE, "hello.py", tmp_path) == (0, "hello \n", "")
    assert expected_output(PAGE, "hello.py") == "hello\n"
    assert outcome(PAGE, "bad.py", tmp_path) == (3, "hello \n", "")
