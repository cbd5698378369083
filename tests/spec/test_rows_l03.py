"""The rows of revision 2025-03-26 that a pipe meets: arrays of messages, seen from the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.processes import ECHO, handshake, notification, running
from tests.support import (
    Wire,
    client_and_wire,
    legacy_request,
    modern_request,
    serve_bytes,
    shake_hands,
)
from trio_mcp_transport import (
    Client,
    Handlers,
    MessageContext,
    Notification,
    Request,
    RpcError,
    open_client,
)
from trio_mcp_transport.pipe.server import CHECKPOINT_EVERY

BATCHING = "2025-03-26"
OTHERS = ["2025-11-25", "2025-06-18", "2024-11-05"]
INVALID = -32600


def note(method: str, **params: Any) -> Any:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def result(id_: Any, **members: Any) -> Any:
    return {"jsonrpc": "2.0", "id": id_, "result": members}


INITIALIZE = legacy_request(
    "in", "initialize", {"protocolVersion": BATCHING, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
)


class Journal:
    """A handler that keeps what reaches it and echoes the params of a request."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.asked: list[Any] = []

    async def request(self, request: Request, context: MessageContext) -> Any:
        self.seen.append((request.method, request.params))
        if request.method == "ask":
            self.asked.append(await context.request("roots/list"))  # type: ignore[attr-defined]  # legacy only
        if request.method == "fail":
            raise RpcError(7, "no")
        return request.params

    def notification(self, notification: Notification, context: MessageContext) -> None:
        self.seen.append((notification.method, notification.params))

    def handlers(self) -> Handlers:
        return Handlers(self.request, self.notification)


async def by_id(wire: Wire, count: int) -> dict[Any, Any]:
    """Receive that many answers, single or in arrays, whatever their order; no id twice."""
    answers: dict[Any, Any] = {}
    while len(answers) < count:
        received = await wire.receive()
        for answer in received if isinstance(received, list) else [received]:
            assert answer["id"] not in answers
            answers[answer["id"]] = answer
    return answers


@pytest.mark.requirement("L03-01", "L03-06")
async def test_every_request_of_an_array_is_answered_and_every_notification_handled(autojump_clock: Any) -> None:
    journal = Journal()
    async with serve_bytes(journal.handlers()) as wire:
        assert (await shake_hands(wire, BATCHING))["protocolVersion"] == BATCHING
        await wire.send_line(
            [
                legacy_request(1, "echo", {"a": 1}),
                note("notifications/x", b=2),
                legacy_request("2", "fail"),
                legacy_request(3, "ping"),
            ]
        )
        answers = await by_id(wire, 3)
        await wire.assert_silent()
        assert answers[1]["result"] == {"a": 1}
        assert answers["2"]["error"] == {"code": 7, "message": "no"}
        assert answers[3]["result"] == {}
        assert ("notifications/x", {"b": 2}) in journal.seen
        assert (await wire.ask(legacy_request(4, "echo", {"c": 3})))["result"] == {"c": 3}, "single messages as before"


@pytest.mark.requirement("L03-01", "L03-02")
async def test_an_array_of_one_and_of_many_and_of_notifications_only(autojump_clock: Any) -> None:
    journal = Journal()
    many = 3 * CHECKPOINT_EVERY
    async with serve_bytes(journal.handlers()) as wire:
        await shake_hands(wire, BATCHING)
        assert list(await ask_array(wire, [legacy_request("one")], 1)) == ["one"]
        answers = await ask_array(wire, [legacy_request(number) for number in range(many)], many)
        assert sorted(answers) == list(range(many)) and all("result" in one for one in answers.values())
        await wire.send_line([note("n", i=1), note("n", i=2)])
        await wire.assert_silent()
        assert journal.seen[-2:] == [("n", {"i": 1}), ("n", {"i": 2})]


async def ask_array(wire: Wire, array: list[Any], count: int) -> dict[Any, Any]:
    await wire.send_line(array)
    return await by_id(wire, count)


@pytest.mark.requirement("L03-01", "L03-02")
@pytest.mark.parametrize("kind", ["response", "error"])
async def test_an_array_of_responses_answers_what_the_server_asked(kind: str, autojump_clock: Any) -> None:
    journal = Journal()
    async with serve_bytes(journal.handlers()) as wire:
        await shake_hands(wire, BATCHING)
        await wire.send_line([legacy_request("a", "ask"), legacy_request("b", "ask")])
        asked = [await wire.receive(), await wire.receive()]
        assert [one["method"] for one in asked] == ["roots/list", "roots/list"]
        last = (
            result(asked[1]["id"], n=2)
            if kind == "response"
            else {"jsonrpc": "2.0", "id": asked[1]["id"], "error": {"code": 9, "message": "denied"}}
        )
        await wire.send_line([result(asked[0]["id"], n=1), result("nobody"), last])
        answers = await by_id(wire, 2)
        await wire.assert_silent()
        assert "result" in answers["a"]
        numbers = sorted(one["n"] for one in journal.asked)
        assert numbers == ([1, 2] if kind == "response" else [1])
        assert kind == "response" or answers["b"]["error"]["code"] == 9


