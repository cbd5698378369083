"""Each bound at the limit, one below and one above, seen from outside; `tests/test_replies.py` has the buffers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import (
    StreamClient,
    StreamServer,
    Wire,
    client_over_bytes,
    legacy_request,
    modern_request,
    serve_bytes,
    shake_hands,
)
from trio_mcp_transport import (
    Client,
    ConfigError,
    Handlers,
    Limits,
    LocalProtocolError,
    MessageTooLarge,
    ReceiveBufferFull,
    RemoteProtocolError,
    ServerInfo,
    Subscriptions,
    open_client,
    serve,
)

BOUNDS = [
    "max_message_size",
    "max_outgoing_size",
    "max_depth",
    "max_running",
    "max_running_bytes",
    "max_queued",
    "max_queued_bytes",
    "max_listens",
    "max_pending",
    "exchange_messages",
    "exchange_bytes",
    "outbox_bytes",
]
AROUND = pytest.mark.parametrize("over", [-1, 0, 1], ids=["one below", "at", "one above"])


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_is_an_integer_of_at_least_one(name: str) -> None:
    assert getattr(Limits(**{name: 1}), name) == 1
    for bad in (0, -1, 1.5, True, "1"):
        with pytest.raises(ConfigError, match=name):
            Limits(**{name: bad})  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("name", ["write_deadline", "grace"])
def test_a_time_is_positive(name: str) -> None:
    assert getattr(Limits(**{name: 0.1}), name) == 0.1
    for bad in (0, -1):
        with pytest.raises(ValueError, match=name):
            Limits(**{name: bad})


def test_defaults_are_the_documented_ones() -> None:
    limits = Limits()
    mib = 1024 * 1024
    assert (limits.max_running, limits.max_queued, limits.max_listens, limits.max_depth) == (100, 1000, 100, 128)
    assert (limits.exchange_messages, limits.exchange_bytes, limits.outbox_bytes) == (1000, mib, mib)
    assert (limits.write_deadline, limits.message_size(7), Limits(max_message_size=9).message_size(7)) == (30, 7, 9)


class Gate:
    """A handler that answers when the gate opens, and knows how many wait there."""

    def __init__(self) -> None:
        self.open = trio.Event()
        self.waiting = 0

    async def __call__(self, request: Any, context: Any) -> dict[str, Any]:
        self.waiting += 1
        await self.open.wait()
        return {}


@AROUND
async def test_max_message_size(over: int) -> None:
    line = json.dumps(modern_request(1, "echo", {"pad": "x" * 1000})).encode()
    async with serve_bytes(largest=len(line) - over) as wire:
        await wire.send_line(line)
        answer = await wire.receive()
        assert answer.get("error", {}).get("code") == (-32600 if over > 0 else None)
        assert (await wire.ask(modern_request(2)))["id"] == 2


@AROUND
async def test_max_message_size_of_a_client(over: int) -> None:
    limit = 1000
    async with client_over_bytes(largest=limit) as (client, wire):
        results: list[Any] = []

        async def ask() -> None:
            try:
                results.append(await client.request("x"))
            except RemoteProtocolError as error:
                results.append(error)

        async def reply(size: int) -> None:
            request = await wire.receive()
            message = {"jsonrpc": "2.0", "id": request["id"], "result": {"pad": ""}}
            message["result"]["pad"] = "x" * (size - len(json.dumps(message)))
            await wire.send_line(message)
            await trio.testing.wait_all_tasks_blocked()

        for size in (limit + over, limit // 2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await reply(size)
    assert [isinstance(result, RemoteProtocolError) for result in results] == [over > 0, False]


@AROUND
async def test_max_outgoing_size_of_a_server(over: int) -> None:
    answers: list[Any] = []
    for limit in (10_000, None):
        # The first answer tells how long the line is; the second server has exactly that limit.
        size = len(json.dumps(answers[0], separators=(",", ":"))) - over if limit is None else limit
        async with serve_bytes(lambda request, context: {"pad": "x"}, limits=Limits(max_outgoing_size=size)) as wire:
            answers.append(await wire.ask(modern_request(1)))
    if over <= 0:
        assert answers[1] == answers[0]
    else:
        assert answers[1]["id"] == 1
        assert answers[1]["error"]["data"] == {"reason": "too_large"}


@AROUND
async def test_max_outgoing_size_of_a_client(over: int, autojump_clock: trio.testing.MockClock) -> None:
    limit = 2000
    async with client_over_bytes(limits=Limits(max_outgoing_size=limit)) as (client, wire):
        await client.notify("notifications/n", {"pad": ""})
        bare = len(await wire.receive_line())
        pad = {"pad": "x" * (limit - bare + over)}
        if over <= 0:
            await client.notify("notifications/n", pad)
            assert len(await wire.receive_line()) == limit + over
        else:
            with pytest.raises(MessageTooLarge, match=str(limit)):
                await client.notify("notifications/n", pad)
            with pytest.raises(MessageTooLarge):
                await client.request("x", pad)
            await wire.assert_silent()
        await client.notify("notifications/n")
        assert (await wire.receive())["method"] == "notifications/n"


@AROUND
async def test_max_depth(over: int) -> None:
    # The message itself, its params and the member are three levels.
    limit = 200
    deep: Any = "x"
    for _ in range(limit - 2 + over):
        deep = [deep]
    async with serve_bytes(limits=Limits(max_depth=limit)) as wire:
        answer = await wire.ask(modern_request(1, "echo", {"deep": deep}))
        assert answer.get("error", {}).get("code") == (-32700 if over > 0 else None)
        assert (await wire.ask(modern_request(2)))["id"] == 2


@AROUND
async def test_max_running(over: int) -> None:
    gate = Gate()
    limit = 5
    async with serve_bytes(gate, limits=Limits(max_running=limit)) as wire:
        for number in range(limit + over):
            await wire.send_line(modern_request(number))
        await trio.testing.wait_all_tasks_blocked()
        assert gate.waiting == min(limit, limit + over)
        gate.open.set()
        assert sorted([(await wire.receive())["id"] for _ in range(limit + over)]) == list(range(limit + over))


@asynccontextmanager
async def asking(limits: Limits, gate: Gate) -> AsyncIterator[tuple[Wire, Any]]:
    """Serve a legacy peer that was asked something and has not answered: now the reader refuses, and never waits."""

    async def handler(request: Any, context: Any) -> Any:
        if request.method == "ask":
            await context.request("sampling/createMessage", {"of": request.params})
            return {}
        return await gate(request, context)

    async with serve_bytes(handler, limits=limits) as wire:
        await shake_hands(wire)
        await wire.send_line(legacy_request("asking", "ask"))
        yield wire, await wire.receive()


@AROUND
async def test_max_queued_refuses_while_a_call_to_the_peer_is_pending(over: int) -> None:
    running, queued, gate = 2, 4, Gate()
    count = running + queued + over
    async with asking(Limits(max_running=running, max_queued=queued), gate) as (wire, question):
        for number in range(count):
            await wire.send_line(legacy_request(number))
        await trio.testing.wait_all_tasks_blocked()
        if over > 0:
            refusal = await wire.receive()
            assert (refusal["id"], refusal["error"]["code"]) == (count - 1, -32603)
            assert refusal["error"]["data"] == {"reason": "busy"}
        assert gate.waiting == running
        gate.open.set()
        served = min(count, running + queued)
        assert sorted([(await wire.receive())["id"] for _ in range(served)]) == list(range(served))
        await wire.send_line({"jsonrpc": "2.0", "id": question["id"], "result": {}})
        assert (await wire.receive())["id"] == "asking"


@AROUND
async def test_max_queued_bytes_refuses_while_a_call_to_the_peer_is_pending(over: int) -> None:
    gate = Gate()
    first, second = (json.dumps(legacy_request(number, "x", {"pad": "x" * 500})).encode() for number in (1, 2))
    # A queue has a place for one more while it holds less than its bytes.
    limits = Limits(max_running=1, max_queued_bytes=len(first) - over)
    async with asking(limits, gate) as (wire, _):
        await wire.send_line(legacy_request(0))
        await wire.send_line(first)
        await wire.send_line(second)
        await trio.testing.wait_all_tasks_blocked()
        gate.open.set()
        answers = {answer["id"]: answer for answer in [await wire.receive() for _ in range(3)]}
    assert [number for number in (0, 1, 2) if "error" in answers[number]] == ([] if over < 0 else [2])


@AROUND
async def test_max_listens(over: int) -> None:
    limit = 3
    params = {"notifications": {"toolsListChanged": True}}
    async with serve_bytes(limits=Limits(max_listens=limit, max_running=1), subscriptions=Subscriptions()) as wire:
        for number in range(limit + over):
            await wire.send_line(modern_request(number, "subscriptions/listen", params))
        await trio.testing.wait_all_tasks_blocked()
        answers = [await wire.receive() for _ in range(limit + over)]
        acknowledged = [one for one in answers if one.get("method") == "notifications/subscriptions/acknowledged"]
        refused = [one for one in answers if "error" in one]
        assert (len(acknowledged), len(refused)) == (min(limit, limit + over), max(over, 0))
        # Listens take no place among the running.
        assert "result" in await wire.ask(modern_request("call"))


@AROUND
async def test_max_pending(over: int) -> None:
    limit = 3
    refused: list[LocalProtocolError] = []

    async def ask_many(request: Any, context: Any) -> dict[str, Any]:
        async def ask() -> None:
            try:
                await context.request("sampling/createMessage", {})
            except LocalProtocolError as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(limit + over):
                nursery.start_soon(ask)
        return {}

    async with serve_bytes(ask_many, limits=Limits(max_pending=limit)) as wire:
        await shake_hands(wire)
        await wire.send_line(legacy_request("many"))
        questions = [await wire.receive() for _ in range(min(limit, limit + over))]
        for question in questions:
            await wire.send_line({"jsonrpc": "2.0", "id": question["id"], "result": {}})
        assert (await wire.receive())["id"] == "many"
    assert len(refused) == max(over, 0)


@AROUND
async def test_exchange_messages(over: int) -> None:
    async with client_over_bytes(limits=Limits(exchange_messages=4)) as (client, wire):
        received, failure = await buffer(client, wire, [0] * (4 + over))
    assert (received, failure) == ((4, True) if over > 0 else (4 + over, False))


@AROUND
async def test_exchange_bytes(over: int) -> None:
    async with client_over_bytes(limits=Limits(exchange_bytes=4000)) as (client, wire):
        received, failure = await buffer(client, wire, [1000, 1000, 1000, 1000 + over])
    assert (received, failure) == ((3, True) if over > 0 else (4, False))


async def buffer(client: Client, wire: Wire, sizes: list[int]) -> tuple[int, bool]:
    """Send notifications of sizes in bytes before any is consumed; return how many came, and whether it failed."""
    received = 0
    async with client.open_exchange("x") as replies:
        request = await wire.receive()
        params = {"progressToken": request["params"]["_meta"]["progressToken"], "progress": 1, "message": ""}
        message = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        bare = len(json.dumps(message))
        for size in sizes:
            params["message"] = "x" * (size - bare)
            await wire.send_line(message)
        await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "result": {}})
        await trio.testing.wait_all_tasks_blocked()
        try:
            async for _ in replies:
                received += 1
        except ReceiveBufferFull:
            return received, True
    return received - 1, False


@asynccontextmanager
async def serve_slowly(handler: Any, limits: Limits, **options: Any) -> AsyncIterator[Wire]:
    """Serve over a stream that holds nothing: what is not read is not written."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        transport = StreamServer(theirs)
        options = {"server_info": ServerInfo("s", "1"), "limits": limits, **options}
        await nursery.start(partial(serve, Handlers(handler), transport, **options))
        yield Wire(ours)
        nursery.cancel_scope.cancel()


