"""The rows on statelessness and on ``_meta``, seen from the wire, over memory, and through processes."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import (
    CAPABILITIES_KEY,
    MODERN,
    VERSION_KEY,
    Wire,
    client_and_wire,
    client_over_bytes,
    modern_params,
    modern_request,
    serve_bytes,
)
from trio_mcp_transport import (
    ClientInfo,
    Handlers,
    LocalProtocolError,
    MessageContext,
    Request,
    Response,
    RpcError,
    ServerInfo,
    StdioClientTransport,
    Subscriptions,
    input_required,
    memory_transports,
    missing_capability,
    open_client,
    serve,
)
from trio_mcp_transport.wire.meta import LOG_LEVELS

INFO_KEY = "io.modelcontextprotocol/clientInfo"
SERVER_KEY = "io.modelcontextprotocol/serverInfo"
LOG_KEY = "io.modelcontextprotocol/logLevel"
SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId"


def with_envelope(id_: Any, capabilities: dict[str, Any], **meta: Any) -> dict[str, Any]:
    request: dict[str, Any] = modern_request(id_, "ask", **meta)
    request["params"]["_meta"][CAPABILITIES_KEY] = capabilities
    return request


# Statelessness.


@pytest.mark.requirement("M-ST-01", "M-ME-07")
async def test_a_request_inherits_nothing_from_an_earlier_one() -> None:
    async def ask(request: Request, context: MessageContext) -> Any:
        if "elicitation" not in context.client_capabilities:
            raise missing_capability({"elicitation": {}})
        return {
            "capabilities": context.client_capabilities,
            "info": context.client_info,
            "connection": context.connection_id,
        }

    info = {"name": "first", "version": "1"}
    async with serve_bytes(ask) as wire:
        first = await wire.ask(with_envelope(1, {"elicitation": {}}, **{INFO_KEY: info}))
        assert (first["result"]["capabilities"], first["result"]["info"]) == ({"elicitation": {}}, info)
        second = await wire.ask(with_envelope(2, {}))
        assert second["error"]["code"] == -32021
        assert second["error"]["data"] == {"requiredCapabilities": {"elicitation": {}}}
        third = await wire.ask(with_envelope(3, {"elicitation": {"url": {}}}))
        assert third["result"]["info"] is None
        assert third["result"]["connection"] == first["result"]["connection"]


@pytest.mark.requirement("M-ST-02")
async def test_conversations_interleave_without_cross_talk(autojump_clock: Any) -> None:
    async def slow(request: Request, context: MessageContext) -> Any:
        await context.progress(1, message=request.params["who"])
        await trio.sleep(request.params["seconds"])
        return {"who": request.params["who"], "name": (context.client_info or {})["name"]}

    async with serve_bytes(slow) as wire:
        for turn in range(10):
            for who in ("ann", "bob"):
                meta = {INFO_KEY: {"name": who, "version": "1"}, "progressToken": f"{who} {turn}"}
                await wire.send_line(
                    modern_request(f"{who} {turn}", "slow", {"who": who, "seconds": 10 - turn}, **meta)
                )
        frames = [await wire.receive() for _ in range(40)]
    for one in frames:
        if "method" in one:
            assert one["params"]["progressToken"].startswith(one["params"]["message"])
        else:
            assert one["id"].startswith(one["result"]["who"]) and one["result"]["who"] == one["result"]["name"]
    assert len({one["id"] for one in frames if "id" in one}) == 20


MRTR_SERVER = """
import time
from trio_mcp_transport import Handlers, ServerInfo, StateSigner, StdioServerTransport, input_required, run

signer = StateSigner(b"a key both processes know")

def handle(request, context):
    params = request.params
    if "requestState" not in params:
        state = signer.sign({"city": params["city"]}, method=request.method, expires_at=time.time() + 60)
        return input_required({"who": {"method": "elicitation/create", "params": {"message": "who?"}}}, state=state)
    state = signer.verify(params["requestState"], method=request.method, now=time.time())
    return {"city": state["city"], "who": params["inputResponses"]["who"]["content"]["name"]}

