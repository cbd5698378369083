"""The rows on stdio framing and on who may write what, seen as bytes."""

from __future__ import annotations

import inspect
import json
import random
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.support import (
    client_and_wire,
    client_over_bytes,
    legacy_request,
    modern_request,
    serve_bytes,
    shake_hands,
)
from trio_mcp_transport import (
    LegacyMessageContext,
    MessageContext,
    Notification,
    Request,
    StdioClientTransport,
    StdioServerTransport,
    Subscriptions,
    open_client,
)
from trio_mcp_transport.testing import byte_stream_pair

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
LISTEN = "subscriptions/listen"
LINE_ENDS = ["\n", "\r", "\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"]


async def echo(request: Request, context: MessageContext) -> Any:
    await context.notify("notifications/custom", {"text": request.params.get("text")})
    return {"text": request.params.get("text")}


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def read_all(stream: Any) -> bytes:
    data = b""
    with trio.move_on_after(1):
        while chunk := await stream.receive_some():
            data += chunk
    return data


@pytest.mark.requirement("M-IO-02", "M-IO-22")
@given(
    text=st.text(st.one_of(st.sampled_from([end[0] for end in LINE_ENDS]), st.characters(exclude_categories=["Cs"]))),
    key=st.text(st.sampled_from("ab\n\r\u2028\x85")),
)
def test_any_message_is_one_line_whatever_its_strings_hold(text: str, key: str) -> None:
    async def main() -> None:
        near, far = trio.testing.memory_stream_pair()
        async with serve_bytes(echo, streams=(near, far)) as wire:
            await wire.send_line(modern_request(key, "echo", {"text": text}))
            await wire.end()
            data = await read_all(near)
            lines = data.split(b"\n")
            assert (len(lines), lines[-1]) == (3, b"")
            note, answer = (json.loads(line) for line in lines[:2])
            assert note["params"]["text"] == answer["result"]["text"] == text
            assert answer["id"] == key
            assert b"\r" not in data

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.requirement("M-IO-02")
async def test_what_a_client_writes_is_one_line_per_message() -> None:
    near, far = trio.testing.memory_stream_pair()
    async with client_over_bytes(streams=(near, far)) as (client, _):
        for end in LINE_ENDS:
            await client.notify("notifications/custom", {f"key{end}": f"a{end}b"})
    data = await read_all(near)
    assert data.count(b"\n") == len(LINE_ENDS)
    texts = [next(iter(json.loads(line)["params"])) for line in data.split(b"\n")[:-1]]
    assert texts == [f"key{end}" for end in LINE_ENDS]


def requests(count: int) -> bytes:
    made = (modern_request(number, "echo", {"text": "é\u2028" * (number % 7)}) for number in range(count))
    return b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in made)


@pytest.mark.requirement("M-IO-03")
@pytest.mark.parametrize("seed", [None, *range(5)], ids=str)
async def test_a_server_reads_the_same_messages_however_the_bytes_arrive(seed: int | None) -> None:
    random_ = random.Random(seed)
    data = requests(10 if seed is None else 40)
    near, far = trio.testing.memory_stream_pair()
    async with serve_bytes(echo, streams=(near, far)) as wire:
        while data:
            size = 1 if seed is None else random_.randrange(1, 200)
            await near.send_all(data[:size])
            data = data[size:]
            await trio.lowlevel.checkpoint()
        await wire.end()
        answers = [line for line in await wire.receive_rest() if "id" in line]
        assert sorted(line["id"] for line in answers) == list(range(10 if seed is None else 40))
        assert all(line["result"]["text"] == "é\u2028" * (line["id"] % 7) for line in answers)


@pytest.mark.requirement("M-IO-03", "M-IO-22")
async def test_a_client_reads_the_same_messages_however_the_bytes_arrive() -> None:
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:
        results: list[Any] = []

        async def call() -> None:
            results.append(await client.request("m"))

        for _ in range(3):
            nursery.start_soon(call)
            id_ = (await wire.receive())["id"]
            text = "".join(LINE_ENDS)
            answer = {"jsonrpc": "2.0", "id": id_, "result": {"resultType": "complete", "text": text}}
            for byte in json.dumps(answer, ensure_ascii=False).encode() + b"\r\n":
                await wire.send_bytes(bytes([byte]))
            await settle()
        assert [result["text"] for result in results] == ["".join(LINE_ENDS)] * 3


