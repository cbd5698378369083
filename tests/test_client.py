from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from tests.support import CAPABILITIES_KEY, MODERN, VERSION_KEY, Wire, client_over_bytes
from trio_mcp_transport import (
    Client,
    ClientInfo,
    ConnectionClosed,
    Deadlines,
    Handlers,
    LocalProtocolError,
    MessageContext,
    RemoteProtocolError,
    Request,
    RpcError,
    ServerInfo,
    memory_transports,
    open_client,
    serve,
)


async def echo(request: Request, context: MessageContext) -> dict[str, Any]:
    """Answer with the params, after a report of progress for every ``steps``."""
    for step in range(request.params.get("steps", 0)):
        await context.progress(step)
    return {key: value for key, value in request.params.items() if key != "_meta"}


@asynccontextmanager
async def connected(handler: Any = echo, **options: Any) -> AsyncIterator[Client]:
    server, transport = memory_transports()
    info = ServerInfo("s", "2", capabilities={"tools": {}}, instructions="Ask away.")
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(handler), server, server_info=info))
        async with open_client(transport, **options) as client:
            yield client
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def one_call(client: Client, wire: Wire, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
    """Make a call and give its request, and a list for its result or error, to the block."""
    outcome: list[Any] = []

    async def run() -> None:
        try:
            outcome.append(await client.request(*arguments, **options))
        except (RpcError, RemoteProtocolError, ConnectionClosed) as error:
            outcome.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield await wire.receive(), outcome


def result(id_: Any, **members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "result": members}


@pytest.mark.parametrize(("era", "revision"), [("modern", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_what_the_server_said(era: Any, revision: str) -> None:
    async with connected(era=era) as client:
        assert (client.era, client.revision) == (era, revision)
        assert client.server_info == {"name": "s", "version": "2"}
        assert client.server_capabilities == {"tools": {}}
        assert client.instructions == "Ask away."


async def test_params_may_be_a_mapping_or_json_text() -> None:
    async with connected(era="modern") as client:
        for params in ({"a": [1, None]}, b'{"a": [1, null]}', msgspec.Raw(b'{"a":[1,null]}')):
            assert (await client.request("x", params))["a"] == [1, None]
        assert set(await client.request("x")) == {"resultType", "_meta"}
        for bad in (b"[1]", b"{", b'{"a":NaN}'):
            with pytest.raises(LocalProtocolError):
                await client.request("x", bad)
        with pytest.raises(LocalProtocolError):
            await client.request("x", {"a": float("nan")})


async def test_raw_results_are_the_text_as_received() -> None:
    async with client_over_bytes() as (client, wire):
        raw: list[msgspec.Raw] = []

        async def run() -> None:
            raw.append(await client.request_raw("x"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            id_ = (await wire.receive())["id"]
            await wire.send_line(b'{"result":  {"b" : 1.50, "a":[ ]} ,"jsonrpc":"2.0","id":%d}' % id_)
        assert bytes(raw[0]) == b'{"b" : 1.50, "a":[ ]}'


@pytest.mark.requirement("M-ME-01", "M-ME-02", "M-ME-03")
async def test_every_modern_request_carries_its_envelope() -> None:
    info = ClientInfo("me", "3", capabilities={"elicitation": {}})
    for send_info in (True, False):
        async with client_over_bytes(client_info=info, send_info=send_info) as (client, wire):
            for method in ("tools/call", "subscriptions/listen"):
                async with client.open_exchange(method, {"_meta": {"com.example/x": 1}, "a": 2}):
                    params = (await wire.receive())["params"]
                await wire.receive()
                assert params["a"] == 2
                meta = params["_meta"]
                assert (meta[VERSION_KEY], meta[CAPABILITIES_KEY]) == (MODERN, {"elicitation": {}})
                assert meta["com.example/x"] == 1
                expected = {"name": "me", "version": "3"} if send_info else None
                assert meta.get("io.modelcontextprotocol/clientInfo") == expected


@pytest.mark.requirement("M-PR-01", "M-PR-02")
async def test_progress_reaches_its_own_call_in_order() -> None:
    async with connected(era="modern") as client, trio.open_nursery() as nursery:

        async def call(steps: int) -> None:
            plain: list[float] = []
            awaited: list[float] = []

            async def take(params: Mapping[str, Any]) -> None:
                await trio.lowlevel.checkpoint()
                awaited.append(params["progress"])

            await client.request("x", {"steps": steps}, on_progress=lambda params: plain.append(params["progress"]))
            await client.request("x", {"steps": steps}, on_progress=take)
            assert plain == awaited == list(range(steps))

        for steps in range(20):
            nursery.start_soon(call, steps)


async def test_progress_is_asked_for_only_where_somebody_wants_it() -> None:
    async with client_over_bytes() as (client, wire):
        tokens = []
        for options in ({}, {"on_progress": print}, {"deadlines": Deadlines(idle=5)}):
            async with one_call(client, wire, "x", **options) as (request, _):
                tokens.append(request["params"]["_meta"].get("progressToken"))
                await wire.send_line(result(request["id"]))
    assert tokens[0] is None
    assert type(tokens[1]) is int and type(tokens[2]) is int and tokens[1] != tokens[2]


async def test_a_callback_that_fails_cancels_the_call() -> None:
    async with client_over_bytes() as (client, wire):

        def fail(params: Mapping[str, Any]) -> None:
            raise KeyError("mine")

        async def run() -> None:
            with pytest.raises(KeyError, match="mine"):
                await client.request("x", on_progress=fail)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            request = await wire.receive()
            params = {"progressToken": request["params"]["_meta"]["progressToken"], "progress": 1}
            await wire.send_line({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        cancel = await wire.receive()
        assert (cancel["method"], cancel["params"]["requestId"]) == ("notifications/cancelled", request["id"])


@pytest.mark.requirement("M-JR-08", "M-JR-09")
async def test_result_types_are_checked() -> None:
    async with client_over_bytes() as (client, wire):
        for members, good in (
            ({}, True),
            ({"resultType": "complete"}, True),
            ({"resultType": "input_required", "requestState": "s"}, True),
            ({"resultType": "zzz"}, False),
            ({"resultType": 1}, False),
        ):
            async with one_call(client, wire, "tools/call") as (request, outcome):
                await wire.send_line(result(request["id"], **members))
            assert (outcome == [members]) if good else isinstance(outcome[0], RemoteProtocolError)


@pytest.mark.requirement("M-JR-10")
async def test_result_types_of_declared_extensions_are_taken() -> None:
    async with client_over_bytes(extensions=frozenset({"task"})) as (client, wire):
        for kind, good in (("task", True), ("zzz", False)):
            async with one_call(client, wire, "tools/call") as (request, outcome):
                await wire.send_line(result(request["id"], resultType=kind))
            assert isinstance(outcome[0], dict) == good


async def test_an_invalid_answer_fails_its_call_and_no_other() -> None:
    async with client_over_bytes() as (client, wire):
        async with one_call(client, wire, "x") as (request, outcome):
            await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "result": {}, "error": {"code": 1}})
        assert isinstance(outcome[0], RemoteProtocolError)
        async with one_call(client, wire, "x") as (request, outcome):
            await wire.send_line(result(request["id"], a=1))
        assert outcome == [{"a": 1}]


@pytest.mark.requirement("M-VN-03")
async def test_another_revision_is_tried_once_with_a_new_id(autojump_clock: trio.testing.MockClock) -> None:
    unsupported = {"code": -32022, "message": "unsupported"}
    async with client_over_bytes(revisions=("2099-01-01", MODERN)) as (client, wire):
        async with one_call(client, wire, "x") as (request, outcome):
            assert request["params"]["_meta"][VERSION_KEY] == "2099-01-01"
            data = {"supported": [MODERN], "requested": "2099-01-01"}
            await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "error": {**unsupported, "data": data}})
            again = await wire.receive()
            assert again["params"]["_meta"][VERSION_KEY] == MODERN
            assert again["id"] != request["id"]
            await wire.send_line(result(again["id"], a=1))
        assert outcome == [{"a": 1}]
        async with one_call(client, wire, "x") as (request, outcome):
            data = {"supported": ["1999-01-01"], "requested": MODERN}
            await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "error": {**unsupported, "data": data}})
        assert isinstance(outcome[0], RpcError) and outcome[0].code == -32022
        await wire.assert_silent()


@pytest.mark.requirement("M-CA-08")
async def test_a_late_answer_is_for_nobody() -> None:
    async with client_over_bytes() as (client, wire):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.request, "x")
            request = await wire.receive()
            nursery.cancel_scope.cancel()
        assert (await wire.receive())["params"]["requestId"] == request["id"]
        await wire.send_line(result(request["id"]))
        async with one_call(client, wire, "x") as (request, outcome):
            await wire.send_line(result(request["id"], a=1))
        assert outcome == [{"a": 1}]


async def test_closing_fails_open_and_later_calls_and_may_be_repeated() -> None:
    async with client_over_bytes() as (client, wire):
        outcomes: list[str] = []

        async def call() -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await client.request("x")
            outcomes.append(str(caught.value))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(3):
                nursery.start_soon(client.aclose)
        assert len(outcomes) == 3
        for later in (partial(client.request, "x"), partial(client.notify, "n"), client.open_exchange("x").__aenter__):
            with pytest.raises(ConnectionClosed):
                await later()
        await client.aclose()
        client.close()
        # Each open call was cancelled at the peer before the end.
        lines = await wire.receive_rest()
        assert [line["method"] for line in lines] == ["x"] * 3 + ["notifications/cancelled"] * 3
        assert {line["params"]["requestId"] for line in lines[3:]} == {line["id"] for line in lines[:3]}


async def test_a_dead_connection_fails_each_caller_with_an_error_of_its_own() -> None:
    errors: list[ConnectionClosed] = []
    async with client_over_bytes() as (client, wire):

        async def call() -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await client.request("x")
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            await wire.stream.aclose()
        await call()
    assert len({id(error) for error in errors}) == 6
    assert {str(error) for error in errors} == {"the server closed the connection"}


async def test_one_client_serves_fifty_tasks() -> None:
    async with connected(era="modern") as client, trio.open_nursery() as nursery:

        async def work(number: int) -> None:
            for step in range(10):
                assert (await client.request("x", {"n": [number, step]}))["n"] == [number, step]

        for number in range(50):
            nursery.start_soon(work, number)


async def test_every_call_is_a_checkpoint_and_obeys_a_cancelled_scope() -> None:
    async with connected(era="modern") as client:
        with trio.testing.assert_checkpoints():
            await client.request("x")
        with trio.testing.assert_checkpoints():
            await client.notify("notifications/n")
        for method in (partial(client.request, "x"), partial(client.notify, "notifications/n")):
            with trio.CancelScope() as scope:
                scope.cancel()
                await method()
            assert scope.cancelled_caught
        assert await client.request("x", {"still": "alive"})


async def test_an_answer_that_cannot_be_decoded_fails_its_call_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:

        async def ask() -> None:
            with trio.fail_after(1), pytest.raises(RemoteProtocolError, match="tools/call"):
                await client.request("tools/call")

        nursery.start_soon(ask)
        request = await wire.receive()
        await wire.send_line(b'{"jsonrpc":"2.0","id":%d,"result":{"a":1e400}}' % request["id"])
