"""User problem 8: whatever makes a caller leave, its handler is cancelled, cleans up, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import attrs
import pytest
import trio
import trio.testing

from tests.processes import PROGRAMS, alive, journal, noted, running, server, until
from trio_mcp_transport import (
    CancelCause,
    Client,
    DeadlineExceeded,
    Deadlines,
    Handlers,
    MessageContext,
    Request,
    ServerInfo,
    StdioClientTransport,
    memory_transports,
    open_client,
    run_client,
    serve,
)

SOON = 0.1
"""Published: seconds from the caller's leaving to the handler's cancellation."""
SPARE = 3.0
"""Where two processes share a busy machine."""
CALLS = 1000

every_era = pytest.mark.parametrize("era", ["modern", "legacy"])


@attrs.define
class Seen:
    """What the handlers of a memory server lived through, with Trio's clock."""

    began: int = 0
    cancelled: list[tuple[float, CancelCause | None]] = attrs.field(factory=list)
    cleaned_up: int = 0

    async def handle(self, request: Request, context: MessageContext) -> Any:
        if request.method == "pause":
            await trio.sleep(1)
        if request.method != "forever":
            return {"tasks": trio.lowlevel.current_statistics().tasks_living}
        self.began += 1
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled.append((trio.current_time(), context.cancel_cause))
            with trio.move_on_after(1, shield=True):
                await trio.lowlevel.checkpoint()
            self.cleaned_up += 1


class Leave(Protocol):
    """One way for a caller to leave a call that never ends; ``gone`` is called at the moment it does."""

    def __call__(self, client: Client, began: Callable[[], Awaitable[None]], gone: Callable[[], None]) -> Any: ...


async def by_cancel_scope(client: Client, began: Callable[[], Awaitable[None]], gone: Callable[[], None]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.request, "forever")
        await began()
        gone()
        nursery.cancel_scope.cancel()


async def by_the_callers_deadline(
    client: Client, began: Callable[[], Awaitable[None]], gone: Callable[[], None]
) -> None:
    with pytest.raises(trio.TooSlowError) as caught:
        with trio.fail_after(1.0):
            await client.request("forever")
    gone()
    assert type(caught.value) is trio.TooSlowError


async def by_the_librarys_deadline(
    client: Client, began: Callable[[], Awaitable[None]], gone: Callable[[], None]
) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        await client.request("forever", deadlines=Deadlines(total=1.0))
    gone()
    assert caught.value.deadline == "total"


async def by_leaving_an_exchange(
    client: Client, began: Callable[[], Awaitable[None]], gone: Callable[[], None]
) -> None:
    async with client.open_exchange("forever"):
        await began()
        gone()


async def by_closing_the_client(client: Client, began: Callable[[], Awaitable[None]], gone: Callable[[], None]) -> None:
    async with trio.open_nursery() as nursery:
        exchange = client.open_exchange("forever")
        await exchange.__aenter__()
        await began()
        gone()
        nursery.start_soon(client.aclose)


every_way = pytest.mark.parametrize(
    "leave",
    [
        by_cancel_scope,
        by_the_callers_deadline,
        by_the_librarys_deadline,
        by_leaving_an_exchange,
        by_closing_the_client,
    ],
)


async def in_memory(era: Any, use: Callable[[Client, Seen], Awaitable[None]]) -> None:
    """Use a client of a memory server, both in this process."""
    seen = Seen()
    ours, theirs = memory_transports()
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: serve(Handlers(seen.handle), ours, server_info=ServerInfo("memory", "1"), shutdown=stop)
        )
        async with open_client(theirs, era=era, nursery=nursery) as client:
            await use(client, seen)
        stop.set()


@every_era
@every_way
async def test_leaving_cancels_the_handler_in_memory(leave: Leave, era: str, autojump_clock: Any) -> None:
    async def use(client: Client, seen: Seen) -> None:
        left = []

        async def began() -> None:
            await trio.testing.wait_all_tasks_blocked()
            assert seen.began == 1

        await leave(client, began, lambda: left.append(trio.current_time()))
        await trio.testing.wait_all_tasks_blocked()
        ((cancelled_at, cause),) = seen.cancelled
        assert cancelled_at - left[0] < SOON
        assert cause is CancelCause.PEER
        assert seen.cleaned_up == 1

    await in_memory(era, use)


