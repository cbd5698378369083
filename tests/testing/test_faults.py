"""Streams that misbehave do so exactly as promised; the library ends every request whatever they do."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import DeadlineExceeded, Deadlines, Handlers, RpcError, TransportError
from trio_mcp_transport.testing import (
    CutStream,
    FaultPlan,
    SplitStream,
    StallStream,
    byte_stream_pair,
    connect,
    fail_every_stream_call,
)

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])


async def echo(message: Any, context: Any) -> Any:
    await context.progress(1)
    return {"text": message.params["text"]}


async def test_split_moves_one_byte_per_call(autojump_clock: trio.testing.MockClock) -> None:
    left, right = byte_stream_pair()
    split = SplitStream(left)
    await right.send_all(b"abc")
    assert [await split.receive_some(), await split.receive_some(100)] == [b"a", b"b"]
    sent: list[bytes] = []

    async def read() -> None:
        while data := await right.receive_some():
            sent.append(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await split.send_all(b"xyz")
        await split.send_eof()
    assert b"".join(sent) == b"xyz"
    assert await SplitStream(right, 2).receive_some() == b""


async def test_split_sends_every_byte_by_itself(autojump_clock: trio.testing.MockClock) -> None:
    left, right = byte_stream_pair(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(SplitStream(left, 2).send_all, b"abcd")
        assert [await right.receive_some() for _ in range(4)] == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize("after", [0, 1, 5])
async def test_cut_breaks_after_exactly_so_many_bytes(after: int, autojump_clock: trio.testing.MockClock) -> None:
    left, right = byte_stream_pair()
    cut = CutStream(left, send=after)
    with pytest.raises(trio.BrokenResourceError):
        await cut.send_all(b"abcdef")
    received = b""
    while data := await right.receive_some():
        received += data
    assert received == b"abcdef"[:after]

    left, right = byte_stream_pair()
    await right.send_all(b"abcdef")
    cut = CutStream(left, receive=after)
    received = b""
    while len(received) < after:
        received += await cut.receive_some()
    assert received == b"abcdef"[:after]
    with pytest.raises(trio.BrokenResourceError):
        await cut.receive_some()


async def test_a_stream_cut_at_its_last_byte_is_whole(autojump_clock: trio.testing.MockClock) -> None:
    left, right = byte_stream_pair()
    await CutStream(left, send=6).send_all(b"abcdef")
    assert await right.receive_some() == b"abcdef"


async def test_stall_waits_for_ever_and_can_be_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    left, right = byte_stream_pair()
    stall = StallStream(left, send=2, receive=1)
    await right.send_all(b"xy")
    assert await stall.receive_some() == b"x"
    with trio.move_on_after(1000) as scope:
        await stall.receive_some()
    assert scope.cancelled_caught
    with trio.move_on_after(1000) as scope:
        await stall.send_all(b"abc")
    assert scope.cancelled_caught
    assert await right.receive_some() == b"ab"


@ERAS
@pytest.mark.parametrize("side", ["client", "server", "both"])
async def test_single_bytes_carry_a_conversation(era: Any, side: str, autojump_clock: trio.testing.MockClock) -> None:
    def streams() -> Any:
        near, far = byte_stream_pair(1 if side == "both" else 64)
        return (
            SplitStream(near) if side != "server" else near,
            SplitStream(far) if side != "client" else far,
        )

    async with connect(Handlers(echo), era=era, streams=streams) as client:
        assert (await client.request("echo", {"text": "é"}))["text"] == "é"


@ERAS
async def test_a_stalled_server_ends_calls_by_their_deadline(era: Any, autojump_clock: trio.testing.MockClock) -> None:
    async def scenario(after: int) -> None:
        def streams() -> Any:
            near, far = byte_stream_pair()
            return near, StallStream(far, send=after)

        deadlines = Deadlines(connect=1, total=5)
        async with connect(Handlers(echo), era=era, streams=streams, deadlines=deadlines, drain=0) as client:
            await client.request("echo", {"text": "x"})

    for after in range(0, 700, 50):
        with contextlib.suppress(DeadlineExceeded):
            await scenario(after)
    with trio.fail_after(1):
        await scenario(100_000)


def conversation(era: Any) -> Any:
    ended: list[str] = []

    async def scenario(plan: FaultPlan) -> None:
        begun = len(ended)
        try:
            async with connect(Handlers(echo), era=era, streams=plan.streams, drain=0) as client:
                for text in ("one", "two"):
                    try:
                        assert (await client.request("echo", {"text": text}, on_progress=print))["text"] == text
                        ended.append("result")
                    except TransportError:
                        ended.append("failure")
                assert len(ended) == begun + 2
        except TransportError:
            assert plan.reached and plan.fault != "one_byte"
            ended.append("not connected")

    return scenario, ended


@ERAS
@pytest.mark.parametrize("fault", ["broken", "torn"])
def test_every_request_ends_whichever_stream_call_fails(era: Any, fault: Any) -> None:
    scenario, ended = conversation(era)
    points = fail_every_stream_call(scenario, fault=fault)
    assert points > 8
    assert {"result", "failure", "not connected"} <= set(ended)
    assert ended[-2:] == ["result", "result"]


@ERAS
def test_a_single_byte_at_any_stream_call_changes_nothing(era: Any) -> None:
    scenario, ended = conversation(era)
    points = fail_every_stream_call(scenario, fault="one_byte")
    assert points > 8
    assert ended == ["result"] * 2 * (points + 1)


async def test_the_kth_call_is_the_one_that_fails() -> None:
    for point in (1, 2, 3):
        left, _ = FaultPlan(point).streams()
        for _ in range(point - 1):
            await left.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await left.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await left.send_eof()


async def test_a_torn_call_moves_one_byte_first() -> None:
    plan = FaultPlan(1, "torn")
    left, right = byte_stream_pair()
    with pytest.raises(trio.BrokenResourceError):
        await plan.wrap(left).send_all(b"abc")
    assert await right.receive_some() == b"a"
    assert plan.describe() == "torn in send_all"


async def test_a_single_byte_call_goes_on() -> None:
    plan = FaultPlan(1, "one_byte")
    left, right = byte_stream_pair()
    await plan.wrap(left).send_all(b"abc")
    assert await right.receive_some() == b"abc"
    left, right = FaultPlan(2, "one_byte").streams()
    await left.send_all(b"abc")
    assert [await right.receive_some(), await right.receive_some()] == [b"a", b"bc"]


def test_a_failure_that_the_scenario_does_not_expect_leaves_it_with_its_place() -> None:
    async def scenario(plan: FaultPlan) -> None:
        left, _ = plan.streams()
        await left.send_all(b"x")

    with pytest.raises(trio.BrokenResourceError) as caught:
        fail_every_stream_call(scenario)
    assert caught.value.__notes__ == ["failed at point 1: broken in send_all"]
    assert fail_every_stream_call(scenario, allowed=(trio.BrokenResourceError,)) == 1


async def test_an_rpc_error_is_not_a_stream_failure(autojump_clock: trio.testing.MockClock) -> None:
    async def refuse(message: Any, context: Any) -> None:
        raise RpcError(1, "no")

    async with connect(Handlers(refuse), streams=FaultPlan(10_000).streams) as client:
        with pytest.raises(RpcError, match="no"):
            await client.request("x")