run(Handlers(handle), StdioServerTransport(), server_info=ServerInfo("mrtr", "1"))
"""


@pytest.mark.requirement("M-ST-03", "M-MR-10")
async def test_the_retry_may_go_to_another_process() -> None:
    info = ClientInfo("t", "1", {"elicitation": {}})
    pids = []
    with trio.fail_after(20):
        command = [sys.executable, "-c", MRTR_SERVER]
        transport = StdioClientTransport(command)
        async with open_client(transport, era="modern", client_info=info) as client:
            interim = await client.request("tools/call", {"city": "Köln"})
            pids.append(transport.pid)
        assert interim["resultType"] == "input_required"
        retry = {"requestState": interim["requestState"], "inputResponses": {"who": {"content": {"name": "ann"}}}}
        transport = StdioClientTransport(command)
        async with open_client(transport, era="modern", client_info=info) as client:
            result = await client.request("tools/call", {"city": "Köln", **retry})
            pids.append(transport.pid)
    assert (result["city"], result["who"]) == ("Köln", "ann")
    assert pids[0] != pids[1]


@pytest.mark.requirement("M-ST-03")
async def test_related_requests_may_go_to_two_servers_in_memory() -> None:
    def count(request: Request, context: MessageContext) -> Any:
        return {"next": request.params.get("next", 0) + 1}

    value: dict[str, Any] = {}
    for _ in range(3):
        server, there = memory_transports()
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve, Handlers(count), server, server_info=ServerInfo("s", "1")))
            async with open_client(there, era="modern") as client:
                value = {"next": (await client.request("m", value))["next"]}
            nursery.cancel_scope.cancel()
    assert value == {"next": 3}


@pytest.mark.requirement("M-ST-04")
async def test_many_conversations_share_one_process() -> None:
    transport = StdioClientTransport([sys.executable, "-m", "trio_mcp_transport", "echo", "stdio"])
    pids: list[int | None] = []

    async def converse(client: Any, who: int) -> None:
        for turn in range(3):
            result = await client.request("echo", {"who": who, "turn": turn})
            assert (result["who"], result["turn"]) == (who, turn)
            pids.append(transport.pid)

    with trio.fail_after(20):
        async with open_client(transport) as client, trio.open_nursery() as nursery:
            for who in range(10):
                nursery.start_soon(converse, client, who)
    assert len(pids) == 30 and len(set(pids)) == 1 and pids[0] is not None
    assert transport.statistics().connection_count == 1


# What requests carry.


async def discover(wire: Wire) -> dict[str, Any]:
    """Play a modern server up to its answer to the probe; return the probe."""
    probe: dict[str, Any] = await wire.receive()
    result = {"resultType": "complete", "supportedVersions": [MODERN], "capabilities": {}}
    await wire.send_line({"jsonrpc": "2.0", "id": probe["id"], "result": result})
    return probe


@pytest.mark.requirement("M-ME-01", "M-ME-02", "M-ME-03")
@pytest.mark.parametrize("params", [None, {}, {"_meta": {"com.example/k": 1}}, b'{"a":1,"_meta":{"com.example/k":1}}'])
async def test_every_request_of_a_client_carries_its_envelope(params: Any, autojump_clock: Any) -> None:
    transport, wire = client_and_wire()
    info = ClientInfo("name of client", "7", {"sampling": {}})
    async with trio.open_nursery() as nursery:
        captured: list[dict[str, Any]] = []

        async def play() -> None:
            captured.append(await discover(wire))
            for _ in range(4):
                captured.append(await wire.receive())

        nursery.start_soon(play)
        async with open_client(transport, client_info=info) as client, trio.open_nursery() as calls:
            calls.start_soon(partial(client.request, "tools/list", params))
            calls.start_soon(partial(client.request, "tools/call", params, on_progress=lambda _: None))
            for method in ("subscriptions/listen", "tools/call"):
                async with client.open_exchange(method, params):
                    await trio.testing.wait_all_tasks_blocked()
            calls.cancel_scope.cancel()
    requests = [one for one in captured if "id" in one]
    assert {one["method"] for one in requests} >= {
        "server/discover",
        "subscriptions/listen",
        "tools/list",
        "tools/call",
    }
    for one in requests:
        meta = one["params"]["_meta"]
        assert meta[VERSION_KEY] == MODERN
        assert meta[CAPABILITIES_KEY] == {"sampling": {}}
        assert meta[INFO_KEY] == {"name": "name of client", "version": "7"}
        if params and one["method"] != "server/discover":
            assert meta["com.example/k"] == 1


@pytest.mark.requirement("M-ME-01", "M-ME-02", "M-ME-03")
@pytest.mark.parametrize("probes", [False, True])
async def test_client_info_can_be_switched_off(probes: bool, autojump_clock: Any) -> None:
    transport, wire = client_and_wire()
    captured: list[Any] = []
    async with trio.open_nursery() as nursery:
        if probes:
            nursery.start_soon(discover, wire)
        async with open_client(transport, era="modern", discover=probes, send_info=False) as client:
            async with client.open_exchange("tools/list"):
                captured.append(await wire.receive())
    (request,) = captured
    meta = request["params"]["_meta"]
    assert INFO_KEY not in meta
    assert (meta[VERSION_KEY], meta[CAPABILITIES_KEY]) == (MODERN, {})


@pytest.mark.requirement("M-ME-04")
@pytest.mark.parametrize("method", ["echo", "server/discover", "tools/call", "subscriptions/listen"])
@pytest.mark.parametrize("missing", [(VERSION_KEY, CAPABILITIES_KEY), (VERSION_KEY,), (CAPABILITIES_KEY,), "all"])
async def test_a_request_without_its_envelope_is_invalid_params(method: str, missing: Any) -> None:
    async with serve_bytes(subscriptions=Subscriptions()) as wire:
        request = modern_request("mine", method)
        if missing == "all":
            del request["params"]
        else:
            for key in missing:
                del request["params"]["_meta"][key]
        answer = await wire.ask(request)
        assert (answer["id"], answer["error"]["code"]) == ("mine", -32602)
        named = [VERSION_KEY, CAPABILITIES_KEY] if missing == "all" else missing
        assert any(key in answer["error"]["message"] for key in named)
        assert "result" in await wire.ask(modern_request(2))


@pytest.mark.requirement("M-ME-04")
@pytest.mark.parametrize(
    "meta",
    [
        {VERSION_KEY: 5},
        {VERSION_KEY: None},
        {VERSION_KEY: []},
        {CAPABILITIES_KEY: []},
        {CAPABILITIES_KEY: None},
        {INFO_KEY: {"name": 5, "version": "1"}},
        {INFO_KEY: "me"},
        {"progressToken": 1.5},
        {"progressToken": {}},
    ],
)
async def test_a_malformed_envelope_is_invalid_params(meta: dict[str, Any]) -> None:
    async with serve_bytes() as wire:
        answer = await wire.ask(modern_request(1, "echo", **meta))
        assert (answer["id"], answer["error"]["code"]) == (1, -32602)


@pytest.mark.requirement("M-ME-06")
async def test_a_request_without_client_info_is_served() -> None:
    async with serve_bytes(lambda request, context: {"info": context.client_info}) as wire:
        assert (await wire.ask(modern_request(1)))["result"]["info"] is None


@pytest.mark.requirement("M-ME-07", "M-VN-08")
async def test_a_missing_capability_reaches_the_caller_as_an_object() -> None:
    def needy(request: Request, context: MessageContext) -> Any:
        if "sampling" not in context.client_capabilities:
            raise missing_capability({"sampling": {}})
        return {}

    server, there = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(needy), server, server_info=ServerInfo("s", "1")))
        async with open_client(there, era="modern") as client:
            with pytest.raises(RpcError) as caught:
                await client.request("m")
        assert (caught.value.code, caught.value.data) == (-32021, {"requiredCapabilities": {"sampling": {}}})
        async with open_client(
            server.client(), era="modern", client_info=ClientInfo("c", "1", {"sampling": {}})
        ) as client:
            assert (await client.request("m"))["resultType"] == "complete"
        nursery.cancel_scope.cancel()


# What results carry.


@pytest.mark.requirement("M-ME-09")
async def test_every_result_names_the_server(autojump_clock: Any) -> None:
    def handle(request: Request, context: MessageContext) -> Any:
        if request.method == "ask":
            return input_required(state="s")
        if request.method == "pass on":
            return Response("x", {"a": 1})
        return {"_meta": {"com.example/own": 1}} if request.method == "own" else b"{}"

    shutdown = trio.Event()
    async with serve_bytes(handle, subscriptions=Subscriptions(), shutdown=shutdown) as wire:
        methods = ["server/discover", "tools/call", "own", "pass on"]
        frames = [await wire.ask(modern_request(method, method)) for method in methods]
        acknowledged = await wire.ask(modern_request("listen", "subscriptions/listen", {"notifications": {}}))
        assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
        shutdown.set()
        frames += [one for one in await wire.receive_rest() if "result" in one]
    assert {one["id"] for one in frames} == {*methods, "listen"}
    for one in frames:
        assert one["result"]["_meta"][SERVER_KEY] == {"name": "test", "version": "1"}
    assert next(one for one in frames if one["id"] == "own")["result"]["_meta"]["com.example/own"] == 1
    assert next(one for one in frames if one["id"] == "listen")["result"]["_meta"][SUBSCRIPTION_KEY] == "listen"


@pytest.mark.requirement("M-ME-09")
async def test_a_server_without_info_stays_unnamed() -> None:
    async with serve_bytes(server_info=None) as wire:
        assert (await wire.ask(modern_request(1)))["result"] == {"resultType": "complete"}


# Keys.


@pytest.mark.requirement("M-ME-11")
async def test_unknown_keys_that_come_in_are_never_refused() -> None:
    def show(request: Request, context: MessageContext) -> Any:
        return {"keys": sorted(request.meta)}

    keys = ["bad key", "-", "/", "", "io.modelcontextprotocol/new", "x.mcp/y", "ä", "a/b/c"]
    async with serve_bytes(show) as wire:
        answer = await wire.ask(modern_request(1, "m", **dict.fromkeys(keys, 1)))
        assert set(keys) < set(answer["result"]["keys"])
    server, there = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(show), server, server_info=ServerInfo("s", "1")))
        async with open_client(there, era="modern") as client:
            raw = b'{"_meta":{"io.modelcontextprotocol/new":1,"bad key":2}}'
            assert {"io.modelcontextprotocol/new", "bad key"} < set((await client.request("m", raw))["keys"])
        nursery.cancel_scope.cancel()


RESERVED = ["io.modelcontextprotocol/x", "dev.mcp/x", "com.mcp.tools/x"]


@pytest.mark.requirement("M-ME-12", "M-ME-11")
@pytest.mark.parametrize("key", [*RESERVED, "bad key", "com..example/x"])
async def test_an_application_cannot_write_a_reserved_or_malformed_key(
    key: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        if request.method == "notify":
            await context.notify("notifications/x", {"_meta": {key: 1}})
        return {"_meta": {key: 1}}

    server, there = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(handle), server, server_info=ServerInfo("s", "1")))
        async with open_client(there, era="modern") as client:
            with pytest.raises(LocalProtocolError):
                await client.request("m", {"_meta": {key: 1}})
            for method in ("m", "notify"):
                with pytest.raises(RpcError) as caught:
                    await client.request(method)
                assert caught.value.code == -32603
        nursery.cancel_scope.cancel()
    assert key in caplog.text


@pytest.mark.requirement("M-ME-12")
async def test_an_application_may_write_keys_of_its_own() -> None:
    keys = ["com.example.mcp/x", "com.example/x", "plain", LOG_KEY]
    server, there = memory_transports()
    async with trio.open_nursery() as nursery:
        handler = Handlers(lambda request, context: {"_meta": {"com.example.mcp/x": list(request.meta)}})
        await nursery.start(partial(serve, handler, server, server_info=ServerInfo("s", "1")))
        async with open_client(there, era="modern") as client:
            result = await client.request("m", {"_meta": dict.fromkeys(keys, "info")})
            assert set(keys) < set(result["_meta"]["com.example.mcp/x"])
        nursery.cancel_scope.cancel()


# Logs.


async def log_everything(request: Request, context: MessageContext) -> Any:
    for level in LOG_LEVELS:
        await context.log(level, request.method)
        await context.notify("notifications/message", {"level": level, "data": request.method})
    return {}


@pytest.mark.requirement("M-ME-13")
@pytest.mark.parametrize("wanted", [None, *LOG_LEVELS])
async def test_logs_only_where_asked_for_and_from_the_level_asked_for(wanted: str | None, autojump_clock: Any) -> None:
    async with serve_bytes(log_everything) as wire:
        await wire.send_line(modern_request(1, "m", **({LOG_KEY: wanted} if wanted else {})))
        levels = []
        while "method" in (one := await wire.receive()):
            levels.append(one["params"]["level"])
        expected = [] if wanted is None else [level for level in LOG_LEVELS[LOG_LEVELS.index(wanted) :] for _ in "ab"]
        assert levels == expected
        assert one["id"] == 1
        await wire.send_line(modern_request(2, "m"))
        assert (await wire.receive())["id"] == 2, "the level of one request is none of the next"
        await wire.assert_silent()


@pytest.mark.requirement("M-ME-14")
async def test_logs_belong_to_their_request_and_come_before_its_response(autojump_clock: Any) -> None:
    contexts: list[MessageContext] = []

    async def log_and_wait(request: Request, context: MessageContext) -> Any:
        contexts.append(context)
        for _ in range(3):
            await context.log("error", request.method)
            await trio.sleep(1)
        return {}

    subscriptions = Subscriptions()
    async with serve_bytes(log_and_wait, subscriptions=subscriptions) as wire:
        filters = {"notifications": {"toolsListChanged": True}}
        await wire.ask(modern_request("listen", "subscriptions/listen", filters, **{LOG_KEY: "debug"}))
        await wire.send_line(modern_request(1, "with", **{LOG_KEY: "debug"}))
        await wire.send_line(modern_request(2, "without"))
        frames = [await wire.receive() for _ in range(5)]
        for context in contexts:
            with pytest.raises(LocalProtocolError):
                await context.log("error", "late") if context.envelope.log_level else await context.notify("late")
        subscriptions.publish("notifications/tools/list_changed")
        frames.append(await wire.receive())
        await wire.assert_silent()
    logs = [one for one in frames if one.get("method") == "notifications/message"]
    assert [one["params"]["data"] for one in logs] == ["with"] * 3
    assert all(SUBSCRIPTION_KEY not in one["params"].get("_meta", {}) for one in logs)
    order = [one.get("id", one.get("method")) for one in frames]
    assert order.index(1) > max(at for at, what in enumerate(order) if what == "notifications/message")


@pytest.mark.requirement("M-ME-15")
@pytest.mark.parametrize("level", ["loud", "", "WARNING", 3, [], {}])
async def test_an_unknown_log_level_is_invalid_params(level: Any) -> None:
    async with serve_bytes() as wire:
        answer = await wire.ask(modern_request(1, "echo", **{LOG_KEY: level}))
        assert (answer["id"], answer["error"]["code"]) == (1, -32602)
    server, there = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(lambda request, context: {}), server))
        async with open_client(there, era="modern", discover=False) as client:
            with pytest.raises(RpcError) as caught:
                await client.request("m", {"_meta": {LOG_KEY: level}})
            assert caught.value.code == -32602
        nursery.cancel_scope.cancel()


@pytest.mark.requirement("M-ME-10")
async def test_identities_decide_nothing() -> None:
    async with serve_bytes(lambda request, context: {"a": 1}) as wire:
        answers = []
        for name in ("claude", "evil", "trio-mcp-transport", ""):
            info = {"name": name, "version": "0", "admin": True}
            answers.append((await wire.ask(modern_request(1, "m", **{INFO_KEY: info})))["result"])
        assert all(answer == answers[0] for answer in answers)
    async with client_over_bytes() as (client, _):
        assert client.server_info is None


def test_the_envelope_the_tests_send_is_complete() -> None:
    assert set(modern_params()["_meta"]) == {VERSION_KEY, CAPABILITIES_KEY}


@pytest.mark.requirement("M-ST-01", "M-ME-13")
async def test_what_a_handler_does_to_its_message_is_not_seen_by_the_next(autojump_clock: Any) -> None:
    async def meddle(request: Request, context: MessageContext) -> Any:
        seen = sorted(context.client_capabilities)
        await context.progress(1)
        await context.log("error", "x")
        request.meta.pop(LOG_KEY, None)
        request.meta.pop("progressToken", None)
        dict.update(context.client_capabilities, {"meddled": {}})  # type: ignore[arg-type]  # what nobody should do
        return {"seen": seen}

    async with serve_bytes(meddle) as wire:
        await wire.send_line(modern_request(1, "m", progressToken=5, **{LOG_KEY: "debug"}))
        assert [(await wire.receive()).get("method") for _ in range(3)].count(None) == 1
        plain = modern_request(2, "m")
        plain["params"]["_meta"][CAPABILITIES_KEY] = {"meddled": {}}
        for request in (plain, plain, modern_request(3, "m")):
            answer = await wire.ask(request)
            assert answer["result"]["seen"] == sorted(request["params"]["_meta"][CAPABILITIES_KEY])


@pytest.mark.requirement("M-ST-01", "M-ME-04")
@pytest.mark.parametrize("token", [True, 1.0])
async def test_a_malformed_envelope_is_refused_though_one_that_compares_equal_came_before(token: Any) -> None:
    async with serve_bytes() as wire:
        assert "result" in await wire.ask(modern_request(1, "m", progressToken=1))
        assert (await wire.ask(modern_request(2, "m", progressToken=token)))["error"]["code"] == -32602


@pytest.mark.requirement("M-ST-01")
async def test_two_requests_with_the_same_envelope_share_nothing(autojump_clock: Any) -> None:
    async def compare(request: Request, context: MessageContext) -> Any:
        if request.params["first"]:
            dict.clear(context.client_capabilities)  # type: ignore[arg-type]  # what nobody should do
            await trio.sleep(1)
        return {"seen": dict(context.client_capabilities)}

    async with serve_bytes(compare) as wire:
        lines = []
        for first in (True, False):
            request = with_envelope(int(first), {"roots": {}})
            request["params"]["first"] = first
            lines.append(json.dumps(request).encode() + b"\n")
        await wire.send_bytes(b"".join(lines))
        assert (await wire.receive())["result"]["seen"] == {"roots": {}}
        assert (await wire.receive())["result"]["seen"] == {}
