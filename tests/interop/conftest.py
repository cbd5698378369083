"""What the interop tests share: a folder of their own per test, and the proof that no process of it is left."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.wire_record import WireRecord

PATIENCE = 3.0
"""Seconds a peer's helpers have to end after their client has: Node takes some tenths."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    """Return the working directory of every peer of the test; afterwards no process may have it.

    A working directory is inherited by whatever a peer starts, daemons included, and is seen from outside.
    """
    yield tmp_path
    deadline = time.monotonic() + PATIENCE
    while (left := processes_in(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == {}


def processes_in(folder: Path) -> dict[int, str]:
    """Return the command line of each process whose working directory is inside a folder, zombies excluded."""
    found = {}
    for process in Path("/proc").iterdir():
        try:
            inside = Path(os.readlink(process / "cwd")).is_relative_to(folder)
            command = (process / "cmdline").read_bytes()
        except OSError:  # no process, one that has just ended, a zombie, or another user's
            continue
        if inside:
            found[int(process.name)] = command.replace(b"\0", b" ").decode("utf-8", "replace")
    return found


@pytest.fixture
def record(home: Path) -> WireRecord:
    """Return the record of the test's conversation."""
    return WireRecord(home / "wire.jsonl")