@pytest.mark.requirement("M-IO-22")
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n\n", b"\r\n\r\n\n"], ids=repr)
async def test_line_ends_and_blank_lines_of_other_systems_are_accepted(end: bytes) -> None:
    async with serve_bytes(echo) as wire:
        await wire.send_bytes(end)
        for number in range(3):
            text = "a\u2028b\u2029c\x85d"
            line = json.dumps(modern_request(number, "echo", {"text": text}), ensure_ascii=False).encode()
            await wire.send_bytes(line + end)
            assert (await wire.receive())["params"]["text"] == text
            assert (await wire.receive())["id"] == number
        await wire.assert_silent(0.01)


@pytest.mark.requirement("M-IO-09")
async def test_a_modern_client_writes_requests_and_notifications_only() -> None:
    near, far = trio.testing.memory_stream_pair()
    async with client_over_bytes(streams=(near, far)) as (client, wire):
        await client.notify("notifications/custom")
        with trio.move_on_after(0.01):
            await client.request("left")
        # Whatever the server sends: requests, nonsense, an oversized line, a foreign answer.
        for line in (
            b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
            b'{"jsonrpc":"2.0","id":"x","method":"sampling/createMessage","params":{}}',
            b"{oops",
            b"[]",
            b"x" * (1024 * 1024 + 1),
            b'{"jsonrpc":"2.0","id":99,"result":{}}',
        ):
            await wire.send_line(line)
        await settle()
    lines = [json.loads(line) for line in (await read_all(near)).splitlines()]
    assert len(lines) == 3
    assert all("method" in line and "result" not in line and "error" not in line for line in lines)


@pytest.mark.requirement("M-IO-10")
async def test_a_modern_server_writes_responses_and_notifications_only() -> None:
    tried: list[str] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        assert not isinstance(context, LegacyMessageContext)
        for name in ("request", "call", "send_request"):
            if hasattr(context, name):
                tried.append(name)
        await context.notify("notifications/custom")
        await context.progress(1)
        await context.log("error", "x")
        return {}

    shutdown = trio.Event()
    async with serve_bytes(handle, subscriptions=Subscriptions(), shutdown=shutdown) as wire:
        meta = {"progressToken": 1, "io.modelcontextprotocol/logLevel": "debug"}
        await wire.send_line(modern_request(1, "m", None, **meta))
        await wire.send_line(modern_request(2, "server/discover"))
        await wire.send_line(modern_request(3, "sampling/createMessage"))
        await wire.send_line(modern_request(4, LISTEN, {"notifications": {}}))
        await wire.send_line(b"{oops")
        await settle()
        shutdown.set()
        lines = await wire.receive_rest()
    assert len(lines) > 8
    assert not [line for line in lines if "method" in line and "id" in line]
    assert tried == []


