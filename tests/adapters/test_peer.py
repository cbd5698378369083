"""A transport of ours without client or service above it passes everything on: in both eras, to whoever asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import Wire, legacy_request, modern_request
from trio_mcp_transport import (
    ConnectionClosed,
    ConnectionFailed,
    Handlers,
    LocalProtocolError,
    MessageContext,
    MessageError,
    Request,
    ServerInfo,
    memory_transports,
    open_client,
    serve,
)
from trio_mcp_transport.adapters.peer import ClientPeer
from trio_mcp_transport.adapters.raw import BytesView, as_bytes_transport
from trio_mcp_transport.limits import Limits
from trio_mcp_transport.testing import StreamClientTransport, StreamServerTransport


def text(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


async def receive(transport: BytesView) -> Any:
    with trio.fail_after(5):
        return json.loads(await transport.receive())


@asynccontextmanager
async def raw_client() -> AsyncIterator[tuple[BytesView, Wire]]:
    ours, theirs = trio.testing.memory_stream_pair()
    async with as_bytes_transport(StreamClientTransport(ours)) as transport:
        yield transport, Wire(theirs)


@asynccontextmanager
async def raw_server() -> AsyncIterator[tuple[BytesView, Wire]]:
    ours, theirs = trio.testing.memory_stream_pair()
    async with as_bytes_transport(StreamServerTransport(ours)) as transport:
        yield transport, Wire(theirs)


async def test_a_request_goes_out_as_it_is_and_its_answer_comes_back_whole() -> None:
    async with raw_client() as (transport, wire):
        request = modern_request("my id", "tools/call", {"name": "x"})
        await transport.send(json.dumps(request).encode())
        assert await wire.receive() == request
        answer = {"jsonrpc": "2.0", "id": "my id", "error": {"code": 7, "message": "no", "data": [1]}}
        await wire.send_line(answer)
        assert await receive(transport) == answer


async def test_progress_comes_before_the_answer_in_its_order() -> None:
    async with raw_client() as (transport, wire):
        await transport.send(text(id=1, method="m", params={"_meta": {"progressToken": "t"}}))
        await wire.receive()
        for number in (1, 2):
            await wire.send_line(
                {
                    "jsonrpc": "2.0",
                    "method": "notifications/progress",
                    "params": {"progressToken": "t", "progress": number},
                }
            )
        await wire.send_line({"jsonrpc": "2.0", "id": 1, "result": {}})
        got = [await receive(transport) for _ in range(3)]
        assert [one.get("params", {}).get("progress") for one in got] == [1, 2, None]


async def test_an_id_in_use_is_refused_and_free_once_its_answer_was_read() -> None:
    async with raw_client() as (transport, wire):
        await transport.send(text(id=1, method="m"))
        with pytest.raises(LocalProtocolError, match="id 1"):
            await transport.send(text(id=1, method="m"))
        for _ in range(2):
            await wire.receive()
            await wire.send_line({"jsonrpc": "2.0", "id": 1, "result": {}})
            await receive(transport)
            await transport.send(text(id=1, method="m"))


async def test_a_cancellation_is_passed_on_and_nothing_is_waited_for() -> None:
    async with raw_client() as (transport, wire):
        await transport.send(text(id=1, method="m"))
        await wire.receive()
        await transport.send(text(method="notifications/cancelled", params={"requestId": 1}))
        told = await wire.receive()
        assert (told["method"], told["params"]["requestId"]) == ("notifications/cancelled", 1)
        await transport.send(text(method="notifications/other", params={"a": 1}))
        assert (await wire.receive())["params"] == {"a": 1}


async def test_a_legacy_server_asks_and_is_answered() -> None:
    async with raw_client() as (transport, wire):
        await transport.send(text(method="notifications/initialized"))
        await wire.receive()
        await wire.send_line({"jsonrpc": "2.0", "id": 9, "method": "sampling/createMessage", "params": {"x": 1}})
        asked = await receive(transport)
        assert (asked["method"], asked["params"]) == ("sampling/createMessage", {"x": 1})
        await transport.send(text(id=asked["id"], result={"y": 2}))
        assert await wire.receive() == {"jsonrpc": "2.0", "id": 9, "result": {"y": 2}}
        with pytest.raises(LocalProtocolError, match="no request"):
            await transport.send(text(id=9, result={}))


async def test_an_unreadable_message_and_the_end() -> None:
    async with raw_client() as (transport, wire):
        await transport.send(text(method="n"))
        await wire.send_bytes(b"nonsense\n")
        with pytest.raises(MessageError):
            await transport.receive()
        await wire.stream.aclose()
        for _ in range(2):
            with pytest.raises(ConnectionClosed):
                await transport.receive()
        with pytest.raises(ConnectionFailed):
            await transport.send(text(method="n"))


async def test_what_cannot_be_reached_is_told_to_every_call() -> None:
    server, client = memory_transports()
    async with trio.open_nursery() as nursery:
        shutdown = trio.Event()
        shutdown.set()
        await nursery.start(partial(serve, Handlers(), server, shutdown=shutdown))
    async with as_bytes_transport(client) as transport:
        for call in (lambda: transport.send(text(method="n")), transport.receive):
            with pytest.raises(ConnectionFailed):
                await call()


async def test_a_raw_server_sees_every_request_and_answers_itself() -> None:
    async with raw_server() as (transport, wire):
        await wire.send_line(legacy_request("h", "initialize", {"protocolVersion": "2025-11-25"}))
        nursery_answer = await receive(transport)
        assert nursery_answer["params"] == {"protocolVersion": "2025-11-25"}
        await transport.send(text(id="h", result={"anything": True}))
        assert await wire.receive() == {"jsonrpc": "2.0", "id": "h", "result": {"anything": True}}
        await wire.send_line({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert (await receive(transport))["method"] == "notifications/initialized"


async def test_a_raw_server_answers_with_errors_and_progress() -> None:
    async with raw_server() as (transport, wire):
        await wire.send_line(modern_request(1, "m", progressToken="t"))
        await receive(transport)
        await transport.send(text(method="notifications/progress", params={"progressToken": "t", "progress": 1}))
        assert (await wire.receive())["method"] == "notifications/progress"
        await transport.send(text(method="notifications/message", params={"level": "info"}))
        assert (await wire.receive())["method"] == "notifications/message"
        with pytest.raises(LocalProtocolError, match="no request"):
            await transport.send(text(method="notifications/progress", params={"progressToken": "u", "progress": 1}))
        with pytest.raises(LocalProtocolError, match="no requests of its own"):
            await transport.send(text(id=5, method="sampling/createMessage"))
        error = {"code": -32001, "message": "no", "data": {"why": 1}}
        await transport.send(text(id=1, error=error))
        assert await wire.receive() == {"jsonrpc": "2.0", "id": 1, "error": error}
        with pytest.raises(LocalProtocolError):
            await transport.send(text(method="notifications/message", params={"level": "info"}))


async def test_two_clients_with_one_id_get_their_own_answers() -> None:
    server, first = memory_transports()
    results: dict[str, Any] = {}

    async def ask(name: str, transport: Any) -> None:
        async with open_client(transport, era="modern", discover=False) as client:
            results[name] = (await client.request("m", {"name": name}))["name"]

    async with as_bytes_transport(server) as transport, trio.open_nursery() as nursery:
        nursery.start_soon(transport.receive)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    server, first = memory_transports()
    async with as_bytes_transport(server) as transport, trio.open_nursery() as nursery:
        nursery.start_soon(ask, "a", first)
        nursery.start_soon(ask, "b", server.client())
        asked = [await receive(transport) for _ in range(2)]
        assert len({request["id"] for request in asked}) == 2
        for request in reversed(asked):
            name = request["params"]["name"]
            await transport.send(text(id=request["id"], result={"name": name, "resultType": "complete"}))
    assert results == {"a": "a", "b": "b"}


async def test_closing_in_another_task_ends_a_receive_that_waits() -> None:
    async def wait(transport: BytesView) -> None:
        with pytest.raises(ConnectionClosed):
            await transport.receive()

    for made in (raw_client(), raw_server()):
        async with made as (transport, _), trio.open_nursery() as nursery:
            nursery.start_soon(wait, transport)
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(5):
                await transport.close()


async def test_one_that_is_closed_before_its_tasks_ran_does_not_connect() -> None:
    ours, _ = trio.testing.memory_stream_pair()
    peer = ClientPeer(StreamClientTransport(ours), Limits())
    async with trio.open_nursery() as nursery:
        with trio.fail_after(5):
            nursery.start_soon(peer.close)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(peer.run)


async def test_ids_made_for_one_client_collide_with_no_other_clients() -> None:
    async with raw_server() as (transport, wire):
        peer = transport._peer  # type: ignore[attr-defined]  # where two clients meet
        peer._open = {1: None, "1/1": None}
        await wire.send_line(modern_request(1))
        assert (await receive(transport))["id"] == "1/2"
        peer._open = {"1/2": peer._open["1/2"]}
        await transport.send(text(id="1/2", result={"resultType": "complete"}))
        assert (await wire.receive())["id"] == 1


@pytest.mark.parametrize("backlog", [0, 40])
async def test_a_raw_server_hears_of_a_cancellation_and_may_answer_all_the_same(backlog: int) -> None:
    async with raw_server() as (transport, wire):
        await wire.send_line(modern_request("a"))
        assert (await receive(transport))["id"] == "a"
        for number in range(backlog):
            await wire.send_line(modern_request(number))
        await wire.send_line({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "a"}})
        got = await receive(transport)
        while "id" in got:
            got = await receive(transport)
        assert (got["method"], got["params"]) == ("notifications/cancelled", {"requestId": "a"})
        await transport.send(text(id="a", result={"resultType": "complete"}))
        with pytest.raises(LocalProtocolError, match="no request that waits"):
            await transport.send(text(id="a", result={"resultType": "complete"}))


async def test_closing_a_server_answers_what_nobody_will_answer() -> None:
    async with raw_server() as (transport, wire):
        await wire.send_line(modern_request(1))
        await receive(transport)
        await transport.close()
        assert "error" in await wire.receive()


async def test_more_than_is_read_is_not_held(autojump_clock: trio.testing.MockClock) -> None:
    async def flood(request: Request, context: MessageContext) -> Any:
        for number in range(100):
            await context.notify("notifications/other", {"number": number})
        return {}

    server, client = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(flood), server, server_info=ServerInfo("s", "1")))
        async with as_bytes_transport(client) as transport:
            await transport.send(json.dumps(modern_request(1)).encode())
            await trio.sleep(1)
            got = [await receive(transport) for _ in range(101)]
            notes = [one["params"]["number"] for one in got if "method" in one]
            assert sorted(notes) == list(range(100))
        nursery.cancel_scope.cancel()
