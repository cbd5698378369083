"""The rows of revision 2025-11-25 on a pipe: handshake, ids, ping, cancellation and progress, seen from the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import LEGACY, StreamClient, Wire, client_and_wire, legacy_request, serve_bytes, shake_hands
from trio_mcp_transport import (
    Client,
    ClientInfo,
    DeadlineExceeded,
    Deadlines,
    Handlers,
    LegacyMessageContext,
    Limits,
    LocalProtocolError,
    MessageContext,
    Notification,
    Request,
    RestartPolicy,
    RpcError,
    ServerInfo,
    UnsupportedRevision,
    memory_transports,
    open_client,
    serve,
)

REVISIONS = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]
INVALID, PARAMS, PARSE = -32600, -32602, -32700
settle = trio.testing.wait_all_tasks_blocked


def note(method: str, **params: Any) -> Any:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def cancelled(id_: Any, **more: Any) -> Any:
    return note("notifications/cancelled", requestId=id_, **more)


def result(id_: Any, **members: Any) -> Any:
    return {"jsonrpc": "2.0", "id": id_, "result": members}


def failure(id_: Any, code: int, message: str = "no", **data: Any) -> Any:
    return {
        "jsonrpc": "2.0",
        "id": id_,
        "error": {"code": code, "message": message, **({"data": data} if data else {})},
    }


def initialize(id_: Any, revision: str = LEGACY) -> Any:
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    return legacy_request(id_, "initialize", params)


async def answer_handshake(wire: Wire, revision: str = LEGACY, **members: Any) -> tuple[Any, Any]:
    """Play the server's side of a handshake; return the two messages of the client."""
    begin = await wire.receive()
    terms = {"protocolVersion": revision, "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
    await wire.send_line(result(begin["id"], **{**terms, **members}))
    return begin, await wire.receive()


@asynccontextmanager
async def legacy_client(revision: str = LEGACY, **options: Any) -> AsyncIterator[tuple[Client, Wire]]:
    """Open a client whose legacy server is the test; the handshake is over."""
    transport, wire = client_and_wire()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_handshake, wire, revision)
        async with open_client(transport, **{"era": "legacy", **options}) as client:
            await settle()
            yield client, wire


class Calls:
    """Calls of a client in tasks of their own, each with a scope, and what came of them."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        self.outcomes: dict[str, Any] = {}
        self.scopes: dict[str, trio.CancelScope] = {}
        self._client = client
        self._nursery = nursery

    def begin(self, method: str, **options: Any) -> None:
        self.scopes[method] = trio.CancelScope()
        self._nursery.start_soon(self._run, method, options)

    async def _run(self, method: str, options: Any) -> None:
        with self.scopes[method] as scope:
            try:
                self.outcomes[method] = await self._client.request(method, **options)
            except RpcError as error:
                self.outcomes[method] = error
        if scope.cancelled_caught:
            self.outcomes[method] = "cancelled"


class Worker:
    """A handler for either side: waits where the method says so, asks where it says so, and keeps a journal."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.notes: list[Any] = []
        self.release = trio.Event()
        self.give_up = trio.CancelScope()

    async def request(self, request: Request, context: MessageContext) -> Any:
        if request.method == "wait":
            return await self._logged(request, self.release.wait)
        if request.method == "ask":
            assert isinstance(context, LegacyMessageContext)
            return await self._logged(request, partial(context.request, "roots/list", {"for": request.id}))
        if request.method == "give up":
            assert isinstance(context, LegacyMessageContext)
            with self.give_up:
                await context.request("roots/list")
            return {"gave up": self.give_up.cancelled_caught}
        return request.params

    async def _logged(self, request: Request, wait: Callable[[], Awaitable[Any]]) -> Any:
        self.log.append(("began", request.id))
        try:
            answer = await wait()
        except trio.Cancelled:
            self.log.append(("cancelled", request.id))
            raise
        self.log.append(("done", request.id))
        return answer or {}

    def note(self, notification: Notification, context: MessageContext) -> None:
        self.notes.append((notification.method, notification.params))

    def handlers(self) -> Handlers:
        return Handlers(self.request, self.note)


# Ids and messages.


