"""Learning that a child ended, while it keeps its number until it is let go of."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
import trio
import trio.testing

from trio_mcp_transport.transports.exit_watch import ExitWatch


async def start(*command: str) -> tuple[trio.Process, ExitWatch]:
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE)
    return process, ExitWatch(process)


async def test_an_ended_process_is_seen_and_stays_until_it_is_reaped() -> None:
    process, watch = await start("sh", "-c", "exit 3")
    assert await watch.wait() == 3
    assert watch.poll() == 3
    os.kill(process.pid, 0)  # A zombie still has its number.
    assert watch.reap() == 3
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    assert await watch.wait() == watch.poll() == watch.reap() == 3
    await process.stdin.aclose()  # type: ignore[union-attr]


async def test_a_signal_is_a_negative_status_and_every_waiter_learns_it() -> None:
    process, watch = await start("cat")
    assert watch.poll() is None
    statuses = []

    async def wait() -> None:
        statuses.append(await watch.wait())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        process.kill()
    assert statuses == [-signal.SIGKILL] * 3
    watch.reap()
    await process.stdin.aclose()  # type: ignore[union-attr]


async def test_a_cancelled_wait_leaves_the_others_waiting() -> None:
    process, watch = await start("cat")
    with trio.move_on_after(0.01) as scope:
        await watch.wait()
    assert scope.cancelled_caught
    await process.stdin.aclose()  # type: ignore[union-attr]
    assert await watch.wait() == 0
    watch.reap()


async def test_a_process_that_somebody_else_reaped_has_ended_too() -> None:
    process, watch = await start("true")
    await watch.wait()
    os.waitpid(process.pid, 0)  # noqa: ASYNC222 - it has ended, so that this cannot block
    assert watch.poll() == 0
    assert await watch.wait() == 0
    watch.reap()
    await process.stdin.aclose()  # type: ignore[union-attr]


async def test_without_process_descriptors_the_process_is_waited_for_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    process, watch = await start("cat")
    assert watch.poll() is None
    await process.stdin.aclose()  # type: ignore[union-attr]
    assert await watch.wait() == 0
    assert watch.reap() == 0
