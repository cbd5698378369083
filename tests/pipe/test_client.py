"""The client's end of a pipe: its reader never waits, and its end fails every call with the cause."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import (
    LEGACY,
    StreamClient,
    client_over_bytes,
    legacy_request,
)
from trio_mcp_transport import (
    Deadlines,
    Handlers,
    Limits,
    MessageContext,
    Notification,
    Response,
    RpcError,
    open_client,
)
from trio_mcp_transport.context import ConnectionInfo
from trio_mcp_transport.deadlines import DeadlineExceeded
from trio_mcp_transport.errors import (
    ConnectionClosed,
    ConnectionFailed,
    ReceiveBufferFull,
    RemoteProtocolError,
    TransportError,
)
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.pipe.client import PipeConnection
from trio_mcp_transport.pipe.framed import FramedLink
from trio_mcp_transport.testing import StreamClientTransport, byte_stream_pair
from trio_mcp_transport.wire.newline import NewlineCodec


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


def answer(id_: Any, result: Any = None) -> Any:
    return {"jsonrpc": "2.0", "id": id_, "result": {"resultType": "complete", **(result or {})}}


def initialized(id_: Any) -> Any:
    result = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
    return {"jsonrpc": "2.0", "id": id_, "result": result}


async def collect(outcomes: dict[Any, Any], key: Any, call: Any) -> None:
    try:
        outcomes[key] = await call
    except (TransportError, RpcError) as error:
        outcomes[key] = error


# Rule 3: the reader never waits.


async def test_a_consumer_that_takes_nothing_holds_up_nobody_else() -> None:
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:
        outcomes: dict[Any, Any] = {}
        async with client.open_exchange("slow") as replies:
            slow = await wire.receive()
            token = slow["params"]["_meta"]["progressToken"]
            for number in range(1001):
                params = {"progressToken": token, "progress": number}
                await wire.send_line({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
            nursery.start_soon(collect, outcomes, "quick", client.request("quick"))
            # Only the exchange whose buffer is full ends, and the server learns of it.
            lines = [await wire.receive(), await wire.receive()]
            cancelled = next(line for line in lines if line["method"] == "notifications/cancelled")
            quick = next(line for line in lines if line["method"] == "quick")
            assert cancelled["params"]["requestId"] == slow["id"]
            await wire.send_line(answer(quick["id"]))
            await settle()
            assert outcomes["quick"] == {"resultType": "complete"}
            received = [await replies.receive() for _ in range(1000)]
            assert all(isinstance(message, Notification) for message in received)
            with pytest.raises(ReceiveBufferFull):
                await replies.receive()


async def test_drop_oldest_loses_the_oldest_and_counts_them() -> None:
    async with client_over_bytes(limits=Limits(exchange_messages=3)) as (client, wire):
        async with client.open_exchange("slow", overflow="drop_oldest") as replies:
            id_ = (await wire.receive())["id"]
            for number in range(5):
                params = {"progressToken": id_, "progress": number}
                await wire.send_line({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
            await wire.send_line(answer(id_))
            await settle()
            messages = [message async for message in replies]
        assert [m.params["progress"] for m in messages if isinstance(m, Notification)] == [2, 3, 4]
        assert isinstance(messages[-1], Response)
        assert replies.dropped == 2
        assert client.statistics().dropped == 2


async def test_a_client_that_cannot_write_goes_on_reading() -> None:
    near, far = byte_stream_pair(500)
    async with client_over_bytes(streams=(near, far)) as (client, wire), trio.open_nursery() as nursery:
        outcomes: dict[Any, Any] = {}
        nursery.start_soon(collect, outcomes, 1, client.request("first"))
        first = await wire.receive()
        nursery.start_soon(collect, outcomes, 2, client.request("large", {"text": "x" * 5000}))
        await settle()
        await wire.send_line(answer(first["id"]))
        await settle()
        assert outcomes == {1: {"resultType": "complete"}}, "the answer was read while the pipe was full"
        large = await wire.receive()
        await wire.send_line(answer(large["id"]))


async def test_a_flood_of_requests_is_refused_and_an_unread_refusal_ends_the_connection() -> None:
    near, far = byte_stream_pair(2000)
    errors: list[Any] = []

    async def never(request: Any, context: MessageContext) -> Any:
        await trio.sleep_forever()

    async def flood() -> None:
        for number in range(10_000):
            await near.send_all(json.dumps(legacy_request(f"q{number}")).encode() + b"\n")

    handler = Handlers(never, error=lambda error, context: errors.append(error))
    limits = Limits(max_running=1, max_queued=1, outbox_bytes=5000)
    async with trio.open_nursery() as nursery:
        client_transport = StreamClient(far)
        outcomes: dict[Any, Any] = {}

        async def use() -> None:
            async with open_client(client_transport, era="legacy", handler=handler, limits=limits) as client:
                await collect(outcomes, "call", client.request("tools/list"))

        nursery.start_soon(use)
        line = json.loads(await near.receive_some())
        await near.send_all(json.dumps(initialized(line["id"])).encode() + b"\n")
        await settle()
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(5):
            await flood()
    assert isinstance(outcomes["call"], ConnectionFailed)
    assert "reads nothing" in str(errors[-1])


async def test_one_huge_chunk_lets_other_tasks_run_every_64_messages() -> None:
    frames = 0

    class Counting(NewlineCodec):
        def next_frame(self) -> Any:
            nonlocal frames
            frame = super().next_frame()
            frames += isinstance(frame, bytes)
            return frame

    class Passes(trio.abc.Instrument):
        most = last = 0

        def before_io_wait(self, timeout: float) -> None:
            self.most, self.last = max(self.most, frames - self.last), frames

    near, far = trio.testing.memory_stream_pair()
    transport = StreamClientTransport(far, codec=Counting)
    async with open_client(transport, era="modern", discover=False):
        passes = Passes()
        trio.lowlevel.add_instrument(passes)
        await near.send_all(b'{"jsonrpc":"2.0","method":"n"}\n' * 1000)
        await settle()
        trio.lowlevel.remove_instrument(passes)
    assert frames == 1000
    assert 0 < passes.most <= 64


# Requests that are not on the wire yet.


async def test_a_call_given_up_before_it_was_sent_leaves_nothing_on_the_wire(
    autojump_clock: trio.testing.MockClock,
) -> None:
    near, far = byte_stream_pair(100)
    limits = Limits(outbox_bytes=1000)
    async with client_over_bytes(streams=(near, far), limits=limits) as (client, wire), trio.open_nursery() as nursery:
        outcomes: dict[Any, Any] = {}
        nursery.start_soon(collect, outcomes, "large", client.request("large", {"text": "x" * 5000}))
        await settle()
        short = Deadlines(total=1.0)
        nursery.start_soon(collect, outcomes, "late", client.request("late", deadlines=short))
        with trio.move_on_after(0.5):
            await client.request("left")
        await trio.sleep(5)
        assert isinstance(outcomes["late"], DeadlineExceeded), "its deadline holds also while it waits for room"
        large = await wire.receive()
        assert large["method"] == "large"
        await wire.assert_silent(1)
        await wire.send_line(answer(large["id"]))
        await settle()
        assert outcomes["large"] == {"resultType": "complete"}
        assert client.statistics().pending == 0


async def test_closing_cancels_what_was_sent_and_drops_what_was_not() -> None:
    near, far = byte_stream_pair(100)
    lines: list[Any] = []
    outcomes: dict[Any, Any] = {}
    async with trio.open_nursery() as nursery:
        async with open_client(
            StreamClient(far), era="modern", discover=False, limits=Limits(outbox_bytes=1000)
        ) as client:
            nursery.start_soon(collect, outcomes, "large", client.request("large", {"text": "x" * 5000}))
            await settle()
            nursery.start_soon(collect, outcomes, "unsent", client.request("unsent"))
            await settle()

            async def read_all() -> None:
                data = b""
                while chunk := await near.receive_some():
                    data += chunk
                lines.extend(json.loads(line) for line in data.splitlines())

            nursery.start_soon(read_all)
    assert [line["method"] for line in lines] == ["large", "notifications/cancelled"]
    assert lines[1]["params"]["requestId"] == lines[0]["id"]
    assert all(type(outcome) is ConnectionClosed for outcome in outcomes.values())
    assert len(outcomes) == 2


@pytest.mark.parametrize("moment", ["waiting for room", "while the cause is sought", "a notification"])
async def test_whoever_calls_while_the_connection_dies_learns_why(
    moment: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def explain(error: TransportError) -> TransportError:
        await trio.sleep(1)
        return ConnectionClosed("the program ended", exit_status=3)

    class Explaining(StreamClient):
        async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            link = FramedLink(self._stream, NewlineCodec(), setup.limits)
            info = ConnectionInfo(transport="bytes", connection_id="bytes-1")
            connection = PipeConnection(setup, link, info, TransportMetrics(), explain=explain)
            await connection.run(task_status=task_status)

    near, far = byte_stream_pair(10)
    limits = Limits(outbox_bytes=100)
    async with open_client(Explaining(far), era="modern", discover=False, limits=limits) as client:

        async def call() -> None:
            with pytest.raises(ConnectionClosed, match="the program ended") as caught:
                await (client.notify("n") if moment == "a notification" else client.request("x"))
            assert caught.value.exit_status == 3

        async with trio.open_nursery() as nursery:
            if moment == "waiting for room":
                await client.notify("large", {"text": "x" * 1000})
                nursery.start_soon(call)
                await settle()
            near.close()
            await settle()
            nursery.start_soon(call)


@pytest.mark.parametrize("cuts", [1, 7, 5000])
async def test_an_answer_over_the_limit_fails_its_call_at_once(
    cuts: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with client_over_bytes(largest=1000) as (client, wire), trio.open_nursery() as nursery:

        async def ask() -> None:
            with trio.fail_after(1), pytest.raises(RemoteProtocolError, match="over the limit of 1000 bytes"):
                await client.request("large")

        nursery.start_soon(ask)
        request = await wire.receive()
        line = json.dumps(answer(request["id"], {"text": "x" * 2000})).encode() + b"\n"
        for start in range(0, len(line), cuts):
            await wire.send_bytes(line[start : start + cuts])