@pytest.mark.requirement("L25-JR-03")
async def test_ten_thousand_requests_of_a_session_have_as_many_ids(autojump_clock: Any) -> None:
    count = 10_000
    transport, wire = client_and_wire()
    ids: list[Any] = []

    async def answer() -> None:
        begin, _ = await answer_handshake(wire)
        ids.append(begin["id"])
        for number in range(count):
            request = await wire.receive()
            ids.append(request["id"])
            # Some answers are errors, and some calls are given up: neither frees an id.
            if number % 1000 == 1:
                assert (await wire.receive())["method"] == "notifications/cancelled"
            else:
                await wire.send_line(failure(ids[-1], 5) if number % 3 == 0 else result(ids[-1]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        async with open_client(transport, era="legacy") as client:
            for number in range(count):
                with trio.move_on_after(1 if number % 1000 == 1 else 100), suppress(RpcError):
                    await client.request("m")
    assert len(ids) == count + 1 == len({(type(id_), id_) for id_ in ids})


@pytest.mark.requirement("L25-JR-03", "L25-JR-02")
async def test_ten_thousand_questions_of_a_server_have_as_many_ids(autojump_clock: Any) -> None:
    count = 10_000
    ids: list[Any] = []

    async def ask(request: Request, context: MessageContext) -> Any:
        assert isinstance(context, LegacyMessageContext)
        for number in range(count):
            assert await context.request("roots/list") == {"n": number}
        return {}

    async with serve_bytes(ask) as wire:
        await shake_hands(wire)
        await wire.send_line(legacy_request(1))
        for number in range(count):
            ids.append((await wire.receive())["id"])
            await wire.send_line(result(ids[-1], n=number))
        assert (await wire.receive())["id"] == 1
    assert len({(type(id_), id_) for id_ in ids}) == count


@pytest.mark.requirement("L25-JR-03", "L25-JR-02")
async def test_the_two_directions_have_id_spaces_of_their_own(autojump_clock: Any) -> None:
    worker = Worker()
    async with serve_bytes(worker.handlers()) as wire:
        await shake_hands(wire)
        for probe in ("a", "b", "c"):
            question = await wire.ask(legacy_request(probe, "ask"))
            shared = question["id"] + 1
            await wire.send_line(result(question["id"]))
            assert (await wire.receive())["id"] == probe
            # The next question has this id; so has a request of this side, open at the same time.
            question = await wire.ask(legacy_request(shared, "ask"))
            assert (question["id"], question["method"]) == (shared, "roots/list")
            assert await wire.ask(result(shared, of="the client")) == result(shared, of="the client")
    async with legacy_client(handler=worker.handlers()) as (client, wire), trio.open_nursery() as nursery:
        calls = Calls(client, nursery)
        calls.begin("m")
        id_ = (await wire.receive())["id"]
        assert await wire.ask(legacy_request(id_, "echo", {"of": "the server"})) == result(id_, of="the server")
        assert calls.outcomes == {}
        await wire.send_line(result(id_, a=1))
        await settle()
        assert calls.outcomes == {"m": {"a": 1}}


@pytest.mark.requirement("L25-JR-04")
@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("id_", [0, -1, 2**70, "", "x", "1"])
async def test_answers_have_the_id_and_no_result_type(revision: str, id_: Any) -> None:
    def work(request: Request, context: MessageContext) -> Any:
        if request.method == "fail":
            raise RpcError(7, "no")
        return request.params

    async with serve_bytes(work) as wire:
        begun = await wire.ask(initialize(id_, revision))
        assert (begun["id"], type(begun["id"])) == (id_, type(id_)) and "resultType" not in begun["result"]
        await wire.send_line(note("notifications/initialized"))
        assert await wire.ask(legacy_request(id_, "ping")) == result(id_)
        for value in ({}, {"any": [None]}, {"resultType": "zzz"}, {"_meta": {"a/b": 1}}):
            answer = await wire.ask(legacy_request(id_, "echo", value))
            assert answer == result(id_, **value) and type(answer["id"]) is type(id_)
        answer = await wire.ask(legacy_request(id_, "fail"))
        assert answer == failure(id_, 7) and type(answer["error"]["code"]) is int


@pytest.mark.requirement("L25-JR-04")
@pytest.mark.parametrize("revision", REVISIONS)
async def test_only_what_is_unreadable_is_answered_without_an_id(revision: str) -> None:
    async with serve_bytes() as wire:
        await shake_hands(wire, revision)
        answer = await wire.ask(b"{oops")
        assert answer["error"]["code"] == PARSE and type(answer["error"]["message"]) is str
        assert ("id" in answer, answer.get("id")) == (revision != LEGACY, None)
        assert (await wire.ask({"jsonrpc": "2.0", "id": 5, "method": 5}))["id"] == 5


@pytest.mark.requirement("L25-JR-04")
@pytest.mark.parametrize(
    "value", [{}, {"a": None}, {"resultType": "zzz"}, {"resultType": 5}, {"task": {"taskId": "1"}}]
)
async def test_a_client_takes_any_result_object(value: Any) -> None:
    async with legacy_client() as (client, wire), trio.open_nursery() as nursery:
        calls = Calls(client, nursery)
        calls.begin("m")
        await wire.send_line(result((await wire.receive())["id"], **value))
        await settle()
        assert calls.outcomes == {"m": value}


@pytest.mark.requirement("L25-JR-05")
async def test_no_notification_is_answered_by_either_side(autojump_clock: Any) -> None:
    seen: list[str] = []

    def fail(notification: Notification, context: MessageContext) -> None:
        seen.append(notification.method)
        raise RpcError(5, "no") if notification.method == "rpc" else ValueError("no")

    methods = ["unknown", "rpc", "tools/call", "initialize", "ping", "notifications/initialized", "logging/setLevel"]
    handler = Handlers(lambda request, context: {}, fail)
    async with serve_bytes(handler) as wire:
        await shake_hands(wire)
        for method in methods:
            await wire.send_line({"jsonrpc": "2.0", "method": method})
        await wire.assert_silent()
        assert await wire.ask(legacy_request(1)) == result(1)
        assert {"unknown", "rpc", "tools/call"} <= set(seen)
    seen.clear()
    async with legacy_client(handler=handler) as (client, wire):
        for method in methods:
            await wire.send_line({"jsonrpc": "2.0", "method": method})
        await wire.assert_silent()
        assert await wire.ask(legacy_request(1)) == result(1)
        assert {"unknown", "rpc", "tools/call"} <= set(seen)
        await client.notify("notifications/roots/list_changed")
        assert await wire.receive() == {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}


# The handshake.


@pytest.mark.requirement("L25-LC-01", "L25-LC-03", "L25-LC-06")
async def test_a_client_begins_with_initialize_and_initialized(autojump_clock: Any) -> None:
    transport, wire = client_and_wire()
    info = ClientInfo("name", "2", capabilities={"roots": {"listChanged": True}})
    begun: list[Any] = []

    async def server() -> None:
        begun.extend(await answer_handshake(wire))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server)
        async with open_client(transport, era="legacy", client_info=info):
            pass
    request, initialized = begun
    assert (request["jsonrpc"], request["method"]) == ("2.0", "initialize") and request["id"] is not None
    assert request["params"] == {
        "protocolVersion": LEGACY,
        "capabilities": {"roots": {"listChanged": True}},
        "clientInfo": {"name": "name", "version": "2"},
    }
    assert initialized == {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert await wire.receive_rest() == []


@pytest.mark.requirement("L25-LC-06", "L25-LC-01")
async def test_a_client_that_falls_back_asks_for_the_newest_legacy_revision(autojump_clock: Any) -> None:
    transport, wire = client_and_wire()

    async def server() -> None:
        probe = await wire.receive()
        await wire.send_line(failure(probe["id"], -32601))
        begin, initialized = await answer_handshake(wire)
        assert (begin["method"], begin["params"]["protocolVersion"]) == ("initialize", LEGACY)
        assert begin["id"] != probe["id"]
        assert initialized["method"] == "notifications/initialized"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server)
        async with open_client(transport, era="auto") as client:
            assert (client.era, client.revision) == ("legacy", LEGACY)


@pytest.mark.requirement("L25-LC-02", "L25-LC-07")
@pytest.mark.parametrize("instructions", [None, "read me"])
async def test_a_server_answers_initialize_in_full(instructions: str | None) -> None:
    info = ServerInfo("name", "3", capabilities={"tools": {}}, instructions=instructions)
    async with serve_bytes(server_info=info) as wire:
        answer = await wire.ask(initialize("first"))
        expected = {
            "protocolVersion": LEGACY,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "name", "version": "3"},
        }
        assert answer == result("first", **expected, **({} if instructions is None else {"instructions": instructions}))


