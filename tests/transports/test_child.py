"""Ending a child: in the right stage, within its time, with everything it started, and nothing left behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport.errors import ConnectionClosed, ConnectionFailed
from trio_mcp_transport.transports.child import Child, ChildExit, ExitStage
from trio_mcp_transport.transports.spawn import spawn

SHORT = 0.05
LONG = 10.0


async def start(script: str, **options: Any) -> Child:
    return await spawn(["sh", "-c", script], **options)


async def line(child: Child) -> str:
    """Read what the child wrote first, which is short enough to come in one piece."""
    with trio.fail_after(LONG):
        return (await child.stdout.receive_some()).decode().strip()


def has_children() -> bool:
    """Return whether this process has children, zombies included."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie whose new parent is slow to reap it does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


async def gone(pid: int) -> None:
    """Wait until a process has ended; SIGKILL is sent when `shutdown` returns, and takes effect soon."""
    with trio.fail_after(LONG):
        while alive(pid):  # noqa: ASYNC110 - nobody reports the end of a process that is no child
            await trio.sleep(0.002)


@asynccontextmanager
async def bounded(seconds: float) -> AsyncIterator[None]:
    began = trio.current_time()
    yield
    assert trio.current_time() - began < seconds


@pytest.mark.requirement("M-IO-15", "L25-LC-11")
async def test_a_child_that_obeys_ends_when_its_input_ends() -> None:
    child = await spawn(["cat"])
    async with bounded(1.0):
        assert await child.shutdown() == ChildExit(0, ExitStage.INPUT_CLOSED)
    assert child.exit_status == 0
    assert not alive(child.pid)


@pytest.mark.requirement("M-IO-15", "L25-LC-11")
async def test_a_child_that_ignores_the_end_of_its_input_takes_sigterm() -> None:
    child = await spawn(["sleep", "60"])
    async with bounded(1.0):
        result = await child.shutdown(eof_grace=SHORT)
    assert result == ChildExit(-signal.SIGTERM, ExitStage.TERMINATED)


@pytest.mark.requirement("M-IO-15", "L25-LC-11")
async def test_a_child_that_handles_sigterm_keeps_its_own_exit_status() -> None:
    child = await start("trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done")
    assert await line(child) == "ready"
    assert await child.shutdown(eof_grace=SHORT) == ChildExit(5, ExitStage.TERMINATED)


@pytest.mark.requirement("M-IO-15", "L25-LC-11")
async def test_a_child_that_ignores_sigterm_takes_sigkill() -> None:
    child = await start("trap '' TERM; echo ready; while :; do sleep 0.01; done")
    assert await line(child) == "ready"
    async with bounded(2.0):
        result = await child.shutdown(eof_grace=SHORT, term_grace=SHORT)
    assert result == ChildExit(-signal.SIGKILL, ExitStage.KILLED)


async def test_a_child_that_had_ended_by_itself_says_so() -> None:
    child = await start("exit 7")
    assert await child.wait() == 7
    assert child.exit_status == 7
    assert await child.shutdown() == ChildExit(7, ExitStage.EXITED)
    assert await child.wait() == child.exit_status == 7


async def test_graces_of_zero_still_tell_the_truth() -> None:
    child = await spawn(["sleep", "60"])
    result = await child.shutdown(eof_grace=0, term_grace=0)
    assert result.stage in (ExitStage.TERMINATED, ExitStage.KILLED)
    assert not alive(child.pid)


async def test_a_stopped_child_is_woken_to_take_sigterm() -> None:
    child = await spawn(["cat"])
    os.kill(child.pid, signal.SIGSTOP)
    result = await child.shutdown(eof_grace=SHORT)
    assert result == ChildExit(-signal.SIGTERM, ExitStage.TERMINATED)


async def test_what_a_child_leaves_in_its_group_is_killed_after_a_clean_exit() -> None:
    child = await start("trap '' TERM; sleep 60 & echo $!; exec cat")
    grandchild = int(await line(child))
    assert alive(grandchild)
    assert await child.shutdown() == ChildExit(0, ExitStage.INPUT_CLOSED)
    await gone(grandchild)


async def test_what_a_crashed_child_leaves_in_its_group_is_killed() -> None:
    child = await start("sleep 60 & echo $!; kill -KILL $$")
    grandchild = int(await line(child))
    assert await child.wait() == -signal.SIGKILL
    assert await child.shutdown() == ChildExit(-signal.SIGKILL, ExitStage.EXITED)
    await gone(grandchild)


async def test_a_process_that_left_the_group_cannot_delay_the_end_by_holding_standard_error() -> None:
    child = await start("setsid sh -c 'echo $$; exec sleep 60' & exec cat", stderr="capture")
    escaped = int(await line(child))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.drain_stderr)
            async with bounded(2.0):
                assert await child.shutdown() == ChildExit(0, ExitStage.INPUT_CLOSED)
        assert alive(escaped)
    finally:
        os.kill(escaped, signal.SIGKILL)


