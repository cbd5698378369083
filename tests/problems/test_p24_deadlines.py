"""Problem 24: a timeout that knows nothing of progress, and an error that does not say what ran out.

The published test: an idle deadline per request, reset by progress, and a hard cap; the error says which fired; tests
of it need no real time.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

import pytest
import trio
import trio.testing

from tests.support import client_over_bytes
from trio_mcp_transport import (
    Client,
    DeadlineExceeded,
    Deadlines,
    Handlers,
    MessageContext,
    Request,
    RpcError,
    ServerInfo,
    StdioClientTransport,
    TransportError,
    memory_transports,
    open_client,
    serve,
)

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])


class Worker:
    """A handler that reports progress now and then, and remembers how it was cancelled."""

    def __init__(self) -> None:
        self.cancelled: list[Any] = []

    async def work(self, request: Request, context: MessageContext) -> dict[str, Any]:
        every, steps = request.params["every"], request.params["steps"]
        try:
            for step in range(1, steps + 1):
                await trio.sleep(every)
                await context.progress(step, steps)
            await trio.sleep(every)
        except trio.Cancelled:
            self.cancelled.append(context.cancel_cause.name if context.cancel_cause else None)
            raise
        return {"steps": steps}


@asynccontextmanager
async def working(era: Literal["modern", "legacy"], **options: Any) -> AsyncIterator[tuple[Client, Worker]]:
    worker = Worker()
    server, transport = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(worker.work), server, server_info=ServerInfo("s", "1")))
        async with open_client(transport, era=era, **options) as client:
            yield client, worker
        nursery.cancel_scope.cancel()


async def expire(client: Client, deadlines: Deadlines | None, **params: Any) -> tuple[DeadlineExceeded, float]:
    """Make a call that runs out; return the error and the virtual seconds it took."""
    began = trio.current_time()
    with pytest.raises(DeadlineExceeded) as caught:
        await client.request("work", params, deadlines=deadlines)
    return caught.value, trio.current_time() - began


@ERAS
@pytest.mark.requirement("M-CA-11", "L25-LC-12")
async def test_silence_ends_a_call_and_the_error_says_so(era: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with working(era) as (client, worker):
        error, took = await expire(client, Deadlines(idle=3, total=100), every=50, steps=1)
        await trio.testing.wait_all_tasks_blocked()
    assert (error.deadline, error.seconds, took) == ("idle", 3, 3)
    assert "idle deadline of 3 s" in str(error)
    assert isinstance(error, trio.TooSlowError) and isinstance(error, TransportError)
    assert worker.cancelled == ["PEER"]


@ERAS
@pytest.mark.requirement("M-CA-13", "L25-LC-12")
async def test_progress_resets_the_idle_deadline(era: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with working(era) as (client, worker):
        began = trio.current_time()
        result = await client.request("work", {"every": 2, "steps": 20}, deadlines=Deadlines(idle=3, total=100))
        assert result["steps"] == 20
        assert trio.current_time() - began == 42
        # Without the option the same call takes as long, and silence is no reason to end it.
        assert (await client.request("work", {"every": 200, "steps": 1}))["steps"] == 1
    assert worker.cancelled == []


@ERAS
async def test_the_idle_deadline_counts_from_the_last_progress(
    era: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with client_over_bytes() as (client, wire):
        call: list[tuple[DeadlineExceeded, float]] = []

        async def run() -> None:
            call.append(await expire(client, Deadlines(idle=3)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            request = await wire.receive()
            token = request["params"]["_meta"]["progressToken"]
            for step in (1, 2):
                await trio.sleep(2)
                params = {"progressToken": token, "progress": step}
                await wire.send_line({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
            cancel = await wire.receive()
        assert cancel["method"] == "notifications/cancelled"
        assert cancel["params"]["requestId"] == request["id"]
    assert call[0][0].deadline == "idle"
    assert call[0][1] == 2 + 2 + 3


@ERAS
@pytest.mark.requirement("M-CA-14", "L25-LC-12")
async def test_endless_progress_meets_the_hard_cap(era: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with working(era) as (client, worker):
        error, took = await expire(client, Deadlines(idle=3, total=30), every=1, steps=10_000)
        await trio.testing.wait_all_tasks_blocked()
    assert (error.deadline, error.seconds, took) == ("total", 30, 30)
    assert worker.cancelled == ["PEER"]


@ERAS
@pytest.mark.requirement("M-CA-11", "M-CA-14", "L25-LC-12")
async def test_every_call_has_a_hard_cap_by_default(era: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with working(era) as (client, _):
        error, took = await expire(client, None, every=10, steps=10_000)
        assert (error.deadline, took) == ("total", 600)
        error, took = await expire(client, Deadlines(idle=5), every=4, steps=10_000)
        assert (error.deadline, took) == ("total", 600)


@ERAS
@pytest.mark.requirement("M-CA-12", "L25-LC-12")
async def test_deadlines_are_settable_per_client_and_per_request(
    era: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with working(era, deadlines=Deadlines(total=7)) as (client, _):
        assert [(await expire(client, one, every=1000, steps=1))[1] for one in (None, Deadlines(total=2))] == [7, 2]
        result = await client.request("work", {"every": 1000, "steps": 1}, deadlines=Deadlines(total=None))
        assert result["steps"] == 1
        async with client.open_exchange("work", {"every": 9, "steps": 1}, deadlines=Deadlines(total=4)) as replies:
            with pytest.raises(DeadlineExceeded) as caught:
                await replies.receive()
        assert caught.value.deadline == "total"


@pytest.mark.requirement("M-CA-11")
async def test_expiry_is_told_to_the_peer_once(autojump_clock: trio.testing.MockClock) -> None:
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:
        nursery.start_soon(expire, client, Deadlines(total=1))
        request = await wire.receive()
        cancel = await wire.receive()
        assert cancel == {
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": request["id"]},
        }
        # A late answer is for nobody, and nothing more is sent.
        await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "result": {}})
        await wire.assert_silent(10)


@ERAS
async def test_the_callers_own_deadline_stays_plain(era: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with working(era) as (client, worker):
        began = trio.current_time()
        with pytest.raises(trio.TooSlowError) as caught, trio.fail_after(2):
            await client.request("work", {"every": 50, "steps": 1}, deadlines=Deadlines(idle=3, total=9))
        assert not isinstance(caught.value, TransportError)
        assert trio.current_time() - began == 2
        await trio.testing.wait_all_tasks_blocked()
    assert worker.cancelled == ["PEER"]


@ERAS
@pytest.mark.requirement("M-ER-09")
async def test_an_expired_call_is_no_answer_of_the_peer(era: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with working(era) as (client, _):
        error, _took = await expire(client, Deadlines(total=1), every=50, steps=1)
    assert not isinstance(error, RpcError)
    assert not hasattr(error, "code")


async def test_listens_have_no_deadline_unless_given_one(autojump_clock: trio.testing.MockClock) -> None:
    async with working("modern") as (client, _):
        params = {"every": 5000, "steps": 1}
        async with client.open_exchange("subscriptions/listen", params) as replies:
            with trio.move_on_after(4000) as scope:
                await replies.receive()
            assert scope.cancelled_caught
        async with client.open_exchange("subscriptions/listen", params, deadlines=Deadlines(total=5)) as replies:
            with pytest.raises(DeadlineExceeded):
                await replies.receive()


# Against a real process, with short real deadlines.


@ERAS
async def test_a_real_server_that_is_silent_too_long(era: Any) -> None:
    command = [sys.executable, "-m", "trio_mcp_transport", "echo", "stdio"]
    with trio.fail_after(10):
        async with open_client(StdioClientTransport(command, inherit_env=True), era=era) as client:
            slow = {"name": "sleep", "arguments": {"seconds": 60}}
            for deadlines, name in ((Deadlines(idle=0.1), "idle"), (Deadlines(idle=5, total=0.1), "total")):
                with pytest.raises(DeadlineExceeded) as caught:
                    await client.request("tools/call", slow, deadlines=deadlines)
                assert caught.value.deadline == name
            assert await client.request("echo", {"a": 1})
