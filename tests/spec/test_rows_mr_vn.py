"""The rows on multi round-trip requests and on discovery, seen from the wire, over memory, and through a process."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.support import MODERN, client_over_bytes, modern_request, serve_bytes
from trio_mcp_transport import (
    Client,
    ClientInfo,
    EraPolicy,
    Handlers,
    LocalProtocolError,
    MemoryServerTransport,
    MessageContext,
    RemoteProtocolError,
    Request,
    RpcError,
    ServerInfo,
    StateSigner,
    StdioClientTransport,
    input_required,
    memory_transports,
    missing_capability,
    open_client,
    serve,
)

ASK = {"who": {"method": "elicitation/create", "params": {"message": "who?"}}}
ANSWER = {"who": {"action": "accept", "content": {"name": "ann"}}}
ELICITS = ClientInfo("c", "1", {"elicitation": {}})
METHODS = ["tools/call", "prompts/get", "resources/read"]


async def over_memory(
    handler: Any,
    play: Callable[[Client, MemoryServerTransport], Awaitable[Any]],
    info: ClientInfo = ELICITS,
    **options: Any,
) -> Any:
    """Serve a handler in memory and return what ``play`` returns."""
    server, there = memory_transports()
    async with trio.open_nursery() as nursery:
        options = {"server_info": ServerInfo("s", "1"), **options}
        await nursery.start(partial(serve, Handlers(handler), server, **options))
        async with open_client(there, era="modern", client_info=info) as client:
            result = await play(client, server)
        nursery.cancel_scope.cancel()
    return result


def ask_once(request: Request, context: MessageContext) -> Any:
    """Ask for a name, and greet it in the retry; keeps nothing in between."""
    answers = request.params.get("inputResponses")
    if answers is None:
        return input_required(ASK, state="the state")
    return {"name": answers["who"]["content"]["name"], "state": request.params["requestState"]}


# Multi round-trip requests.


@pytest.mark.requirement("M-MR-01", "M-MR-10")
@pytest.mark.parametrize("method", METHODS)
async def test_asking_ends_the_request_and_leaves_nothing(method: str) -> None:
    async def play(client: Client, server: MemoryServerTransport) -> None:
        interim = await client.request(method)
        assert (interim["resultType"], interim["inputRequests"], interim["requestState"]) == (
            "input_required",
            ASK,
            "the state",
        )
        await trio.testing.wait_all_tasks_blocked()
        held = server.statistics()
        assert (held.in_flight, held.queued, held.pending, held.outbox_bytes) == (0, 0, 0, 0)
        retry = {"inputResponses": ANSWER, "requestState": interim["requestState"]}
        assert (await client.request(method, retry))["name"] == "ann"

    await over_memory(ask_once, play)


@pytest.mark.requirement("M-MR-01", "M-MR-10")
async def test_the_id_of_an_interim_result_is_free_at_once() -> None:
    async with serve_bytes(ask_once) as wire:
        capable = modern_request(1, "tools/call")
        capable["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = {"elicitation": {}}
        for _ in range(3):
            answer = await wire.ask(capable)
            assert (answer["id"], answer["result"]["resultType"]) == (1, "input_required")


EMPTY: list[Any] = [
    {"resultType": "input_required"},
    {"resultType": "input_required", "inputRequests": {}},
    {"resultType": "input_required", "inputRequests": None, "requestState": None},
    b'{"resultType":"input_required"}',
]


@pytest.mark.requirement("M-MR-02")
@pytest.mark.parametrize("empty", EMPTY, ids=repr)
async def test_a_result_that_asks_for_nothing_is_refused(empty: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def play(client: Client, server: MemoryServerTransport) -> None:
        with pytest.raises(RpcError) as caught:
            await client.request("tools/call")
        assert caught.value.code == -32603

    await over_memory(lambda request, context: empty, play)
    assert "needs input requests, a state, or both" in caplog.text
    with pytest.raises(LocalProtocolError):
        input_required()


@pytest.mark.requirement("M-MR-03")
@pytest.mark.parametrize("method", ["tools/list", "completion/complete", "resources/list", "my/method"])
@pytest.mark.parametrize("as_text", [False, True])
async def test_only_three_methods_may_ask(method: str, as_text: bool, caplog: pytest.LogCaptureFixture) -> None:
    result = input_required(ASK)

    async def play(client: Client, server: MemoryServerTransport) -> None:
        with pytest.raises(RpcError) as caught:
            await client.request(method)
        assert caught.value.code == -32603

    await over_memory(lambda request, context: json.dumps(result).encode() if as_text else result, play)
    assert "cannot be answered with input_required" in caplog.text


@pytest.mark.requirement("M-MR-04", "M-ME-07")
@pytest.mark.parametrize(
    ("kind", "capability"),
    [("elicitation/create", "elicitation"), ("sampling/createMessage", "sampling"), ("roots/list", "roots")],
)
async def test_a_kind_the_client_did_not_declare_is_a_missing_capability(kind: str, capability: str) -> None:
    async def play(client: Client, server: MemoryServerTransport) -> Any:
        try:
            return await client.request("tools/call")
        except RpcError as error:
            return error

    def handler(request: Request, context: MessageContext) -> Any:
        return input_required({"a": {"method": kind}})

    error = await over_memory(handler, play, ClientInfo("c", "1"))
    assert isinstance(error, RpcError)
    assert (error.code, error.data) == (-32021, {"requiredCapabilities": {capability: {}}})
    result = await over_memory(handler, play, ClientInfo("c", "1", {capability: {}}))
    assert result["inputRequests"] == {"a": {"method": kind}}


async def answer(wire: Any, result: dict[str, Any]) -> dict[str, Any]:
    """Answer the next request; return it."""
    request: dict[str, Any] = await wire.receive()
    await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "result": result})
    return request


@pytest.mark.requirement("M-MR-05", "M-MR-07")
async def test_a_retry_has_a_new_id_and_parallel_calls_carry_nothing_of_it(autojump_clock: Any) -> None:
    async with client_over_bytes(client_info=ELICITS) as (client, wire), trio.open_nursery() as nursery:
        results: list[Any] = []

        async def call(params: dict[str, Any]) -> None:
            results.append(await client.request("tools/call", params))

        nursery.start_soon(call, {"n": 1})
        first = await answer(wire, input_required(ASK, state="s"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(call, {"n": 1, "inputResponses": ANSWER, "requestState": results[0]["requestState"]})
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(call, {"n": 2})
        retry, other = await answer(wire, {}), await answer(wire, {})
    assert len({first["id"], retry["id"], other["id"]}) == 3
    assert (retry["params"]["inputResponses"], retry["params"]["requestState"]) == (ANSWER, "s")
    for one in (first, other):
        assert not {"inputResponses", "requestState"} & set(one["params"])


@pytest.mark.requirement("M-MR-06")
@given(st.text(st.characters(codec="utf-8")))
def test_a_state_is_echoed_exactly(state: str) -> None:
    async def check() -> None:
        async with serve_bytes(lambda request, context: input_required(state=state)) as wire:
            line = await wire.ask(modern_request(1, "tools/call"))
        async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:

            async def converse() -> None:
                interim = await client.request("tools/call")
                await client.request("tools/call", {"requestState": interim["requestState"]})

            nursery.start_soon(converse)
            first = await answer(wire, line["result"])
            retry = await answer(wire, {})
        assert "requestState" not in first["params"]
        assert retry["params"]["requestState"] == state

    trio.run(check, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.requirement("M-MR-06")
async def test_without_a_state_none_is_sent() -> None:
    async with client_over_bytes(client_info=ELICITS) as (client, wire), trio.open_nursery() as nursery:
        nursery.start_soon(client.request, "tools/call", {"inputResponses": ANSWER})
        assert "requestState" not in (await answer(wire, {}))["params"]


@pytest.mark.requirement("M-MR-08", "M-MR-11")
async def test_the_library_never_retries_by_itself(autojump_clock: Any) -> None:
    counted = 0

    def shed_load(request: Request, context: MessageContext) -> Any:
        nonlocal counted
        counted += 1
        return input_required(state=f"later {counted}")

    async def play(client: Client, server: MemoryServerTransport) -> None:
        params: dict[str, Any] = {}
        for attempt in range(1, 6):  # the application's own bound, with its own back-off
            interim = await client.request("tools/call", params)
            assert (interim["requestState"], counted) == (f"later {attempt}", attempt)
            params = {"requestState": interim["requestState"]}
            await trio.sleep(2**attempt)
        for _ in range(2):  # equal requests, two answers: nothing is cached
            await client.request("tools/call", params)
        assert counted == 7

    await over_memory(shed_load, play)


@pytest.mark.requirement("M-MR-09")
async def test_a_forged_state_is_invalid_params() -> None:
    signer = StateSigner(b"0123456789abcdef")

    def handle(request: Request, context: MessageContext) -> Any:
        if "requestState" not in request.params:
            return input_required(state=signer.sign({"step": 1}, method=request.method, expires_at=10.0))
        return {"state": signer.verify(request.params["requestState"], method=request.method, now=5.0)}

    async def play(client: Client, server: MemoryServerTransport) -> None:
        state = (await client.request("tools/call"))["requestState"]
        assert (await client.request("tools/call", {"requestState": state}))["state"] == {"step": 1}
        for method, forged in (
            ("prompts/get", state),
            ("tools/call", state[:-2] + "AA"),
            ("tools/call", ""),
            ("tools/call", None),
            ("tools/call", 5),
            ("tools/call", {"step": 1}),
        ):
            with pytest.raises(RpcError) as caught:
                await client.request(method, {"requestState": forged})
            assert (caught.value.code, caught.value.data) == (-32602, None)

    await over_memory(handle, play)


# Versions, discovery, extensions.


@pytest.mark.requirement("M-VN-01")
@pytest.mark.parametrize("method", ["echo", "server/discover", "subscriptions/listen", "initialize"])
async def test_an_unsupported_revision_is_answered_with_the_supported_ones(method: str) -> None:
    async with serve_bytes() as wire:
        version = {"io.modelcontextprotocol/protocolVersion": "1900-01-01"}
        refusal = await wire.ask(modern_request("v", method, **version))
        discovered = (await wire.ask(modern_request(2, "server/discover")))["result"]
    assert refusal["id"] == "v"
    assert refusal["error"]["code"] == -32022
    assert refusal["error"]["data"] == {"supported": [MODERN], "requested": "1900-01-01"}
    assert set(refusal["error"]["data"]["supported"]) <= set(discovered["supportedVersions"])


DISCOVER = {"supportedVersions": list, "capabilities": dict, "resultType": str, "ttlMs": int, "cacheScope": str}


@pytest.mark.requirement("M-VN-04")
async def test_the_echo_server_answers_discover_over_stdio_and_memory() -> None:
    command = [sys.executable, "-m", "trio_mcp_transport", "echo", "stdio"]
    results = []
    with trio.fail_after(20):
        async with open_client(StdioClientTransport(command), era="modern", discover=False) as client:
            results.append(await client.request("server/discover"))

    async def play(client: Client, server: MemoryServerTransport) -> Any:
        return await client.request("server/discover")

    results.append(await over_memory(lambda request, context: {}, play))
    for result in results:
        assert {key: type(result[key]) for key in DISCOVER} == DISCOVER
        assert (result["supportedVersions"], result["resultType"]) == ([MODERN], "complete")
    assert results[0]["capabilities"] == {"tools": {}}


@pytest.mark.requirement("M-VN-04")
async def test_a_handler_may_answer_discover_itself() -> None:
    async with serve_bytes(lambda request, context: {"seen": request.method}, server_info=None) as wire:
        assert (await wire.ask(modern_request(1, "server/discover")))["result"]["seen"] == "server/discover"


SCHEMA = Path(__file__).parents[1] / "interop" / "schemas" / f"{MODERN}.json"
PYTHON_TYPE = {"string": str, "object": dict, "array": list, "number": (int, float), "integer": int}


@pytest.mark.requirement("M-VN-06", "M-VN-04")
@pytest.mark.parametrize("instructions", [None, "read me"])
async def test_the_discover_result_follows_the_schema(instructions: str | None) -> None:
    schema = json.loads(SCHEMA.read_text())
    shape = schema.get("$defs", schema.get("definitions"))["DiscoverResult"]
    info = ServerInfo("s", "1", {"tools": {"listChanged": True}}, instructions, 60_000)

    async def play(client: Client, server: MemoryServerTransport) -> Any:
        assert (client.server_info, client.instructions) == ({"name": "s", "version": "1"}, instructions)
        assert client.server_capabilities == {"tools": {"listChanged": True}}
        return await client.request("server/discover")

    result = await over_memory(lambda request, context: {}, play, server_info=info)
    assert set(shape["required"]) <= set(result)
    for key, value in result.items():
        declared = shape["properties"][key]
        assert "$ref" in declared or isinstance(value, PYTHON_TYPE[declared["type"]]), key
    assert all(isinstance(one, str) for one in result["supportedVersions"])
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"] == {"name": "s", "version": "1"}
    assert ("instructions" in result) is (instructions is not None)
    assert "serverInfo" not in result


@pytest.mark.requirement("M-VN-07")
async def test_extensions_are_shown_to_the_other_side() -> None:
    extensions = {"io.modelcontextprotocol/tasks": {}, "com.example/x": {"level": 2}}
    declared = {"extensions": extensions}

    async def play(client: Client, server: MemoryServerTransport) -> Any:
        assert client.server_capabilities == declared
        return await client.request("m")

    def show(request: Request, context: MessageContext) -> Any:
        return {"seen": dict(context.client_capabilities)}

    info, client_info = ServerInfo("s", "1", declared), ClientInfo("c", "1", declared)
    assert (await over_memory(show, play, client_info, server_info=info))["seen"] == declared


@pytest.mark.requirement("M-VN-07")
@pytest.mark.parametrize("extensions", [{"tasks": {}}, {"a b/c": {}}, {"com.example/x": True}, [], "io.example/x"])
def test_a_bad_extension_never_gets_onto_a_wire(extensions: Any) -> None:
    for kind in (ServerInfo, ClientInfo):
        with pytest.raises(LocalProtocolError):
            kind("n", "1", {"extensions": extensions})


@pytest.mark.requirement("M-VN-08")
async def test_an_extension_of_one_side_alone_is_refused_or_left_out() -> None:
    task = "io.modelcontextprotocol/tasks"

    def handle(request: Request, context: MessageContext) -> Any:
        if task in context.client_capabilities.get("extensions", {}):
            return {"resultType": "task", "taskId": "1"}
        if "task" in request.params:
            raise missing_capability({"extensions": {task: {}}})
        return {"resultType": "complete"}

    async def play(client: Client, server: MemoryServerTransport) -> None:
        assert (await client.request("tools/call"))["resultType"] == "complete"
        with pytest.raises(RpcError) as caught:
            await client.request("tools/call", {"task": {}})
        assert caught.value.code == -32021
        assert caught.value.data == {"requiredCapabilities": {"extensions": {task: {}}}}

    async def play_careless(client: Client, server: MemoryServerTransport) -> None:
        with pytest.raises(RemoteProtocolError, match="task"):
            await client.request("tools/call")

    eras = EraPolicy(extensions=frozenset({"task"}))
    await over_memory(handle, play, eras=eras)
    # It says it has the extension and did not register what comes with it.
    await over_memory(handle, play_careless, ClientInfo("c", "1", {"extensions": {task: {}}}), eras=eras)
