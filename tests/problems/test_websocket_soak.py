"""WebSockets in numbers: a thousand peers that come and go leave nothing, and two hundred at once never cross."""

from __future__ import annotations

import gc
import json
import socket
import struct
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import modern_request
from tests.websocket_peer import CLOSE, TEXT, RawPeer, dial, frame, listen
from trio_mcp_transport.testing.footprint import Footprint
from trio_mcp_transport.transports.websocket import Engine, WebSocketServerTransport

MIB = 1024 * 1024
WARM_UP = 200
CYCLES = 1000
CLIENTS = 200

pytestmark = pytest.mark.parametrize("engine", ["trio-websocket", "native"])


def resident() -> int:
    """Return this process's resident memory in bytes."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def reset(peer: RawPeer) -> None:
    """Leave with a reset instead of an end."""
    stream: Any = peer.stream
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def come_and_go(transport: WebSocketServerTransport, port: int, times: int) -> None:
    """Connect, ask and leave, in each of the ways a peer may leave."""
    for number in range(times):
        peer = await dial(port)
        assert (await peer.ask(modern_request(1, params={"n": number})))["result"]["n"] == number
        way = number % 4
        if way == 0:
            await peer.send(CLOSE, b"\x03\xe8")
            assert await peer.receive_close() == 1000
            assert await peer.receive_end() == b""
        if way == 1:
            await peer.stream.send_all(frame(TEXT, b"{", length=100))
            reset(peer)
        if way == 2:
            # What the server has to say about it finds nobody.
            await peer.stream.send_all(frame(TEXT, json.dumps(modern_request(2, "", {"n": 1})).encode()) * 3)
            reset(peer)
        await peer.stream.aclose()
    await settled(transport)


async def settled(transport: WebSocketServerTransport) -> None:
    """Wait until no connection is left on the server's side."""
    metrics: Any = transport._metrics
    with trio.fail_after(10):
        while metrics._loads:  # noqa: ASYNC110 - the peers have left; the server is about to see it
            await trio.sleep(0.005)
        await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_thousand_that_come_and_go_leave_nothing(engine: Engine) -> None:
    transport = WebSocketServerTransport(engine=engine)
    async with listen(engine, transport=transport) as (_, port):
        await come_and_go(transport, port, WARM_UP)
        before, memory = Footprint.take(), resident()
        await come_and_go(transport, port, CYCLES)
        assert before.left_by(Footprint.take()) == []
        assert resident() - memory < 5 * MIB
        assert transport.statistics().connection_count == WARM_UP + CYCLES


async def test_two_hundred_at_once_with_equal_ids_never_cross(engine: Engine) -> None:
    transport = WebSocketServerTransport(engine=engine)
    async with listen(engine, transport=transport) as (_, port):

        async def use(number: int) -> None:
            peer = await dial(port)
            for turn in range(5):
                answer = await peer.ask(modern_request(turn, params={"client": number, "turn": turn}))
                assert (answer["id"], answer["result"]["client"], answer["result"]["turn"]) == (turn, number, turn)
            await peer.stream.aclose()

        async def use_all() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(CLIENTS):
                    nursery.start_soon(use, number)
            await settled(transport)

        await use_all()
        before, memory = Footprint.take(), resident()
        await use_all()
        assert before.left_by(Footprint.take()) == []
        assert resident() - memory < 5 * MIB
