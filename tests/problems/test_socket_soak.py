"""Sockets in numbers: a thousand peers that come and go leave nothing, two hundred at once never cross, and one that
attacks is felt by nobody else.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.socket_servers import FAMILIES, Running, client_of, connect_raw, serving
from tests.sockets import reset
from tests.support import Wire, modern_request
from trio_mcp_transport import Limits, open_client
from trio_mcp_transport.testing.footprint import Footprint
from trio_mcp_transport.transports.tcp import TcpServerTransport
from trio_mcp_transport.transports.unix import UnixServerTransport

MIB = 1024 * 1024
WARM_UP = 200
CYCLES = 1000
CLIENTS = 200
BUSY = 0.03
"""Seconds a small request may take in any case: the attacker shares this process, whose p99 is a tenth of a
millisecond when nothing else happens, so that one chunk of the attacker's is many times that."""


@pytest.fixture(params=FAMILIES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return a function that makes a server transport of the family."""

    def make_one(**options: Any) -> Any:
        return (
            TcpServerTransport(**options) if request.param == "tcp" else UnixServerTransport(tmp_path / "s", **options)
        )

    return make_one


def resident() -> int:
    """Return this process's resident memory in bytes."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def left_since(before: Footprint) -> list[str]:
    """Return what was left, without parked workers: how many the dispatcher keeps depends on how many met."""
    return [line for line in before.left_by(Footprint.take()) if "dispatcher._Worker.run" not in line]


async def come_and_go(server: Running, times: int) -> None:
    """Connect, ask and leave, in each of the ways a peer may leave."""
    for number in range(times):
        wire = await connect_raw(server.address)
        stream: Any = wire.stream
        way = number % 5
        if way < 3:
            answer = await wire.ask(modern_request(1, params={"n": number}))
            assert answer["result"]["n"] == number
        if way == 1:
            await wire.end()
            assert await stream.receive_some() == b""
        if way == 2:
            await wire.send_bytes(b'{"jsonrpc": "2.0", "id": 2, "meth')
            reset(stream)
        await stream.aclose()
    await settled(server)


async def settled(server: Running) -> None:
    """Wait until no connection is left on the server's side."""
    metrics: Any = server.transport._service.metrics
    with trio.fail_after(10):
        while metrics._loads:  # noqa: ASYNC110  # the peers have left; the server is about to see it
            await trio.sleep(0.005)
        await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_thousand_that_come_and_go_leave_nothing(make: Any) -> None:
    async with serving(make()) as server:
        await come_and_go(server, WARM_UP)
        before, memory = Footprint.take(), resident()
        await come_and_go(server, CYCLES)
        assert left_since(before) == []
        assert resident() - memory < 5 * MIB


async def test_two_hundred_at_once_with_equal_ids_never_cross(make: Any) -> None:
    async def use(number: int) -> None:
        async with open_client(client_of(server.address), era="modern", discover=False) as client:
            for turn in range(5):
                mine = {"client": number, "turn": turn}
                answer = await client.request("x", mine)
                assert {key: answer[key] for key in mine} == mine

    async with serving(make()) as server:
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(use, number)
        await settled(server)
        before, memory = Footprint.take(), resident()
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(use, number)
        await settled(server)
        assert left_since(before) == []
        assert resident() - memory < 5 * MIB
        assert server.transport.statistics().connection_count == 2 * CLIENTS


async def empty_lines(address: str) -> None:
    wire = await connect_raw(address)
    async with wire.stream:
        while True:
            await wire.send_bytes(b"\n" * 10_000)


async def unreadable_lines(address: str) -> None:
    wire = await connect_raw(address)
    async with wire.stream, trio.open_nursery() as nursery:
        nursery.start_soon(drink, wire)
        while True:
            await wire.send_bytes(b"{]\n" * 1000)


async def drink(wire: Wire) -> None:
    while await wire.stream.receive_some():
        pass


async def reads_nothing(address: str) -> None:
    wire = await connect_raw(address)
    async with wire.stream:
        number = 0
        while True:
            number += 1
            await wire.send_line(modern_request(number, params={"text": "x" * 10_000}))


async def comes_and_resets(address: str) -> None:
    while True:
        wire = await connect_raw(address)
        await wire.send_bytes(b'{"jsonrpc": "2.0", "id": 2, "meth')
        stream: Any = wire.stream
        reset(stream)
        await trio.sleep(0.001)


async def web_page(address: str) -> None:
    while True:
        wire = await connect_raw(address)
        async with wire.stream:
            await wire.send_bytes(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with suppress(trio.BrokenResourceError):
                await wire.stream.receive_some()


ATTACKS = [empty_lines, unreadable_lines, reads_nothing, comes_and_resets, web_page]


async def p99(wire: Wire, samples: int = 150) -> float:
    """Return the 99th percentile of the seconds a small request takes."""
    times = []
    for number in range(samples):
        began = time.perf_counter()
        await wire.ask(modern_request(number))
        times.append(time.perf_counter() - began)
    return sorted(times)[int(samples * 0.99) - 1]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_on_one_connection_is_felt_by_no_other(
    make: Any, attack: Callable[[str], Awaitable[None]]
) -> None:
    """The attacker is in this process and takes its share of it, so the best of a few rounds counts."""

    async def attacking() -> None:
        with suppress(trio.BrokenResourceError):
            await attack(server.address)

    async with serving(make(), limits=Limits(write_deadline=5.0)) as server:
        wire = await connect_raw(server.address)
        await p99(wire)
        calm = min([await p99(wire) for _ in range(3)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attacking)
            await trio.sleep(0.05)
            attacked = min([await p99(wire) for _ in range(3)])
            nursery.cancel_scope.cancel()
        assert attacked < 0.1
        assert attacked < max(3 * calm, BUSY)
        await wire.stream.aclose()
