from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.support import LARGEST, Wire, legacy_request, modern_request, shake_hands
from trio_mcp_transport import (
    Handlers,
    Limits,
    MemoryServerTransport,
    MessageHandler,
    NewlineCodec,
    ServerInfo,
    ServerTransport,
    Subscriptions,
    TransportMetrics,
    TransportStatistics,
    memory_transports,
    open_client,
    serve,
)
from trio_mcp_transport.metrics import Load
from trio_mcp_transport.pipe import serve_stream


class CountingServer(ServerTransport):
    """A custom transport of one connection that keeps counters."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.metrics = TransportMetrics()

    async def run(self, exchanges: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started(("test:",))
        await serve_stream(exchanges, self._stream, NewlineCodec(LARGEST), metrics=self.metrics)


@asynccontextmanager
async def counted(handler: MessageHandler, **options: Any) -> AsyncIterator[tuple[Wire, TransportMetrics]]:
    ours, theirs = trio.testing.memory_stream_pair()
    transport = CountingServer(theirs)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, handler, transport, server_info=ServerInfo("s", "1"), **options))
        yield Wire(ours), transport.metrics
        nursery.cancel_scope.cancel()


class Gate:
    """A handler that answers when the gate opens."""

    def __init__(self) -> None:
        self.open = trio.Event()

    async def __call__(self, request: Any, context: Any) -> dict[str, Any]:
        if request.method == "ask":
            return {"answer": await context.request("sampling/createMessage", {})}
        await self.open.wait()
        return {}


def load(metrics: TransportMetrics) -> tuple[int, int, int]:
    now = metrics.snapshot()
    return now.in_flight, now.queued, now.pending


async def test_bytes_and_messages_are_what_crossed_the_wire() -> None:
    async with counted(Handlers(lambda request, context: {"a": 1})) as (wire, metrics):
        line = json.dumps(modern_request(1)).encode()
        await wire.send_bytes(line + b"\n")
        answer = await wire.receive_line()
        await wire.send_bytes(b"{bad\n")
        refusal = await wire.receive_line()
        await trio.testing.wait_all_tasks_blocked()
        now = metrics.snapshot()
    # An unreadable line is a message that was read.
    assert (now.messages_received, now.messages_sent, now.errors) == (2, 2, 1)
    assert now.bytes_received == len(line) + 1 + len(b"{bad\n")
    assert now.bytes_sent == len(answer) + 1 + len(refusal) + 1
    assert (now.connection_count, now.outbox_bytes, now.refused, now.dropped) == (1, 0, 0, 0)


async def test_in_flight_queued_and_pending_are_seen() -> None:
    gate = Gate()
    async with counted(Handlers(gate), limits=Limits(max_running=2, max_queued=5)) as (wire, metrics):
        await shake_hands(wire)
        assert load(metrics) == (0, 0, 0)
        for number in range(5):
            await wire.send_line(legacy_request(number, "wait"))
        await trio.testing.wait_all_tasks_blocked()
        assert load(metrics) == (2, 3, 0)
        gate.open.set()
        assert sorted([(await wire.receive())["id"] for _ in range(5)]) == list(range(5))
        await wire.send_line(legacy_request("a", "ask"))
        question = await wire.receive()
        await trio.testing.wait_all_tasks_blocked()
        assert load(metrics) == (1, 0, 1)
        await wire.send_line({"jsonrpc": "2.0", "id": question["id"], "result": {"text": "x"}})
        assert (await wire.receive())["id"] == "a"
        await trio.testing.wait_all_tasks_blocked()
        assert load(metrics) == (0, 0, 0)


async def test_a_connection_that_ends_takes_its_load_with_it(autojump_clock: trio.testing.MockClock) -> None:
    gate = Gate()
    async with counted(Handlers(gate), drain=0.5) as (wire, metrics):
        for number in range(3):
            await wire.send_line(modern_request(number, "wait"))
        await trio.testing.wait_all_tasks_blocked()
        assert load(metrics) == (3, 0, 0)
        await wire.end()
        await wire.receive_rest()
        await trio.testing.wait_all_tasks_blocked()
        assert load(metrics) == (0, 0, 0)
        assert metrics.snapshot().connection_count == 1


async def test_refusals_and_answers_for_nobody_are_counted() -> None:
    gate = Gate()
    async with counted(Handlers(gate), subscriptions=Subscriptions(), limits=Limits(max_listens=1)) as (wire, metrics):
        for number in range(3):
            params = {"notifications": {"toolsListChanged": True}}
            await wire.send_line(modern_request(number, "subscriptions/listen", params))
            await wire.receive()
        for number in range(2):
            await wire.send_line({"jsonrpc": "2.0", "id": number, "result": {}})
        await trio.testing.wait_all_tasks_blocked()
        now = metrics.snapshot()
    assert (now.in_flight, now.refused, now.dropped) == (1, 2, 2)


async def test_notifications_that_an_overflow_policy_lost_are_counted() -> None:
    async def flood(request: Any, context: Any) -> dict[str, Any]:
        for number in range(10):
            await context.progress(number)
        return {}

    server, transport = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(flood), server))
        options: dict[str, Any] = {"era": "modern", "discover": False, "limits": Limits(exchange_messages=4)}
        async with open_client(transport, **options) as client:
            async with client.open_exchange("flood", overflow="drop_oldest") as replies:
                await trio.testing.wait_all_tasks_blocked()
                assert replies.dropped == client.statistics().dropped == 6
        nursery.cancel_scope.cancel()


async def test_a_client_counts_as_well_and_adds_up_over_connections() -> None:
    gate = Gate()
    server, transport = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(gate), server, server_info=ServerInfo("s", "1")))
        async with open_client(transport, era="modern") as one, open_client(server.client(), era="modern") as other:
            assert server.statistics().connection_count == 2
            async with trio.open_nursery() as calls:
                for client in (one, one, other):
                    calls.start_soon(client.request, "wait")
                await trio.testing.wait_all_tasks_blocked()
                assert one.statistics().pending == 2
                assert other.statistics().pending == 1
                assert server.statistics().in_flight == 3
                gate.open.set()
            await trio.testing.wait_all_tasks_blocked()
            assert one.statistics().pending == 0
            # server/discover and two calls, and as many answers
            assert one.statistics().messages_sent == one.statistics().messages_received == 3
            assert server.statistics().messages_received == 5
        await trio.testing.wait_all_tasks_blocked()
        assert one.statistics() == TransportStatistics()
        nursery.cancel_scope.cancel()


async def test_a_transport_that_does_not_count_says_zero() -> None:
    class Silent(ServerTransport):
        async def run(self, exchanges: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            raise AssertionError

    assert Silent().statistics() == MemoryServerTransport().statistics() == TransportStatistics()


def test_a_snapshot_does_not_change() -> None:
    metrics = TransportMetrics()
    metrics.record_send(10)
    before = metrics.snapshot()
    metrics.record_send(1)
    metrics.record_receive(5)
    metrics.record_error()
    assert (before.messages_sent, before.bytes_sent, before.messages_received, before.errors) == (1, 10, 0, 0)
    after = metrics.snapshot()
    assert (after.messages_sent, after.bytes_sent, after.bytes_received, after.errors) == (2, 11, 5, 1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        after.errors = 0  # type: ignore[misc]  # the point of the test


def test_loads_of_all_connections_add_up() -> None:
    metrics = TransportMetrics()
    loads = [lambda: Load(1, 2, 3, 4), lambda: Load(10, 20, 30, 40)]
    for one in loads:
        metrics.connected(one)
    now = metrics.snapshot()
    assert (now.in_flight, now.queued, now.pending, now.outbox_bytes) == (11, 22, 33, 44)
    metrics.disconnected(loads[0])
    now = metrics.snapshot()
    assert (now.in_flight, now.queued, now.pending, now.outbox_bytes) == (10, 20, 30, 40)
    assert now.connection_count == 2