@AROUND
async def test_outbox_bytes(over: int, autojump_clock: trio.testing.MockClock) -> None:
    sizes: list[int] = []
    sent: list[int] = []

    async def flood(request: Any, context: Any) -> dict[str, Any]:
        # The first is with the writer and still counts; two more are put beside it.
        for number in range(3):
            await context.notify("notifications/n", {"number": number})
            sent.append(number)
        return {}

    async with serve_bytes(flood) as wire:
        await wire.send_line(modern_request(1, "flood"))
        sizes += [len(await wire.receive_line()) + 1 for _ in range(3)]
    sent.clear()
    async with serve_slowly(flood, Limits(outbox_bytes=sum(sizes) - over)) as wire:
        await wire.send_line(modern_request(1, "flood"))
        await trio.testing.wait_all_tasks_blocked()
        assert sent == ([0, 1] if over > 0 else [0, 1, 2])
        assert [json.loads(await wire.receive_line())["params"]["number"] for _ in range(3)] == [0, 1, 2]
        assert (await wire.receive())["id"] == 1


@pytest.mark.parametrize("seconds", [29.9, 30.1])
async def test_write_deadline(seconds: float, autojump_clock: trio.testing.MockClock) -> None:
    async with serve_slowly(lambda request, context: {}, Limits()) as wire:
        await wire.send_line(modern_request(1))
        await trio.sleep(seconds)
        if seconds < 30:
            assert (await wire.receive())["id"] == 1
            assert (await wire.ask(modern_request(2)))["id"] == 2
        else:
            # What the cancelled write had left in the stream, and then the end.
            assert len(await wire.receive_rest()) <= 1
            with pytest.raises(trio.BrokenResourceError):
                await wire.send_line(modern_request(2))


@pytest.mark.parametrize("grace", [1.0, 5.0])
async def test_grace_bounds_the_close_hook(grace: float, autojump_clock: trio.testing.MockClock) -> None:
    ended: list[float] = []
    ours, theirs = trio.testing.memory_stream_pair()

    async def close(context: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve, Handlers(close=close), StreamServer(theirs), limits=Limits(grace=grace)))
        await ours.send_eof()
    assert ended == [began + grace]


async def test_grace_bounds_the_last_flush_of_a_client(autojump_clock: trio.testing.MockClock) -> None:
    _ours, theirs = trio.testing.lockstep_stream_pair()
    began = trio.current_time()
    async with open_client(StreamClient(theirs), era="modern", discover=False, limits=Limits(grace=2)) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.notify, "notifications/n")
            await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() - began == 2