@pytest.mark.requirement("L25-LC-07")
@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        *zip(REVISIONS, REVISIONS, strict=True),
        ("1900-01-01", LEGACY),
        ("2099-01-01", LEGACY),
        ("2026-07-28", LEGACY),
        ("", LEGACY),
    ],
)
async def test_a_server_agrees_to_a_revision_it_speaks_or_offers_its_newest(asked: str, agreed: str) -> None:
    seen: list[str] = []

    def work(request: Request, context: MessageContext) -> Any:
        seen.append(context.revision)
        return {}

    async with serve_bytes(work) as wire:
        assert (await shake_hands(wire, asked))["protocolVersion"] == agreed
        await wire.ask(legacy_request(1))
    assert seen == [agreed]


class Reconnecting(StreamClient):
    """A client transport whose every connection is another pair of memory streams."""

    restart = RestartPolicy(initial=0.01)

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self._largest = 1024 * 1024

    async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        ours, self._stream = trio.testing.memory_stream_pair()
        self.wires.append(Wire(ours))
        await super().run(setup, task_status=task_status)


@pytest.mark.requirement("L25-LC-04")
async def test_a_call_is_held_until_initialize_is_answered(autojump_clock: Any) -> None:
    transport = Reconnecting()
    opened = trio.Event()

    async def first_server() -> None:
        await settle()
        await answer_handshake(transport.wires[0])
        opened.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first_server)
        async with open_client(transport, era="legacy") as client, trio.open_nursery() as calling:
            await opened.wait()
            await transport.wires[0].stream.aclose()
            await trio.sleep(1)
            wire = transport.wires[1]
            begin = await wire.receive()
            assert begin["method"] == "initialize"
            calls = Calls(client, calling)
            calls.begin("tools/call")
            calls.begin("ping")
            calling.start_soon(client.notify, "notifications/roots/list_changed")
            await wire.assert_silent()
            # The server may ask for a sign of life meanwhile, and gets it.
            assert await wire.ask(legacy_request("s", "ping")) == result("s")
            await wire.assert_silent()
            await wire.send_line(result(begin["id"], protocolVersion=LEGACY, capabilities={}))
            assert (await wire.receive())["method"] == "notifications/initialized"
            held = [await wire.receive() for _ in range(3)]
            assert {one["method"] for one in held} == {"tools/call", "ping", "notifications/roots/list_changed"}
            for one in held:
                if "id" in one:
                    await wire.send_line(result(one["id"], of=one["method"]))
            await settle()
            assert calls.outcomes == {"tools/call": {"of": "tools/call"}, "ping": {"of": "ping"}}


