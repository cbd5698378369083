"""Problem 22: a slow reader takes the memory, blocks the others, or loses answers.

The published test: a slow reader and 10,000 notifications: memory is bounded, other sessions keep their latency,
responses are never dropped, the policy of a subscription (block, drop the oldest, close) is selectable and counted;
and the in-flight rules hold: at most 100 running, then a queue of 1,000, then the peer waits.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.processes import ECHO, MODERN_META, PROGRAMS, request, running
from tests.support import modern_params
from trio_mcp_transport import (
    Handlers,
    MemoryServerTransport,
    MessageContext,
    Notification,
    Request,
    Response,
    ServerInfo,
    Subscriptions,
    open_client,
    serve,
)
from trio_mcp_transport.abc import MessageLink

MIB = 1 << 20
UNRULY = [sys.executable, str(PROGRAMS / "unruly_server.py")]
CHANGED = "notifications/tools/list_changed"
LISTEN = {"notifications": {"toolsListChanged": True}}


async def test_ten_thousand_notifications_wait_for_a_slow_reader(tmp_path: Path) -> None:
    count = 10_000
    async with running(UNRULY, tmp_path) as server:
        await server.ask(request(0, "quick"))
        baseline = peak = server.memory()
        await server.send(request(1, "flood", count=count, bytes=4096))
        await server.send(*(request(2 + number, "quick") for number in range(50)))
        for _ in range(20):
            await trio.sleep(0.02)
            peak = max(peak, server.memory())
        # 40 MB are on offer; the outbox holds 1 MiB, the pipe 64 KiB.
        assert peak - baseline < 8 * MIB, f"grew by {(peak - baseline) / MIB:.0f} MiB"
        found = [await server.message() for _ in range(count + 51)]
    numbers = [one["params"]["number"] for one in found if one.get("method") == "notifications/flood"]
    assert numbers == list(range(count))
    assert found[-1] == {"jsonrpc": "2.0", "id": 1, "result": {"sent": count}}
    assert sorted(one["id"] for one in found if "result" in one) == list(range(1, 52))


async def test_answers_that_nobody_reads_do_not_pile_up(tmp_path: Path) -> None:
    size, count = 200_000, 500
    async with running(ECHO, tmp_path) as server:
        await server.ask(request("first", "echo"))
        baseline = peak = server.memory()
        calls = (request(number, "tools/call", name="big", arguments={"bytes": size}) for number in range(count))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.send, *calls)
            for _ in range(20):
                await trio.sleep(0.02)
                peak = max(peak, server.memory())
            # 100 MB were asked for: at most 100 handlers hold an answer each, as value and as text, beside the outbox.
            assert peak - baseline < 100 * 2 * size + 8 * MIB, f"grew by {(peak - baseline) / MIB:.0f} MiB"
            answered = sorted([(await server.message())["id"] for _ in range(count)])
    assert answered == list(range(count))


@pytest.mark.requirement("M-PR-07")
async def test_ten_thousand_reports_in_a_tight_loop_are_bounded(tmp_path: Path) -> None:
    count = 10_000
    async with running(ECHO, tmp_path) as server:
        await server.ask(request(0, "echo"))
        baseline = peak = server.memory()
        meta = {**MODERN_META, "progressToken": "t"}
        await server.send(request(1, "tools/call", name="progress", arguments={"steps": count}, _meta=meta))
        for _ in range(10):
            await trio.sleep(0.02)
            peak = max(peak, server.memory())
        assert peak - baseline < 6 * MIB, f"grew by {(peak - baseline) / MIB:.0f} MiB"
        found = [await server.message() for _ in range(count)]
        reported = [one["params"]["progress"] for one in found]
        assert reported == sorted(set(reported)) and reported[-1] == count
        assert (await server.message())["id"] == 1


async def test_at_most_a_hundred_run_at_once(tmp_path: Path) -> None:
    count = 1200
    async with running(UNRULY, tmp_path) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.send, *(request(number, "pile", seconds=0.02) for number in range(count)))
            answers = [await server.message() for _ in range(count)]
    assert sorted(one["id"] for one in answers) == list(range(count))
    assert max(one["result"]["most"] for one in answers) == 100


# In one process, with a virtual clock.


class Gate:
    """A handler whose ``wait`` ends when the gate opens, whose ``flood`` never ends, and whose rest is quick."""

    def __init__(self) -> None:
        self.open = trio.Event()
        self.sent = 0

    async def handle(self, request: Request, context: MessageContext) -> dict[str, Any]:
        if request.method == "wait":
            await self.open.wait()
        elif request.method == "flood":
            for number in range(10_000):
                await context.notify("notifications/flood", {"number": number, "pad": "x" * 1024})
                self.sent += 1
        return {}


@asynccontextmanager
async def serving(gate: Gate, subscriptions: Subscriptions | None = None) -> AsyncIterator[MemoryServerTransport]:
    transport = MemoryServerTransport()
    async with trio.open_nursery() as nursery:
        options = {"server_info": ServerInfo("s", "1"), "subscriptions": subscriptions}
        await nursery.start(partial(serve, Handlers(gate.handle), transport, **options))
        yield transport
        nursery.cancel_scope.cancel()


async def write(link: MessageLink, *messages: Request | Notification) -> None:
    for message in messages:
        await link.write([link.encode(message)[0]])


async def read(link: MessageLink, count: int) -> list[Any]:
    """Return the next messages of a link."""
    found: list[Any] = []
    with trio.fail_after(60):
        while len(found) < count:
            assert await link.fill()
            while isinstance(message := link.next_message(), (Notification, Response)):
                found.append(message)
    assert len(found) == count
    return found


async def test_a_slow_reader_costs_the_others_nothing(autojump_clock: trio.testing.MockClock) -> None:
    gate = Gate()
    async with serving(gate) as transport:
        slow = await transport.connect()
        await write(slow, Request(1, "flood", modern_params()))
        await trio.testing.wait_all_tasks_blocked()
        assert 0 < gate.sent < 10_000
        assert transport.statistics().outbox_bytes <= MIB
        async with open_client(transport.client(), era="modern") as client:
            began = trio.current_time()
            for _ in range(200):
                assert await client.request("quick") == {"resultType": "complete", "_meta": _SERVER}
            assert trio.current_time() == began
        assert gate.sent < 10_000
        found = await read(slow, 10_001)
    assert [message.params["number"] for message in found[:-1]] == list(range(10_000))
    assert isinstance(found[-1], Response) and found[-1].error is None


_SERVER = {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}}


async def test_a_hundred_run_a_thousand_wait_and_the_peer_waits_for_the_rest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    gate = Gate()
    async with serving(gate) as transport, trio.open_nursery() as nursery:
        link = await transport.connect()
        calls = [Request(number, "wait", modern_params()) for number in range(1300)]
        nursery.start_soon(partial(write, link, *calls))
        await trio.testing.wait_all_tasks_blocked()
        now = transport.statistics()
        assert (now.in_flight, now.queued) == (100, 1000)
        # The reader took no more than that; the one it waits behind may not be counted yet.
        assert now.messages_received <= 1100
        assert now.refused == now.dropped == 0
        gate.open.set()
        answers = await read(link, 1300)
        await trio.testing.wait_all_tasks_blocked()
        then = transport.statistics()
        assert (then.in_flight, then.queued) == (0, 0)
    assert sorted(answer.id for answer in answers) == list(range(1300))
    assert all(answer.error is None for answer in answers)


async def test_cancels_and_ping_are_heard_while_all_places_are_taken(autojump_clock: trio.testing.MockClock) -> None:
    gate = Gate()
    async with serving(gate) as transport:
        link = await transport.connect()
        legacy = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
        await write(link, Request("hello", "initialize", legacy), Notification("notifications/initialized"))
        assert [one.id for one in await read(link, 1)] == ["hello"]
        await write(link, *(Request(number, "wait") for number in range(300)))
        await write(link, Notification("notifications/cancelled", {"requestId": 250}))
        await write(link, Notification("notifications/cancelled", {"requestId": 50}), Request("p", "ping"))
        assert [one.id for one in await read(link, 1)] == ["p"]
        await trio.testing.wait_all_tasks_blocked()
        now = transport.statistics()
        assert (now.in_flight, now.queued) == (100, 198)
        gate.open.set()
        answers = await read(link, 298)
    assert sorted(answer.id for answer in answers) == sorted(set(range(300)) - {50, 250})


async def collect(replies: Any, count: int) -> list[int]:
    """Return the numbers of the next notifications of a listen; None for the acknowledgement is left out."""
    numbers = []
    while len(numbers) < count:
        message = await replies.receive()
        if message.method == CHANGED:
            numbers.append(message.params["number"])
    return numbers


@pytest.mark.requirement("M-SU-16")
async def test_drop_oldest_keeps_the_newest_and_counts(autojump_clock: trio.testing.MockClock) -> None:
    subscriptions = Subscriptions(policy="drop_oldest")
    async with serving(Gate(), subscriptions) as transport, open_client(transport.client(), era="modern") as client:
        async with client.open_exchange("subscriptions/listen", LISTEN) as replies:
            assert (await replies.receive()).method == "notifications/subscriptions/acknowledged"
            for number in range(10_000):
                subscriptions.publish(CHANGED, {"number": number})
            assert await collect(replies, 256) == list(range(10_000 - 256, 10_000))
            subscriptions.publish(CHANGED, {"number": -1})
            assert await collect(replies, 1) == [-1]
            statistics = subscriptions.statistics()
    assert (statistics.published, statistics.dropped, statistics.closed) == (10_001, 10_000 - 256, 0)


@pytest.mark.requirement("M-SU-16")
async def test_close_ends_the_subscription_and_counts(autojump_clock: trio.testing.MockClock) -> None:
    subscriptions = Subscriptions(policy="close")
    async with serving(Gate(), subscriptions) as transport, open_client(transport.client(), era="modern") as client:
        async with client.open_exchange("subscriptions/listen", LISTEN) as replies:
            assert (await replies.receive()).method == "notifications/subscriptions/acknowledged"
            for number in range(10_000):
                subscriptions.publish(CHANGED, {"number": number})
            assert await collect(replies, 256) == list(range(256))
            end = await replies.receive()
            assert isinstance(end, Response) and end.error is None
            with pytest.raises(trio.EndOfChannel):
                await replies.receive()
        statistics = subscriptions.statistics()
        assert (statistics.listens, statistics.closed, statistics.dropped) == (0, 1, 0)
        assert (await client.request("quick"))["resultType"] == "complete"


async def test_block_makes_the_publisher_wait_and_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    subscriptions = Subscriptions(policy="block")

    async def publish() -> None:
        for number in range(2000):
            await subscriptions.send(CHANGED, {"number": number})

    async with serving(Gate(), subscriptions) as transport, open_client(transport.client(), era="modern") as client:
        async with client.open_exchange("subscriptions/listen", LISTEN) as replies, trio.open_nursery() as nursery:
            assert (await replies.receive()).method == "notifications/subscriptions/acknowledged"
            for number in range(256):
                subscriptions.publish(CHANGED, {"number": number})
            with pytest.raises(trio.WouldBlock):
                subscriptions.publish(CHANGED, {"number": 256})
            assert await collect(replies, 256) == list(range(256))
            nursery.start_soon(publish)
            assert await collect(replies, 2000) == list(range(2000))
        statistics = subscriptions.statistics()
    assert (statistics.published, statistics.dropped, statistics.closed) == (2256, 0, 0)


@pytest.mark.requirement("M-SU-16")
@pytest.mark.parametrize("policy", ["drop_oldest", "close"])
async def test_a_stalled_subscriber_harms_nobody(policy: Any, autojump_clock: trio.testing.MockClock) -> None:
    subscriptions = Subscriptions(policy=policy)
    async with serving(Gate(), subscriptions) as transport:
        stalled = await transport.connect()
        await write(stalled, Request("s", "subscriptions/listen", modern_params(LISTEN)))
        await trio.testing.wait_all_tasks_blocked()
        async with open_client(transport.client(), era="modern") as client:
            async with client.open_exchange("subscriptions/listen", LISTEN) as replies:
                assert (await replies.receive()).method == "notifications/subscriptions/acknowledged"
                began = trio.current_time()
                for number in range(10_000):
                    subscriptions.publish(CHANGED, {"number": number, "pad": "x" * 1024})
                    # The healthy subscriber keeps up, and so do calls on the same connection.
                    assert await collect(replies, 1) == [number]
                    if number % 100 == 0:
                        await client.request("quick")
                assert trio.current_time() == began
                assert transport.statistics().outbox_bytes <= 2 * MIB
                statistics = subscriptions.statistics()
                assert (statistics.dropped > 0, statistics.closed) == ((policy == "drop_oldest"), (policy == "close"))
