from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from tests.support import client_over_bytes
from trio_mcp_transport import DeadlineExceeded, Deadlines, Limits, Request, Response
from trio_mcp_transport.call import Call
from trio_mcp_transport.timekeeper import Timekeeper


def call(name: str = "x", **deadlines: float | None) -> Call:
    return Call(Request(1, name), Deadlines(**{"total": None, **deadlines}), Limits())


@asynccontextmanager
async def keeping() -> AsyncIterator[Timekeeper]:
    timekeeper = Timekeeper()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timekeeper.run)
        await trio.testing.wait_all_tasks_blocked()
        yield timekeeper
        nursery.cancel_scope.cancel()


async def test_a_call_fails_at_its_moment_and_not_before(autojump_clock: trio.testing.MockClock) -> None:
    async with keeping() as timekeeper:
        one = call(total=5)
        timekeeper.watch(one)
        await trio.sleep(4.999)
        assert one.error is None
        await trio.sleep(0.002)
        assert isinstance(one.error, DeadlineExceeded)
        assert (one.error.deadline, one.error.seconds) == ("total", 5)


async def test_a_nearer_deadline_that_comes_later_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    async with keeping() as timekeeper:
        far, near = call(total=100), call(total=1)
        timekeeper.watch(far)
        await trio.sleep(10)
        timekeeper.watch(near)
        await trio.sleep(2)
        assert near.error is not None and far.error is None
        await trio.sleep(80)
        assert far.error is None
        await trio.sleep(10)
        assert far.error is not None


async def test_a_call_watched_before_the_keeper_runs_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    timekeeper = Timekeeper()
    one = call(total=1)
    timekeeper.watch(one)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timekeeper.run)
        await trio.sleep(2)
        assert one.error is not None
        nursery.cancel_scope.cancel()


async def test_a_moment_put_off_is_kept_at_the_new_time(autojump_clock: trio.testing.MockClock) -> None:
    async with keeping() as timekeeper:
        one = call(idle=2, total=7)
        timekeeper.watch(one)
        for _ in range(3):
            await trio.sleep(1.5)
            one.idle_at = trio.current_time() + 2
        await trio.sleep(1.9)
        assert one.error is None
        await trio.sleep(0.2)
        assert isinstance(one.error, DeadlineExceeded) and one.error.deadline == "idle"


async def test_forgotten_and_answered_calls_are_left_alone(autojump_clock: trio.testing.MockClock) -> None:
    cancelled: list[Call] = []
    async with keeping() as timekeeper:
        forgotten, answered = call(total=1), call(total=1)
        for one in (forgotten, answered):
            one.attach(cancelled.append)
            timekeeper.watch(one)
        timekeeper.forget(forgotten)
        timekeeper.forget(forgotten)
        answered.respond(Response(1, {}))
        await trio.sleep(5)
        assert forgotten.error is None and answered.error is None
    assert cancelled == []


async def test_an_expired_call_is_cancelled_at_the_peer_once(autojump_clock: trio.testing.MockClock) -> None:
    cancelled: list[Call] = []
    async with keeping() as timekeeper:
        one = call(total=1)
        one.attach(cancelled.append)
        timekeeper.watch(one)
        await trio.sleep(5)
    assert cancelled == [one]


async def test_calls_without_deadline_cost_no_wake_up(mock_clock: trio.testing.MockClock) -> None:
    async with keeping() as timekeeper:
        timekeeper.watch(call())
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf
        timekeeper.watch(call(total=5))
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == 5


async def test_a_thousand_calls_each_at_its_own_moment(autojump_clock: trio.testing.MockClock) -> None:
    ended: list[float] = []

    async def one_call(client: Any, seconds: float) -> None:
        began = trio.current_time()
        try:
            await client.request("x", deadlines=Deadlines(total=seconds))
        except DeadlineExceeded as error:
            ended.append(trio.current_time() - began - error.seconds)

    async with client_over_bytes() as (client, _wire), trio.open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(one_call, client, 1 + number % 37)
    assert len(ended) == 1000
    assert max(map(abs, ended)) < 1e-6