MIXED = [
    [legacy_request(1), result(1)],
    [result(1), legacy_request(1)],
    [note("n"), result(1)],
    [legacy_request(1), {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": ""}}],
    [legacy_request(1), note("n"), legacy_request(2), result(5)],
]


@pytest.mark.requirement("L03-02")
@pytest.mark.parametrize("array", [[], *MIXED], ids=lambda array: f"{len(array)} members")
async def test_an_empty_or_mixed_array_is_refused_as_one(array: list[Any], autojump_clock: Any) -> None:
    journal = Journal()
    async with serve_bytes(journal.handlers()) as wire:
        await shake_hands(wire, BATCHING)
        answer = await wire.ask(array)
        assert answer["error"]["code"] == INVALID and answer["id"] is None and "result" not in answer
        await wire.assert_silent()
        assert journal.seen == [], "no member of it was handled"
        assert "result" in await wire.ask(legacy_request(1))


@pytest.mark.requirement("L03-02")
async def test_a_mixed_array_answers_no_question_of_the_server(autojump_clock: Any) -> None:
    journal = Journal()
    async with serve_bytes(journal.handlers()) as wire:
        await shake_hands(wire, BATCHING)
        asked = await wire.ask(legacy_request("a", "ask"))
        refusal = await wire.ask([result(asked["id"], n=1), note("n")])
        assert refusal["error"]["code"] == INVALID
        await wire.assert_silent()
        assert journal.asked == []
        assert (await wire.ask(result(asked["id"], n=2)))["id"] == "a"
        assert journal.asked == [{"n": 2}]


@pytest.mark.requirement("L03-02")
@pytest.mark.parametrize(
    ("member", "id_"), [(5, None), ("m", None), (None, None), ({}, None), ([], None), ([legacy_request(8)], None)]
)
async def test_a_member_that_is_no_message_is_refused_alone(member: Any, id_: Any, autojump_clock: Any) -> None:
    async with serve_bytes() as wire:
        await shake_hands(wire, BATCHING)
        answers = await ask_array(wire, [member, legacy_request(1), {"id": 2, "method": "echo"}], 3)
        await wire.assert_silent()
        assert answers[id_]["error"]["code"] == INVALID
        assert "result" in answers[1]
        assert answers[2]["error"]["code"] == INVALID


@pytest.mark.requirement("L03-03")
@pytest.mark.parametrize("others", [[], [legacy_request(1)], [note("notifications/initialized")]])
async def test_initialize_inside_an_array_is_refused(others: list[Any], autojump_clock: Any) -> None:
    journal = Journal()
    async with serve_bytes(journal.handlers()) as wire:
        for array in ([INITIALIZE, *others], [*others, INITIALIZE]):
            refusal = await wire.ask(array)
            assert refusal["error"]["code"] == INVALID and "id" not in refusal
        assert "error" in await wire.ask(legacy_request(2)), "the array began no session"
        assert (await shake_hands(wire, BATCHING))["protocolVersion"] == BATCHING
        for array in ([INITIALIZE, *others], [*others, INITIALIZE]):
            refusal = await wire.ask(array)
            assert refusal["error"]["code"] == INVALID and refusal["id"] is None
        await wire.assert_silent()
        assert journal.seen == [], "what stood beside it was not handled either"
        assert "result" in await wire.ask(legacy_request(3))


@pytest.mark.requirement("L03-01", "L03-06")
@pytest.mark.parametrize("revision", OTHERS)
async def test_arrays_exist_in_no_other_legacy_revision(revision: str, autojump_clock: Any) -> None:
    journal = Journal()
    async with serve_bytes(journal.handlers()) as wire:
        await shake_hands(wire, revision)
        refusal = await wire.ask([legacy_request(1), note("n")])
        assert refusal["error"]["code"] == INVALID and refusal.get("id") is None
        await wire.assert_silent()
        assert journal.seen == []
        assert "result" in await wire.ask(legacy_request(1))


@pytest.mark.requirement("L03-06")
async def test_an_array_as_the_first_line_is_refused_and_the_connection_goes_on(autojump_clock: Any) -> None:
    async with serve_bytes() as wire:
        refusal = await wire.ask([legacy_request(1, "ping"), legacy_request(2, "server/discover")])
        assert refusal["error"]["code"] == INVALID and "id" not in refusal
        await wire.assert_silent()
        assert (await wire.ask(modern_request(3)))["id"] == 3
        await shake_hands(wire, BATCHING)
        assert sorted(await ask_array(wire, [legacy_request(4), legacy_request(5)], 2)) == [4, 5]


@pytest.mark.requirement("L03-06", "L03-01")
async def test_a_line_of_a_real_process_may_be_an_array(tmp_path: Path) -> None:
    async with running(list(ECHO), tmp_path) as server:
        begin, initialized = handshake(BATCHING)
        assert (await server.ask(begin))["result"]["protocolVersion"] == BATCHING
        await server.send(initialized)
        await server.send([legacy_request(1, "ping"), notification("notifications/x"), legacy_request(2, "ping")])
        answers = [await server.message(), await server.message()]
        assert sorted(one["id"] for one in answers) == [1, 2]
        assert [one["result"] for one in answers] == [{}, {}]
        refusal: Any = await server.ask([])  # type: ignore[arg-type]  # an array where an object is the rule
        assert refusal["error"]["code"] == INVALID and refusal["id"] is None
        await server.end_input()
        assert await server.rest() == []
        assert await server.wait() == 0


# The client.


class Opened:
    """A legacy client of a server that the test plays, and the outcomes of its calls."""

    def __init__(self, client: Client, wire: Wire, nursery: trio.Nursery) -> None:
        self.client = client
        self.wire = wire
        self.results: dict[str, Any] = {}
        self._nursery = nursery

    async def call(self, method: str) -> Any:
        """Begin a call and return the id that it left with."""

        async def wait() -> None:
            self.results[method] = await self.client.request(method)

        self._nursery.start_soon(wait)
        sent = await self.wire.receive()
        assert type(sent) is dict and sent["method"] == method, "a client sends no arrays"
        return sent["id"]


async def with_client(revision: str, test: Any, handler: Handlers) -> None:
    """Open a client on the test's server, which speaks one legacy revision, and run the test on it."""
    transport, wire = client_and_wire()
    agreed = trio.Event()

    async def use() -> None:
        async with open_client(transport, era="legacy", handler=handler) as client, trio.open_nursery() as inner:
            await agreed.wait()
            await test(Opened(client, wire, inner))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
        begin = await wire.receive()
        assert type(begin) is dict and begin["method"] == "initialize", "never inside an array"
        answer = {"protocolVersion": revision, "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
        await wire.send_line(result(begin["id"], **answer))
        initialized = await wire.receive()
        assert type(initialized) is dict and initialized["method"] == "notifications/initialized"
        agreed.set()


@pytest.mark.requirement("L03-01", "L03-02", "L03-06", "L03-03")
async def test_a_client_takes_arrays_of_its_server(autojump_clock: Any) -> None:
    journal = Journal()

    async def test(opened: Opened) -> None:
        wire = opened.wire
        first, second = await opened.call("first"), await opened.call("second")
        await wire.send_line([result(second, n=2), result(first, n=1)])
        await trio.testing.wait_all_tasks_blocked()
        assert opened.results == {"first": {"n": 1}, "second": {"n": 2}}
        answers = await ask_array(
            wire, [legacy_request("p", "ping"), note("n", a=1), legacy_request("r", "roots", {"b": 2})], 2
        )
        assert answers == {"p": result("p"), "r": result("r", b=2)}
        await wire.assert_silent()
        assert sorted(method for method, _ in journal.seen) == ["n", "roots"]

    await with_client(BATCHING, test, journal.handlers())


@pytest.mark.requirement("L03-02")
@pytest.mark.parametrize("revision", [BATCHING, *OTHERS])
async def test_a_client_drops_what_is_no_lawful_array(revision: str, autojump_clock: Any) -> None:
    journal = Journal()

    async def test(opened: Opened) -> None:
        wire = opened.wire
        id_ = await opened.call("m")
        arrays: list[list[Any]] = [[], [result(id_), note("n")], [legacy_request(1, "ping"), result(id_)]]
        if revision != BATCHING:
            arrays += [[result(id_)], [legacy_request(1, "ping")], [note("n")]]
        for array in arrays:
            await wire.send_line(array)
            await wire.assert_silent()
        assert (opened.results, journal.seen) == ({}, [])
        await wire.send_line(result(id_, n=1))
        await trio.testing.wait_all_tasks_blocked()
        assert opened.results == {"m": {"n": 1}}

    await with_client(revision, test, journal.handlers())
