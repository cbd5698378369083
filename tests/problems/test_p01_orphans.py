"""User problem 1: a stdio server whose parent died goes away at once, cleans up, and costs nothing until then."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from tests.processes import PROGRAMS, alive, cpu_seconds, journal, noted, running, server, until

PR_SET_CHILD_SUBREAPER = 36
PUBLISHED = 1.0
"""Seconds a server may outlive its parent."""


@pytest.fixture
def adopting() -> Iterator[None]:
    """Let this process inherit orphans, so that it learns their exit status (prctl(2))."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


async def exit_of_orphan(pid: int) -> tuple[int, float]:
    """Return the status of an adopted process, and the moment of its end."""
    with trio.fail_after(10):
        while True:
            with suppress(ChildProcessError):  # Not handed over yet by the parent that is just dying.
                found, status = os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - does not wait
                if found:
                    return os.waitstatus_to_exitcode(status), time.monotonic()
            await trio.sleep(0.002)


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_server_whose_parent_is_killed_cleans_up_and_exits(era: str, adopting: None, tmp_path: Path) -> None:
    parent = [sys.executable, str(PROGRAMS / "parent.py"), era, "echo", *server(tmp_path, "--embedded")]
    async with running(parent, tmp_path) as middle:
        pid = int(await middle.line())
        before = cpu_seconds(pid)
        await trio.sleep(1.0)
        assert alive(pid)
        assert cpu_seconds(pid) - before <= 0.01
        killed = time.monotonic()
        os.kill(middle.pid, signal.SIGKILL)
        status, ended = await exit_of_orphan(pid)
    assert ended - killed < PUBLISHED
    assert status == 0
    assert [entry["event"] for entry in journal(tmp_path)][-3:] == ["left", "background ended", "finally"]


async def test_a_server_with_a_call_in_flight_does_not_outlive_its_parent_either(
    adopting: None, tmp_path: Path
) -> None:
    parent = [sys.executable, str(PROGRAMS / "parent.py"), "modern", "forever", *server(tmp_path, "--embedded")]
    async with running(parent, tmp_path) as middle:
        pid = int(await middle.line())
        await noted(tmp_path, "began")
        killed = time.monotonic()
        os.kill(middle.pid, signal.SIGKILL)
        status, ended = await exit_of_orphan(pid)
    assert ended - killed < PUBLISHED
    assert status == 0
    assert journal(tmp_path, "cleaned up")
    assert journal(tmp_path)[-1]["event"] == "finally"
    await until(lambda: not alive(pid))
