"""Problem 12: a child that floods standard error blocks, and what it said last is lost.

The published test: 200 MB to standard error, also without newlines, before the first answer; the answer arrives,
memory is bounded, and the last lines can be read; with each of the four policies.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest

from tests.processes import PROGRAMS, ROOT

MIB = 1 << 20
FLOOD = 200
SLACK = 16 * MIB
"""What a client may grow by besides: modules imported late, the answer, one read of 64 KiB."""


def run_client(policy: str, shape: str) -> tuple[dict[str, Any], int]:
    """Run a client of the flooding server; return what it reports, and how many bytes its standard error got."""
    server = [sys.executable, str(PROGRAMS / "flood.py"), str(FLOOD), shape]
    command = [sys.executable, str(PROGRAMS / "stderr_client.py"), policy, *server]
    client = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    received: list[int] = []
    text = bytearray()

    def count() -> None:
        assert client.stderr is not None
        while data := client.stderr.read1(MIB):
            received.append(len(data))
            text.extend(data)
            del text[:-4096]

    reader = threading.Thread(target=count)
    reader.start()
    try:
        assert client.stdout is not None
        output = client.stdout.read()
        assert client.wait(20) == 0, text.decode()
    finally:
        client.kill()
        client.wait()
        reader.join()
        client.stdout.close()  # type: ignore[union-attr]  # it is a pipe
        client.stderr.close()  # type: ignore[union-attr]  # it is a pipe
    return json.loads(output), sum(received)


@pytest.mark.parametrize("shape", ["lines", "solid"])
@pytest.mark.requirement("M-IO-07")
def test_capture_keeps_the_last_lines_and_nothing_else(shape: str) -> None:
    report, inherited = run_client("capture", shape)
    assert report["answer"] == "the flood"
    assert report["tail"][-2:] == ["the flood is over", "serving now"]
    assert report["growth"] < SLACK
    assert inherited == 0


@pytest.mark.parametrize("shape", ["lines", "solid"])
def test_callback_gets_everything_in_bounded_pieces(shape: str) -> None:
    report, inherited = run_client("callback", shape)
    assert report["answer"] == "the flood"
    assert report["called"]["last"] == "serving now"
    assert report["called"]["characters"] >= FLOOD * MIB * 1023 // 1024
    assert report["called"]["longest"] <= 8192
    assert report["growth"] < SLACK
    assert inherited == 0


@pytest.mark.parametrize("shape", ["lines", "solid"])
def test_devnull_throws_it_away(shape: str) -> None:
    report, inherited = run_client("devnull", shape)
    assert report["answer"] == "the flood"
    assert report["tail"] == []
    assert report["growth"] < SLACK
    assert inherited == 0


@pytest.mark.parametrize("shape", ["lines", "solid"])
def test_inherit_is_the_standard_error_of_this_program(shape: str) -> None:
    report, inherited = run_client("inherit", shape)
    assert report["answer"] == "the flood"
    assert report["tail"] == []
    assert report["growth"] < SLACK
    assert inherited >= FLOOD * MIB