@every_era
async def test_a_client_that_dies_cancels_the_handler_in_memory(era: Any, autojump_clock: Any) -> None:
    seen = Seen()
    ours, theirs = memory_transports()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(Handlers(seen.handle), ours, server_info=ServerInfo("memory", "1")))
        async with trio.open_nursery() as clients:
            client = await clients.start(lambda task_status: run_client(theirs, era=era, task_status=task_status))
            clients.start_soon(client.request, "forever")
            await trio.testing.wait_all_tasks_blocked()
            died = trio.current_time()
            clients.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        ((cancelled_at, cause),) = seen.cancelled
        assert cancelled_at - died < SOON
        assert cause is CancelCause.CLOSED
        assert seen.cleaned_up == 1
        nursery.cancel_scope.cancel()


async def test_a_thousand_cancelled_calls_in_memory_leave_no_task(autojump_clock: Any) -> None:
    async def use(client: Client, seen: Seen) -> None:
        await ask_a_thousand_times(client, "pause")
        before = (await client.request("tasks"))["tasks"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_a_thousand_times, client, "forever")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        causes = {cause for _, cause in seen.cancelled}
        assert causes == {CancelCause.PEER}
        assert 100 <= seen.began == seen.cleaned_up < CALLS
        assert (await client.request("tasks"))["tasks"] <= before

    await in_memory("modern", use)


async def ask_a_thousand_times(client: Client, method: str) -> None:
    """Call at once; a server that was busy keeps its idle workers, and nothing else may stay."""
    async with trio.open_nursery() as nursery:
        for _ in range(CALLS):
            nursery.start_soon(client.request, method)


@every_era
@every_way
@pytest.mark.requirement("M-IO-12", "M-IO-13")
async def test_leaving_cancels_the_handler_in_another_process(leave: Leave, era: Any, tmp_path: Path) -> None:
    left = []

    async def began() -> None:
        await noted(tmp_path, "began")

    async with open_client(StdioClientTransport(server(tmp_path), **OPTIONS), era=era) as client:
        await leave(client, began, lambda: left.append(time.monotonic()))
        (cancelled,) = await noted(tmp_path, "cancelled")
        assert cancelled["at"] - left[0] < SOON * SPARE
        assert cancelled["cause"] == "peer"
        await noted(tmp_path, "cleaned up")
    assert [entry["event"] for entry in journal(tmp_path)][-1] == "finally"


OPTIONS: Any = {"inherit_env": True, "env": {"PYTHONPATH": str(PROGRAMS.parents[2])}}


@every_era
async def test_a_killed_client_cancels_the_handler_and_ends_the_server(era: str, tmp_path: Path) -> None:
    parent = [sys.executable, str(PROGRAMS / "parent.py"), era, "forever", *server(tmp_path)]
    async with running(parent, tmp_path) as middle:
        pid = int(await middle.line())
        await noted(tmp_path, "began")
        killed = time.monotonic()
        os.kill(middle.pid, signal.SIGKILL)
        (cancelled,) = await noted(tmp_path, "cancelled")
        assert cancelled["at"] - killed < SOON * SPARE
        assert cancelled["cause"] == "closed"
        await noted(tmp_path, "finally")
        await until(lambda: not alive(pid))
    assert journal(tmp_path, "cleaned up")


@pytest.mark.requirement("M-IO-13", "M-IO-14")
async def test_a_thousand_cancelled_calls_leave_no_task_in_the_server_and_no_message(tmp_path: Path) -> None:
    transport = StdioClientTransport(server(tmp_path), **OPTIONS)
    async with open_client(transport, era="modern") as client:
        await ask_a_thousand_times(client, "pause")
        before = await client.request("tasks")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_a_thousand_times, client, "forever")
            await noted(tmp_path, "began", 100)
            nursery.cancel_scope.cancel()
        received = transport.statistics().messages_received
        asked = 0
        with trio.fail_after(10):
            # A queued call may still begin when a cancelled one makes room, until its own cancel is read.
            while True:
                after = await client.request("tasks")
                asked += 1
                if after["endless"] == 0:
                    break
                await trio.sleep(0.02)
        assert after["tasks"] <= before["tasks"]
        assert len(journal(tmp_path, "cleaned up")) == len(journal(tmp_path, "began"))
        assert (await client.request("echo", {"text": "as usual"}))["text"] == "as usual"
        assert transport.statistics().messages_received == received + asked + 1
    assert {entry["cause"] for entry in journal(tmp_path, "cancelled")} == {"peer"}
