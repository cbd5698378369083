"""A footprint sees every kind of thing that can be left behind, and nothing where nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import trio

from trio_mcp_transport.testing import Footprint


def test_nothing_done_leaves_nothing() -> None:
    assert Footprint.take().left_by(Footprint.take()) == []


def test_an_open_descriptor_is_left_and_a_closed_one_is_gone() -> None:
    before = Footprint.take()
    fd = os.open(os.devnull, os.O_RDONLY)
    during = Footprint.take()
    os.close(fd)
    assert before.left_by(during) == [f"descriptor {fd} (/dev/null) was left"]
    assert during.left_by(before) == [f"descriptor {fd} (/dev/null) is gone"]


def test_a_descriptor_that_leads_elsewhere_is_seen() -> None:
    first, second = os.open(os.devnull, os.O_RDONLY), os.open("/", os.O_RDONLY)
    before = Footprint.take()
    os.dup2(second, first)
    after = Footprint.take()
    os.close(first)
    os.close(second)
    assert before.left_by(after) == [f"descriptor {first} (/) was left"]


def test_a_child_is_left_until_it_is_reaped() -> None:
    before = Footprint.take()
    child = subprocess.Popen([sys.executable, "-S", "-c", ""], stdin=subprocess.DEVNULL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    zombie = Footprint.take()
    child.wait()
    assert before.left_by(zombie) == [f"child process {child.pid} was left"]
    assert before.left_by(Footprint.take()) == []


def test_a_thread_is_left_unless_threads_do_not_count() -> None:
    before = Footprint.take()
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="stray")
    thread.start()
    during = Footprint.take()
    end.set()
    thread.join()
    assert before.left_by(during) == ["thread stray was left"]
    assert before.left_by(during, threads=False) == []


def test_a_changed_blocking_mode_is_seen() -> None:
    before = Footprint.take()
    kept = os.dup(0)
    reader, writer = os.pipe()
    os.dup2(reader, 0)
    os.set_blocking(0, False)
    during = Footprint.take()
    os.dup2(kept, 0)
    for fd in (kept, reader, writer):
        os.close(fd)
    assert "descriptor 0 was made non-blocking" in before.left_by(during)


async def test_a_task_is_left() -> None:
    async with trio.open_nursery() as nursery:
        before = Footprint.take()
        nursery.start_soon(trio.sleep_forever)
        assert before.left_by(Footprint.take()) == ["task trio.sleep_forever was left"]
        nursery.cancel_scope.cancel()
    assert before.left_by(Footprint.take()) == []


def test_outside_of_trio_there_are_no_tasks() -> None:
    assert Footprint.take().tasks == frozenset()
