"""A journal gives events in order, waits for them, and in a file survives its writers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport.testing.transport_checks.journal import Event, FileJournal, MemoryJournal

EVENTS = [
    Event("began", "c", "m", "one", "1"),
    Event("error", "c", detail="FramingError"),
    Event("ended", "c", "m", "one"),
    Event("began", "c", "m", "\u2028\n", "'\u2028'"),
    Event("close", "c"),
]


@pytest.fixture(params=["memory", "file"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryJournal() if request.param == "memory" else FileJournal(tmp_path / "journal")


def test_events_come_back_in_order(journal: Any) -> None:
    assert journal.events() == []
    for event in EVENTS:
        journal.add(event)
    assert journal.events() == EVENTS
    assert journal.select("began", "close") == [EVENTS[0], EVENTS[3], EVENTS[4]]
    assert journal.select("began", key="one") == [EVENTS[0]]
    assert journal.select("ended", method="other") == []
    assert str(EVENTS[0]) == "began m one 1" and str(EVENTS[4]) == "close"


async def test_waiting_ends_with_the_event(journal: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:

        async def later() -> None:
            for event in EVENTS:
                await trio.sleep(1)
                journal.add(event)

        nursery.start_soon(later)
        assert await journal.wait("began", count=2) == EVENTS[3]
        assert 4 <= trio.current_time() < 4.1
        assert await journal.wait("began", key="one") == EVENTS[0]
    with trio.move_on_after(1) as scope:
        await journal.wait("done")
    assert scope.cancelled_caught


def test_two_processes_do_not_mix_their_lines(tmp_path: Path) -> None:
    program = (
        "import sys; from trio_mcp_transport.testing.transport_checks.journal import *\n"
        "one = FileJournal(sys.argv[1])\n"
        "for n in range(300): one.add(Event('began', sys.argv[2], 'x' * 500, str(n)))"
    )
    path = tmp_path / "journal"
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in "ab"]
    assert [writer.wait(30) for writer in writers] == [0, 0]
    events = FileJournal(path).events()
    for name in "ab":
        assert [event.key for event in events if event.connection == name] == [str(n) for n in range(300)]


def test_half_a_line_is_not_read_yet(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = FileJournal(path)
    journal.add(EVENTS[0])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    assert journal.events() == EVENTS[:1]
