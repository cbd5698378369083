from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import StreamClient, Wire, client_over_bytes
from trio_mcp_transport import ConfigError, DeadlineExceeded, Deadlines, TransportError, open_client


@pytest.mark.parametrize("name", ["connect", "probe", "idle", "total"])
def test_a_deadline_is_a_positive_number_or_none(name: str) -> None:
    for good in (0.001, 1, 1e9, None):
        assert getattr(Deadlines(**{name: good}), name) == good
    for bad in (0, -1, math.nan):
        with pytest.raises(ConfigError, match=name):
            Deadlines(**{name: bad})


def test_defaults_are_the_documented_ones() -> None:
    assert Deadlines() == Deadlines(connect=10, probe=5, idle=None, total=600)


@pytest.mark.parametrize(
    ("deadlines", "first"),
    [
        (Deadlines(), (math.inf, 1600)),
        (Deadlines(idle=2, total=5), (1002, 1005)),
        (Deadlines(idle=3, total=None), (1003, math.inf)),
        (Deadlines(total=None), (math.inf, math.inf)),
    ],
)
def test_first_moments_of_a_call(deadlines: Deadlines, first: tuple[float, float]) -> None:
    assert deadlines.first(1000) == first


def test_the_error_says_which_deadline_and_of_what() -> None:
    error = DeadlineExceeded("total", 600.0, "tools/call")
    assert (error.deadline, error.seconds) == ("total", 600.0)
    assert str(error) == "tools/call: the total deadline of 600 s has passed"
    assert isinstance(error, TransportError) and isinstance(error, trio.TooSlowError)


async def connect_to_silence(**options: Any) -> tuple[BaseException, float]:
    """Open a client on a peer that reads everything and says nothing; return the error and the seconds it took."""
    _ours, theirs = trio.testing.memory_stream_pair()
    began = trio.current_time()
    with pytest.raises(TransportError) as caught:
        async with open_client(StreamClient(theirs), **options):
            raise AssertionError("it connected")
    return caught.value, trio.current_time() - began


@pytest.mark.parametrize("seconds", [1.0, 10.0])
async def test_connect_bounds_the_negotiation(seconds: float, autojump_clock: trio.testing.MockClock) -> None:
    error, took = await connect_to_silence(era="legacy", deadlines=Deadlines(connect=seconds))
    assert isinstance(error, DeadlineExceeded)
    assert (error.deadline, error.seconds, took) == ("connect", seconds, seconds)


async def test_probe_bounds_only_the_silence_before_initialize(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    wire = Wire(ours)
    began = trio.current_time()

    async def legacy_server() -> None:
        assert (await wire.receive())["method"] == "server/discover"
        while (request := await wire.receive())["method"] != "initialize":
            assert request["method"] == "notifications/cancelled"
        assert trio.current_time() - began == 4
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
        await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "result": result})
        assert (await wire.receive())["method"] == "notifications/initialized"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(legacy_server)
        async with open_client(StreamClient(theirs), era="auto", deadlines=Deadlines(probe=4)) as client:
            assert client.era == "legacy"


@pytest.mark.requirement("M-CA-12")
async def test_the_nearer_of_two_deadlines_fires(autojump_clock: trio.testing.MockClock) -> None:
    async with client_over_bytes() as (client, wire):
        for deadlines, name, seconds in (
            (Deadlines(idle=2, total=3), "idle", 2),
            (Deadlines(idle=3, total=2), "total", 2),
            (Deadlines(idle=2, total=2), "idle", 2),
            (Deadlines(idle=2, total=None), "idle", 2),
        ):
            began = trio.current_time()
            with pytest.raises(DeadlineExceeded) as caught:
                await client.request("x", deadlines=deadlines)
            assert (caught.value.deadline, trio.current_time() - began) == (name, seconds)
        assert [(await wire.receive())["method"] for _ in range(8)] == ["x", "notifications/cancelled"] * 4


async def test_deadlines_of_many_calls_are_kept_apart(autojump_clock: trio.testing.MockClock) -> None:
    ended: list[tuple[int, float]] = []

    async def call(client: Any, seconds: int) -> None:
        with pytest.raises(DeadlineExceeded) as caught:
            await client.request("x", deadlines=Deadlines(total=seconds))
        assert caught.value.seconds == seconds
        ended.append((seconds, trio.current_time()))

    async with client_over_bytes() as (client, _wire):
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for seconds in (5, 1, 3, 2, 4):
                nursery.start_soon(partial(call, client, seconds))
    assert ended == [(seconds, began + seconds) for seconds in (1, 2, 3, 4, 5)]