@pytest.mark.requirement("M-IO-11")
async def test_each_listen_gets_only_what_carries_its_own_id() -> None:
    async with client_over_bytes() as (client, wire):
        async with (
            client.open_exchange(LISTEN, {"notifications": {}}) as first,
            client.open_exchange(LISTEN, {"notifications": {}}) as second,
        ):
            ids = [(await wire.receive())["id"] for _ in range(2)]
            assert ids == [first.request_id, second.request_id]
            order = [0, 1, 1, 0, 1, 0, 0, 1]
            for number, which in enumerate(order):
                params = {"n": number, "_meta": {SUBSCRIPTION: ids[which]}}
                await wire.send_line({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": params})
            for which, replies in enumerate((first, second)):
                got = [await replies.receive() for _ in range(4)]
                numbers = [message.params["n"] for message in got if isinstance(message, Notification)]
                assert numbers == [number for number, one in enumerate(order) if one == which]


@pytest.mark.requirement("M-IO-21")
@pytest.mark.parametrize("make", [bytes, msgspec.Raw], ids=["bytes", "Raw"])
async def test_pretty_printed_text_passed_through_is_one_line(make: Callable[[bytes], Any]) -> None:
    pretty = json.dumps({"text": "a\u2028b", "list": [1, {"x": None}]}, indent=2).replace("\n", "\r\n").encode()

    async def handle(request: Request, context: MessageContext) -> Any:
        return make(pretty)

    near, far = trio.testing.memory_stream_pair()
    async with serve_bytes(handle, streams=(near, far)) as wire:
        await wire.send_line(modern_request(1))
        await shake_hands_on(wire)
        await wire.send_line(legacy_request(2))
        await wire.end()
        data = await read_all(near)
        lines = data.split(b"\n")
        assert lines[-1] == b"" and len(lines) == 4
        answers = {line["id"]: line["result"] for line in map(json.loads, lines[:-1])}
        for id_ in (1, 2):
            assert answers[id_]["list"] == [1, {"x": None}]
            assert answers[id_]["text"] == "a\u2028b"
        assert b"\r" not in data
    near, far = trio.testing.memory_stream_pair()
    async with client_over_bytes(streams=(near, far)) as (client, _):
        await client.notify("notifications/custom", make(pretty))
    data = await read_all(near)
    assert data.count(b"\n") == 1
    assert b"\r" not in data


async def shake_hands_on(wire: Any) -> None:
    """Begin a legacy session without reading its answer."""
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    await wire.send_line(legacy_request("i", "initialize", params))


@pytest.mark.requirement("M-IO-20")
def test_stdio_knows_no_authorization() -> None:
    for transport in (StdioClientTransport, StdioServerTransport):
        parameters = " ".join(inspect.signature(transport).parameters)
        assert not [word for word in ("auth", "token", "credential", "bearer") if word in parameters.lower()]


@pytest.mark.requirement("M-IO-03")
async def test_a_write_cut_into_pieces_by_a_full_pipe_arrives_whole() -> None:
    near, far = byte_stream_pair(7)
    async with serve_bytes(echo, streams=(near, far)) as wire:
        for number in range(20):
            await wire.send_line(modern_request(number, "echo", {"text": "é" * 50}))
            assert (await wire.receive())["params"]["text"] == "é" * 50
            assert (await wire.receive())["id"] == number


@pytest.mark.requirement("M-IO-09", "M-IO-10")
async def test_in_the_legacy_era_requests_and_responses_flow_both_ways() -> None:
    async def ask(request: Request, context: MessageContext) -> Any:
        assert isinstance(context, LegacyMessageContext)
        return await context.request("roots/list")

    async with serve_bytes(ask) as wire:
        await shake_hands(wire)
        question = await wire.ask(legacy_request(1))
        assert (question["method"], "id" in question) == ("roots/list", True)
        answer = await wire.ask({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}})
        assert answer["result"] == {"roots": []}
    transport, wire = client_and_wire()
    async with trio.open_nursery() as nursery:

        async def use() -> None:
            async with open_client(transport, era="legacy"):
                await trio.sleep_forever()

        nursery.start_soon(use)
        first = await wire.receive()
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
        await wire.send_line({"jsonrpc": "2.0", "id": first["id"], "result": result})
        await wire.receive()
        assert await wire.ask(legacy_request("s", "ping")) == {"jsonrpc": "2.0", "id": "s", "result": {}}
        assert (await wire.ask(legacy_request("t", "roots/list")))["error"]["code"] == -32601
        nursery.cancel_scope.cancel()


TELL_ENVIRONMENT = """
import json, os, sys
for line in sys.stdin:
    id_ = json.loads(line).get("id")
    if id_ is not None:
        print(json.dumps({"jsonrpc": "2.0", "id": id_, "result": dict(os.environ)}), flush=True)
"""


@pytest.mark.requirement("M-IO-20")
async def test_a_child_gets_its_credentials_from_the_environment_that_was_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "x")
    transport = StdioClientTransport([sys.executable, "-S", "-c", TELL_ENVIRONMENT], env={"API_KEY": "given"})
    with trio.fail_after(5):
        async with open_client(transport, era="modern", discover=False) as client:
            environment = await client.request("m")
    assert environment["API_KEY"] == "given"
    assert "SECRET_OF_THE_PARENT" not in environment