@pytest.mark.requirement("L25-LC-04")
async def test_nothing_but_initialize_leaves_a_client_before_its_answer(autojump_clock: Any) -> None:
    transport, wire = client_and_wire()
    outcomes: list[Any] = []

    async def use() -> None:
        async with open_client(transport, era="legacy") as client:
            outcomes.append(await client.request("tools/call"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
        begin = await wire.receive()
        assert begin["method"] == "initialize"
        await wire.assert_silent()
        assert await wire.ask(legacy_request("s", "ping")) == result("s")
        await wire.assert_silent()
        await wire.send_line(result(begin["id"], protocolVersion=LEGACY, capabilities={}))
        assert (await wire.receive())["method"] == "notifications/initialized"
        await wire.send_line(result((await wire.receive())["id"], a=1))
    assert outcomes == [{"a": 1}]


@pytest.mark.requirement("L25-LC-05")
async def test_a_server_asks_only_for_a_sign_of_life_before_initialized(autojump_clock: Any) -> None:
    errors: list[LocalProtocolError] = []

    async def work(request: Request, context: MessageContext) -> Any:
        assert isinstance(context, LegacyMessageContext)
        try:
            return await context.request(request.method)
        except LocalProtocolError as error:
            errors.append(error)
            await context.log("info", "not yet")
            return {"refused": True}

    async with serve_bytes(work) as wire:
        assert "result" in await wire.ask(initialize(0))
        for number, method in enumerate(("sampling/createMessage", "elicitation/create", "roots/list"), 1):
            logged = await wire.ask(legacy_request(number, method))
            assert (logged["method"], logged["params"]["data"]) == ("notifications/message", "not yet")
            assert await wire.receive() == result(number, refused=True)
        assert len(errors) == 3 and all("initialized" in str(error) for error in errors)
        await wire.send_line(note("notifications/initialized"))
        question = await wire.ask(legacy_request(9, "roots/list"))
        assert (question["method"], "id" in question) == ("roots/list", True)
        assert await wire.ask(result(question["id"], roots=[])) == result(9, roots=[])
    assert len(errors) == 3


@pytest.mark.requirement("L25-LC-05")
async def test_a_server_may_ask_for_a_sign_of_life_before_initialized(autojump_clock: Any) -> None:
    async def work(request: Request, context: MessageContext) -> Any:
        assert isinstance(context, LegacyMessageContext)
        return await context.request("ping")

    async with serve_bytes(work) as wire:
        await wire.ask(initialize(0))
        question = await wire.ask(legacy_request(1))
        assert question["method"] == "ping"
        assert await wire.ask(result(question["id"])) == result(1)


@pytest.mark.requirement("L25-LC-09")
@pytest.mark.parametrize("revision", REVISIONS)
async def test_both_sides_show_what_was_negotiated(revision: str, autojump_clock: Any) -> None:
    seen: list[Any] = []

    def work(request: Request, context: MessageContext) -> Any:
        seen.append((context.revision, context.client_capabilities, context.client_info))
        return {}

    capabilities = {"roots": {"listChanged": True}, "sampling": {}}
    identity = {"name": "t", "version": "1"}
    async with serve_bytes(work) as wire:
        begin = initialize(0, revision)
        begin["params"]["capabilities"] = capabilities
        await wire.ask(begin)
        await wire.send_line(note("notifications/initialized"))
        await wire.ask(legacy_request(1))
        refusal = await wire.ask(initialize(2, REVISIONS[0] if revision != REVISIONS[0] else REVISIONS[1]))
        assert refusal["error"]["code"] == INVALID, "what was negotiated stays"
        await wire.ask(legacy_request(3))
    assert seen == [(revision, capabilities, identity)] * 2

    async with legacy_client(revision, handler=Handlers(lambda request, context: {"r": context.revision})) as opened:
        client, wire = opened
        assert (client.era, client.revision) == ("legacy", revision)
        assert await wire.ask(legacy_request(1)) == result(1, r=revision)


@pytest.mark.requirement("L25-LC-09")
async def test_the_terms_of_a_session_over_the_memory_transport() -> None:
    seen: list[Any] = []

    def work(request: Request, context: MessageContext) -> Any:
        seen.append((context.revision, context.client_capabilities, context.client_info))
        return {}

    server, there = memory_transports()
    async with trio.open_nursery() as nursery:
        info = ServerInfo("s", "1", capabilities={"tools": {"listChanged": True}}, instructions="read me")
        await nursery.start(partial(serve, Handlers(work), server, server_info=info))
        mine = ClientInfo("c", "2", capabilities={"sampling": {}})
        async with open_client(there, era="legacy", client_info=mine) as client:
            assert (client.era, client.revision) == ("legacy", LEGACY)
            assert client.server_capabilities == {"tools": {"listChanged": True}}
            assert client.server_info == {"name": "s", "version": "1"}
            assert client.instructions == "read me"
            await client.request("m")
        nursery.cancel_scope.cancel()
    assert seen == [(LEGACY, {"sampling": {}}, {"name": "c", "version": "2"})]


async def refused_opening(answer: Any) -> tuple[Exception, list[Any]]:
    """Answer ``initialize`` with an error; return what the opening raised, and what else the client sent."""
    transport, wire = client_and_wire()
    raised: list[Exception] = []

    async def use() -> None:
        try:
            async with open_client(transport, era="legacy"):
                raised.append(AssertionError("it opened"))
        except (UnsupportedRevision, RpcError) as error:
            raised.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
        begin = await wire.receive()
        await wire.send_line({**answer, "id": begin["id"]})
        rest = await wire.receive_rest()
    (error,) = raised
    return error, rest


@pytest.mark.requirement("L25-LC-10")
@pytest.mark.parametrize("supported", [["2024-10-07"], ["2024-10-07", "2023-01-01"], []])
async def test_a_client_understands_a_version_problem(supported: list[str], autojump_clock: Any) -> None:
    data = {"supported": supported, "requested": LEGACY}
    error, rest = await refused_opening(failure(0, PARAMS, "Unsupported protocol version", **data))
    assert isinstance(error, UnsupportedRevision)
    assert (error.requested, error.supported) == (LEGACY, tuple(supported))
    assert all(one in str(error) for one in [*supported, LEGACY])
    assert rest == []


@pytest.mark.requirement("L25-LC-10")
@pytest.mark.parametrize(
    "members", [{"code": PARAMS}, {"code": PARAMS, "data": {"supported": 5}}, {"code": 5, "data": {"supported": []}}]
)
async def test_any_other_refusal_of_initialize_stays_what_it_is(members: Any, autojump_clock: Any) -> None:
    error, rest = await refused_opening({"jsonrpc": "2.0", "error": {"message": "no", **members}})
    assert isinstance(error, RpcError) and (error.code, error.message) == (members["code"], "no")
    assert rest == []


# Ping.


@pytest.mark.requirement("L25-PI-01")
async def test_a_busy_server_answers_ping_at_once(autojump_clock: Any) -> None:
    worker = Worker()
    async with serve_bytes(worker.handlers(), limits=Limits(max_running=1, max_queued=1)) as wire:
        assert "result" in await wire.ask(initialize(0))
        assert await wire.ask({"jsonrpc": "2.0", "id": "early", "method": "ping"}) == result("early")
        await wire.send_line(note("notifications/initialized"))
        await wire.send_line(legacy_request("running", "wait"))
        before = trio.current_time()
        for number in range(5):
            assert await wire.ask({"jsonrpc": "2.0", "id": number, "method": "ping"}) == result(number)
        assert await wire.ask(legacy_request("p", "ping", {"_meta": {"a/b": 1}})) == result("p")
        assert trio.current_time() == before
        assert worker.log == [("began", "running")]
        worker.release.set()
        assert (await wire.receive())["id"] == "running"


@pytest.mark.requirement("L25-PI-01")
async def test_a_busy_client_answers_ping_at_once(autojump_clock: Any) -> None:
    worker = Worker()
    options = {"handler": worker.handlers(), "limits": Limits(max_running=1, max_queued=1)}
    async with legacy_client(**options) as (client, wire), trio.open_nursery() as nursery:
        calls = Calls(client, nursery)
        calls.begin("m")
        id_ = (await wire.receive())["id"]
        await wire.send_line(legacy_request("running", "wait"))
        before = trio.current_time()
        for number in range(5):
            assert await wire.ask({"jsonrpc": "2.0", "id": number, "method": "ping"}) == result(number)
        assert trio.current_time() == before
        assert worker.log == [("began", "running")]
        worker.release.set()
        assert (await wire.receive())["id"] == "running"
        await wire.send_line(result(id_))
        # And it may ask for a sign of life itself.
        calls.begin("ping")
        asked = await wire.receive()
        assert asked["method"] == "ping"
        await wire.send_line(result(asked["id"]))
        await settle()
        assert calls.outcomes == {"m": {}, "ping": {}}


# Cancellation.


@pytest.mark.requirement("L25-CA-01", "L25-CA-03")
async def test_a_client_cancels_its_own_request_and_ignores_the_late_answer(autojump_clock: Any) -> None:
    async with legacy_client() as (client, wire), trio.open_nursery() as nursery:
        calls = Calls(client, nursery)
        calls.begin("kept")
        kept = (await wire.receive())["id"]
        calls.begin("left")
        left = (await wire.receive())["id"]
        calls.scopes["left"].cancel()
        signal = await wire.receive()
        assert (signal["method"], signal["params"]["requestId"]) == ("notifications/cancelled", left)
        assert "id" not in signal
        await wire.send_line(result(left, late=True))
        await wire.send_line(failure(left, 5))
        await wire.assert_silent()
        await wire.send_line(result(kept, a=1))
        await settle()
        assert calls.outcomes == {"left": "cancelled", "kept": {"a": 1}}


@pytest.mark.requirement("L25-CA-01", "L25-CA-03")
async def test_a_server_stops_a_cancelled_request_and_no_other(autojump_clock: Any) -> None:
    worker = Worker()
    async with serve_bytes(worker.handlers(), limits=Limits(max_running=2)) as wire:
        await shake_hands(wire)
        for id_ in (1, "1", "queued"):
            await wire.send_line(legacy_request(id_, "wait"))
        await settle()
        assert sorted(worker.log, key=str) == sorted([("began", 1), ("began", "1")], key=str)
        await wire.send_line(cancelled("queued", reason="never began"))
        await wire.send_line(cancelled(1, reason="enough"))
        await wire.assert_silent()
        assert ("cancelled", 1) in worker.log and ("cancelled", "1") not in worker.log
        # Its place and its id are free.
        assert await wire.ask(legacy_request(1)) == result(1)
        worker.release.set()
        assert await wire.receive() == result("1")
        await wire.assert_silent()
        assert not [one for one in worker.log if one[1] == "queued"]


@pytest.mark.requirement("L25-CA-01", "L25-CA-03")
async def test_a_server_cancels_its_own_question_and_ignores_the_late_answer(autojump_clock: Any) -> None:
    worker = Worker()
    async with serve_bytes(worker.handlers()) as wire:
        await shake_hands(wire)
        # A handler that gives up by itself goes on.
        asked = (await wire.ask(legacy_request("a", "give up")))["id"]
        worker.give_up.cancel()
        signal = await wire.receive()
        assert (signal["method"], signal["params"]["requestId"]) == ("notifications/cancelled", asked)
        assert await wire.receive() == result("a", **{"gave up": True})
        await wire.send_line(result(asked, late=True))
        await wire.assert_silent()
        # A handler that is cancelled takes its question along.
        asked = (await wire.ask(legacy_request("b", "ask")))["id"]
        signal = await wire.ask(cancelled("b"))
        assert (signal["method"], signal["params"]["requestId"]) == ("notifications/cancelled", asked)
        await wire.send_line(failure(asked, 5))
        await wire.assert_silent()
        assert worker.log == [("began", "b"), ("cancelled", "b")]


@pytest.mark.requirement("L25-CA-01", "L25-CA-03")
async def test_a_client_stops_a_cancelled_question_of_its_server(autojump_clock: Any) -> None:
    worker = Worker()
    async with legacy_client(handler=worker.handlers()) as (_, wire):
        await wire.send_line(legacy_request(1, "wait"))
        await wire.send_line(legacy_request(2, "wait"))
        await settle()
        await wire.send_line(cancelled(1))
        await wire.assert_silent()
        assert ("cancelled", 1) in worker.log and ("cancelled", 2) not in worker.log
        worker.release.set()
        assert await wire.receive() == result(2)
        await wire.assert_silent()


@pytest.mark.requirement("L25-CA-01")
async def test_a_cancellation_reaches_only_requests_of_its_own_direction(autojump_clock: Any) -> None:
    worker = Worker()
    async with serve_bytes(worker.handlers()) as wire:
        await shake_hands(wire)
        asked = (await wire.ask(legacy_request("a", "ask")))["id"]
        await wire.send_line(cancelled(asked))
        await wire.assert_silent()
        assert await wire.ask(result(asked, n=1)) == result("a", n=1), "the server's question was not the client's"
    async with legacy_client() as (client, wire), trio.open_nursery() as nursery:
        calls = Calls(client, nursery)
        calls.begin("m")
        id_ = (await wire.receive())["id"]
        await wire.send_line(cancelled(id_))
        await wire.assert_silent()
        assert calls.outcomes == {}
        await wire.send_line(result(id_, n=1))
        await settle()
        assert calls.outcomes == {"m": {"n": 1}}


@pytest.mark.requirement("L25-CA-02")
@pytest.mark.parametrize("era", ["legacy", "auto"])
@pytest.mark.parametrize("way", ["cancel", "deadline"])
async def test_initialize_is_never_cancelled_but_the_connection_closed(era: Any, way: str, autojump_clock: Any) -> None:
    transport, wire = client_and_wire()
    scope = trio.CancelScope()
    raised: list[DeadlineExceeded] = []

    async def use() -> None:
        deadlines = Deadlines(connect=20.0 if way == "deadline" else None)
        try:
            with scope:
                async with open_client(transport, era=era, deadlines=deadlines):
                    raise AssertionError("it opened")
        except DeadlineExceeded as error:
            raised.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
        if era == "auto":
            await wire.send_line(failure((await wire.receive())["id"], -32601))
        assert (await wire.receive())["method"] == "initialize"
        await wire.assert_silent()
        if way == "cancel":
            scope.cancel()
        with trio.fail_after(60):
            assert await wire.stream.receive_some() == b"", "closed, and nothing was sent after initialize"
    assert (scope.cancelled_caught, len(raised)) == (way == "cancel", int(way == "deadline"))


class Noted(trio.abc.SendStream):
    """Notes what it is given to write before it passes the first checkpoint, as a pipe would write it."""

    def __init__(self, stream: trio.abc.SendStream) -> None:
        self.given = b""
        self._stream = stream

    async def send_all(self, data: Any) -> None:
        self.given += bytes(data)
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.mark.requirement("L25-CA-02")
async def test_a_deadline_during_initialize_writes_nothing_more(autojump_clock: Any) -> None:
    # Whether the writer or the end of the connection runs first is a throw of the dice each time.
    for _ in range(20):
        ours, theirs = trio.testing.memory_stream_pair()
        noted = Noted(theirs.send_stream)
        stream = trio.StapledStream(noted, theirs.receive_stream)
        with pytest.raises(DeadlineExceeded):
            async with open_client(StreamClient(stream), era="legacy", deadlines=Deadlines(connect=1)):
                raise AssertionError("it opened")
        assert noted.given.count(b"\n") == 1 and b'"initialize"' in noted.given
        assert [one["method"] for one in await Wire(ours).receive_rest()] == ["initialize"], "closed"


@pytest.mark.requirement("L25-CA-03")
async def test_a_cancellation_of_nothing_is_ignored(autojump_clock: Any) -> None:
    worker = Worker()
    async with serve_bytes(worker.handlers()) as wire:
        await shake_hands(wire)
        await wire.send_line(cancelled("unknown"))
        await wire.send_line(cancelled("handshake"))
        assert await wire.ask(legacy_request(1)) == result(1)
        # It crossed the answer on its way.
        await wire.send_line(cancelled(1))
        await wire.send_line(cancelled(2))
        assert await wire.ask(legacy_request(2)) == result(2)
        # Request and cancellation in one piece: whatever was begun is answered by nobody.
        both = [legacy_request(3, "wait"), cancelled(3)]
        await wire.send_line(both[0])
        await wire.send_line(both[1])
        await wire.assert_silent()
        assert await wire.ask(legacy_request(4)) == result(4)
    async with legacy_client(handler=worker.handlers()) as (_, wire):
        await wire.send_line(cancelled("unknown"))
        assert await wire.ask(legacy_request(1)) == result(1)
        await wire.send_line(cancelled(1))
        await wire.assert_silent()


@pytest.mark.requirement("L25-CA-03")
async def test_a_caller_that_leaves_after_the_answer_sends_nothing(autojump_clock: Any) -> None:
    async with legacy_client() as (client, wire), trio.open_nursery() as nursery:
        calls = Calls(client, nursery)
        calls.begin("m")
        await wire.send_line(result((await wire.receive())["id"]))
        await settle()
        calls.scopes["m"].cancel()
        await wire.assert_silent()
        assert calls.outcomes == {"m": {}}


@pytest.mark.requirement("L25-CA-04", "L25-CA-03")
@pytest.mark.parametrize("legacy_role", ["server", "client"])
async def test_a_cancellation_without_a_usable_id_is_ignored(legacy_role: str, autojump_clock: Any) -> None:
    worker = Worker()
    opened = serve_bytes(worker.handlers()) if legacy_role == "server" else legacy_client(handler=worker.handlers())
    async with opened as got:
        wire = got if isinstance(got, Wire) else got[1]
        if legacy_role == "server":
            await shake_hands(wire)
        await wire.send_line(legacy_request(1, "wait"))
        await settle()
        await wire.send_line({"jsonrpc": "2.0", "method": "notifications/cancelled"})
        await wire.send_line(note("notifications/cancelled"))
        await wire.send_line(note("notifications/cancelled", reason="a task", taskId="1"))
        for odd in (None, True, 1.0, "1", [], [1], {}, {"id": 1}):
            await wire.send_line(cancelled(odd))
        await wire.assert_silent()
        assert worker.log == [("began", 1)]
        worker.release.set()
        assert await wire.receive() == result(1)


@pytest.mark.requirement("L25-CA-04")
async def test_a_task_is_cancelled_by_a_request_of_its_own(autojump_clock: Any) -> None:
    task = {"task": {"taskId": "t", "status": "working"}}
    async with legacy_client() as (client, wire), trio.open_nursery() as nursery:
        calls = Calls(client, nursery)
        calls.begin("tools/call", params={"task": {}})
        await wire.send_line(result((await wire.receive())["id"], **task))
        await settle()
        calls.scopes["tools/call"].cancel()
        await wire.assert_silent()
        assert calls.outcomes == {"tools/call": task}
        calls.begin("tasks/cancel", params={"taskId": "t"})
        asked = await wire.receive()
        assert (asked["method"], asked["params"]) == ("tasks/cancel", {"taskId": "t"}) and "id" in asked
        await wire.send_line(result(asked["id"]))
    async with serve_bytes() as wire:
        await shake_hands(wire)
        assert await wire.ask(legacy_request(1, "tasks/cancel", {"taskId": "t"})) == result(1, taskId="t")


# Progress.


@pytest.mark.requirement("L25-PR-01")
@pytest.mark.parametrize("token", ["t", 0, 7])
@pytest.mark.parametrize("legacy_role", ["server", "client"])
async def test_progress_names_the_token_and_grows_until_the_answer(
    token: Any, legacy_role: str, autojump_clock: Any
) -> None:
    kept: list[MessageContext] = []

    async def work(request: Request, context: MessageContext) -> Any:
        kept.append(context)
        for value in (1, 2, 2, 1.5, 3.5):
            await context.progress(value, 4, "m")
        return {}

    opened = serve_bytes(work) if legacy_role == "server" else legacy_client(handler=Handlers(work))
    async with opened as got:
        wire = got if isinstance(got, Wire) else got[1]
        if legacy_role == "server":
            await shake_hands(wire)
        await wire.send_line(legacy_request(1, "work", {"_meta": {"progressToken": token}}))
        for value in (1, 2, 3.5):
            told = await wire.receive()
            params = {"progressToken": token, "progress": value, "total": 4, "message": "m"}
            assert told == note("notifications/progress", **params)
            assert type(told["params"]["progressToken"]) is type(token)
        assert await wire.receive() == result(1)
        with pytest.raises(LocalProtocolError):
            await kept[0].progress(4)
        await wire.assert_silent()
        # Who names no token, or none that is one, gets no progress.
        assert await wire.ask(legacy_request(2, "work")) == result(2)
        for number, odd in enumerate((None, True, 1.5, [], {}), 3):
            assert await wire.ask(legacy_request(number, "work", {"_meta": {"progressToken": odd}})) == result(number)


@pytest.mark.requirement("L25-PR-01")
async def test_a_client_gives_each_call_a_token_and_its_progress(autojump_clock: Any) -> None:
    got: dict[str, list[Any]] = {"a": [], "b": []}
    worker = Worker()
    async with legacy_client(handler=worker.handlers()) as (client, wire), trio.open_nursery() as nursery:
        calls = Calls(client, nursery)
        calls.begin("silent")
        silent = await wire.receive()
        assert "progressToken" not in silent.get("params", {}).get("_meta", {})
        requests = []
        for method in ("a", "b"):
            calls.begin(method, on_progress=got[method].append)
            requests.append(await wire.receive())
        tokens = [one["params"]["_meta"]["progressToken"] for one in requests]
        assert len(set(tokens)) == 2 and all(type(token) in (int, str) for token in tokens)
        for value in (1, 2):
            await wire.send_line(note("notifications/progress", progressToken=tokens[1], progress=value))
            await wire.send_line(note("notifications/progress", progressToken=tokens[0], progress=10 * value))
        await settle()
        for one in (*requests, silent):
            await wire.send_line(result(one["id"]))
        await settle()
        assert [one["progress"] for one in got["a"]] == [10, 20]
        assert [one["progress"] for one in got["b"]] == [1, 2]
        assert calls.outcomes == {"silent": {}, "a": {}, "b": {}} and worker.notes == []


@pytest.mark.requirement("L25-PR-01")
async def test_the_token_of_a_task_outlives_the_answer_that_made_it(autojump_clock: Any) -> None:
    task = {"task": {"taskId": "t", "status": "working"}}
    worker = Worker()
    got: list[Any] = []
    async with legacy_client(handler=worker.handlers()) as (client, wire), trio.open_nursery() as nursery:
        calls = Calls(client, nursery)
        calls.begin("tools/call", params={"task": {}}, on_progress=got.append)
        made = await wire.receive()
        token = made["params"]["_meta"]["progressToken"]
        await wire.send_line(result(made["id"], **task))
        await settle()
        assert calls.outcomes == {"tools/call": task}
        calls.begin("tasks/result", params={"taskId": "t"}, on_progress=got.append)
        fetch = await wire.receive()
        assert fetch["params"]["_meta"]["progressToken"] != token, "the token is still in use"
        await wire.send_line(note("notifications/progress", progressToken=token, progress=1))
        await wire.send_line(result(fetch["id"], done=True))
        await settle()
        assert worker.notes == [("notifications/progress", {"progressToken": token, "progress": 1})]
        assert (got, calls.outcomes["tasks/result"]) == ([], {"done": True})

    async def serve_task(request: Request, context: MessageContext) -> Any:
        if request.method == "tools/call":
            tokens.append(context.envelope.progress_token)
            return task
        await context.notify("notifications/progress", {"progressToken": tokens[0], "progress": 1})
        return {}

    tokens: list[Any] = []
    async with serve_bytes(serve_task) as wire:
        await shake_hands(wire)
        call = legacy_request(1, "tools/call", {"task": {}, "_meta": {"progressToken": "p"}})
        assert await wire.ask(call) == result(1, **task)
        told = await wire.ask(legacy_request(2, "tasks/result", {"taskId": "t"}))
        assert told == note("notifications/progress", progressToken="p", progress=1)
        assert await wire.receive() == result(2)
