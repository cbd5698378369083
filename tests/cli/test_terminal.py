"""Messages on one line, and streams that are gone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.commands import ENVIRONMENT
from trio_mcp_transport.cli.terminal import complain, one_line, tell

PROGRAM = "from trio_mcp_transport.cli.terminal import write_out, tell; "


def run(code: str, **options: int) -> tuple[int, str, str]:
    """Run code in an interpreter of its own."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM + code]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    done = subprocess.run(command, env=ENVIRONMENT, timeout=30, check=False, **options)
    return done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("one", "one"),
        ("one\n  two\n", "one two"),
        ("one\r\ntwo\n\nthree\nfour", "one … four"),
    ],
)
def test_one_line(text: str, told: str) -> None:
    assert one_line(text) == told


def test_a_complaint_names_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    complain(ValueError("first\nlast"))
    assert capsys.readouterr().err == "trio-mcp: first last\n"


def test_nobody_reads_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as broken, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", broken)
        tell("x" * 100_000)
        patch.setattr(sys, "stderr", None)
        tell("nobody")
        patch.undo()
        # What is stuck in its buffer must not be flushed again by the test itself.
        os.dup2(os.open(os.devnull, os.O_WRONLY), broken.fileno())


def test_bytes_arrive_as_they_are() -> None:
    assert run(r"print(write_out(b'\xc3\xa9\n'), end='')") == (0, "é\nTrue", "")


def test_a_reader_that_is_gone_costs_one_line_and_no_traceback() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    told = "trio-mcp: standard output cannot be written: Broken pipe\n"
    assert run("raise SystemExit(write_out(b'x' * 1000000))", stdout=theirs) == (0, "", told)
    os.close(theirs)


def test_a_closed_standard_output_is_told() -> None:
    code = "import sys; sys.stdout = None; raise SystemExit(write_out(b'x'))"
    assert run(code) == (0, "", "trio-mcp: standard output cannot be written: it is closed\n")