@pytest.mark.parametrize("drained", [True, False])
async def test_output_that_nobody_reads_does_not_keep_a_child_from_ending(drained: bool) -> None:
    child = await start("cat; head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; echo bye >&2", stderr="capture")
    async with trio.open_nursery() as nursery:
        if drained:
            nursery.start_soon(child.drain_stderr)
        assert await child.shutdown() == ChildExit(0, ExitStage.INPUT_CLOSED)
    assert child.stderr_tail[-1].endswith("bye")


async def test_a_reader_at_work_during_the_shutdown_gets_everything() -> None:
    child = await start("cat; head -c 300000 /dev/zero")
    chunks = []
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            while chunk := await child.stdout.receive_some():
                chunks.append(chunk)

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await child.stdin.aclose()
        await child.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert await child.shutdown() == ChildExit(0, ExitStage.EXITED)
    assert len(b"".join(chunks)) == 300_000


async def test_a_cancelled_shutdown_finishes_within_its_graces() -> None:
    child = await start("trap '' TERM; echo ready; while :; do sleep 0.01; done", stderr="capture")
    assert await line(child) == "ready"
    async with bounded(2.0):
        with trio.CancelScope() as scope:
            scope.cancel()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child.drain_stderr)
                result = await child.shutdown(eof_grace=SHORT, term_grace=SHORT)
    assert result == ChildExit(-signal.SIGKILL, ExitStage.KILLED)
    assert not alive(child.pid)


async def test_a_shutdown_cancelled_on_the_way_finishes_too() -> None:
    child = await spawn(["sleep", "60"])
    results = []
    with trio.move_on_after(SHORT):
        results.append(await child.shutdown(eof_grace=2 * SHORT))
    assert results == [ChildExit(-signal.SIGTERM, ExitStage.TERMINATED)]


async def test_many_tasks_may_shut_down_and_wait_and_agree() -> None:
    child = await spawn(["sleep", "60"])
    results: list[object] = []

    async def end() -> None:
        results.append(await child.shutdown(eof_grace=SHORT))

    async def wait() -> None:
        results.append(await child.wait())

    async with trio.open_nursery() as nursery:
        for function in (wait, end, wait, end, wait):
            nursery.start_soon(function)
    expected = ChildExit(-signal.SIGTERM, ExitStage.TERMINATED)
    assert sorted(map(str, results)) == sorted(map(str, [expected] * 2 + [-signal.SIGTERM] * 3))
    assert await child.shutdown() == expected


async def test_a_cancelled_drain_is_taken_over() -> None:
    child = await start("echo early >&2; read line; echo late >&2", stderr="capture")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.drain_stderr)
        while not child.stderr_tail:  # noqa: ASYNC110 - a real process decides when
            await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    await child.shutdown()
    assert child.stderr_tail == ("early", "late")


async def failed(script: str, *, established: bool = True) -> ConnectionFailed:
    """Return the error of a child that ended by itself, as its owner would build it."""
    child = await start(script, stderr="capture")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.drain_stderr)
        assert await child.stdout.receive_some() == b""
        await child.settle()
        error = child.exit_error(established=established)
        await child.shutdown()
    return error


@pytest.mark.requirement("M-IO-17")
async def test_the_error_names_the_exit_status_and_the_last_lines() -> None:
    error = await failed("for i in $(seq 30); do echo line $i >&2; done; exit 3", established=False)
    assert type(error) is ConnectionFailed
    assert error.exit_status == 3
    assert error.stderr_tail == tuple(f"line {number}" for number in range(11, 31))
    assert str(error).startswith("'sh' exited with status 3; its last lines on standard error:\n  line 11\n")
    assert str(error).endswith("  line 30")


@pytest.mark.requirement("M-IO-17")
async def test_the_error_names_the_signal() -> None:
    error = await failed("kill -KILL $$")
    assert type(error) is ConnectionClosed
    assert error.exit_status == -signal.SIGKILL
    assert str(error) == "'sh' was killed by SIGKILL"
    error = await failed(f"kill -{signal.SIGRTMIN + 3} $$")
    assert str(error) == f"'sh' was killed by signal {signal.SIGRTMIN + 3}"


async def test_the_error_of_a_child_that_lives_on_without_output_says_so() -> None:
    child = await start("exec >&-; exec sleep 60")
    assert await child.stdout.receive_some() == b""
    await child.settle(SHORT)
    error = child.exit_error()
    assert str(error) == "'sh' closed its standard output and still runs"
    assert error.exit_status is None
    await child.shutdown(eof_grace=0)


async def test_two_hundred_children_leave_no_process_descriptor_or_thread() -> None:
    async def cycle() -> None:
        child = await spawn(["cat"], stderr="capture")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.drain_stderr)
            await child.pair.send_all(b"x")
            await child.pair.receive_some()
            assert await child.shutdown() == ChildExit(0, ExitStage.INPUT_CLOSED)

    await cycle()
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    tasks = trio.lowlevel.current_statistics().tasks_living
    for _ in range(200):
        await cycle()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert not has_children()
