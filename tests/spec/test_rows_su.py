"""The rows on subscriptions, seen from the wire and from a client's block."""

from __future__ import annotations

import logging
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import client_over_bytes, modern_request, serve_bytes
from trio_mcp_transport import (
    ConnectionClosed,
    Handlers,
    Limits,
    MessageContext,
    Notification,
    Request,
    Response,
    RestartPolicy,
    StdioClientTransport,
    Subscriptions,
    open_client,
)
from trio_mcp_transport.testing import byte_stream_pair, connect

LISTEN, ACKNOWLEDGED = "subscriptions/listen", "notifications/subscriptions/acknowledged"
CANCELLED = "notifications/cancelled"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
TOOLS, PROMPTS = "notifications/tools/list_changed", "notifications/prompts/list_changed"
RESOURCES, UPDATED = "notifications/resources/list_changed", "notifications/resources/updated"
EVERYTHING = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}


def listen(id_: Any, filter_: Any) -> Any:
    return modern_request(id_, LISTEN, {"notifications": filter_})


def cancel(id_: Any) -> Any:
    return {"jsonrpc": "2.0", "method": CANCELLED, "params": {"requestId": id_}}


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def call(request: Request, context: MessageContext) -> Any:
    return {}


@pytest.mark.requirement("M-SU-01")
async def test_a_client_sends_the_filter_as_it_was_given_extensions_included() -> None:
    filter_ = {**EVERYTHING, "resourceSubscriptions": ["file:///a"], "taskIds": ["t1"], "x-unknown": {"deep": [1]}}
    async with client_over_bytes() as (client, wire):
        async with client.open_exchange(LISTEN, {"notifications": filter_}):
            request = await wire.receive()
            assert request["params"]["notifications"] == filter_
            assert "_meta" in request["params"]


@pytest.mark.requirement("M-SU-01", "M-SU-05")
@pytest.mark.parametrize("filter_", [None, [], "toolsListChanged", {"resourceSubscriptions": "a"}], ids=str)
async def test_a_malformed_filter_is_refused(filter_: Any) -> None:
    async with serve_bytes(call, subscriptions=Subscriptions()) as wire:
        assert (await wire.ask(listen(1, filter_)))["error"]["code"] == -32602
        assert (await wire.ask(modern_request(1)))["result"]


@pytest.mark.requirement("M-SU-02")
@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({"toolsListChanged": True}, [TOOLS]),
        ({"promptsListChanged": True}, [PROMPTS]),
        ({"resourcesListChanged": True}, [RESOURCES]),
        ({"resourceSubscriptions": ["file:///b"]}, [UPDATED]),
        ({"toolsListChanged": False, "promptsListChanged": True}, [PROMPTS]),
        ({}, []),
    ],
    ids=str,
)
async def test_no_notification_that_was_not_asked_for_is_sent(filter_: Any, expected: list[str]) -> None:
    subscriptions = Subscriptions()
    async with serve_bytes(call, subscriptions=subscriptions) as wire:
        assert (await wire.ask(listen(1, filter_)))["method"] == ACKNOWLEDGED
        for method in (TOOLS, PROMPTS, RESOURCES):
            subscriptions.publish(method)
        for uri in ("file:///a", "file:///b", "file:///b/"):
            subscriptions.publish(UPDATED, {"uri": uri})
        await settle()
        lines = [await wire.receive() for _ in expected]
        assert [line["method"] for line in lines] == expected
        assert all(line["params"].get("uri", "file:///b") == "file:///b" for line in lines)
        await wire.assert_silent(0.01)


@pytest.mark.requirement("M-SU-03", "M-SU-04")
def test_the_acknowledgement_comes_first_in_any_order_of_events() -> None:
    random_ = random.Random(7)

    async def one_order() -> None:
        subscriptions = Subscriptions()
        async with serve_bytes(call, subscriptions=subscriptions) as wire:
            steps: list[Any] = [None] * random_.randrange(4) + [(TOOLS, None)] * random_.randrange(1, 4)
            ids = [1, "1", 2]
            steps += [listen(id_, {"toolsListChanged": True}) for id_ in ids]
            random_.shuffle(steps)
            for step in steps:
                if step is None:
                    await trio.lowlevel.checkpoint()
                elif isinstance(step, tuple):
                    subscriptions.publish(*step)
                else:
                    await wire.send_line(step)
            await settle()
            subscriptions.publish(TOOLS)
            await settle()
            await wire.end()
            seen: dict[str, list[str]] = {repr(id_): [] for id_ in ids}
            for line in await wire.receive_rest():
                if line.get("method") not in (None, CANCELLED):
                    seen[repr(line["params"]["_meta"][SUBSCRIPTION])].append(line["method"])
            assert all(methods[0] == ACKNOWLEDGED for methods in seen.values())
            assert all(set(methods[1:]) == {TOOLS} for methods in seen.values())

    for _ in range(500):
        trio.run(one_order)


@pytest.mark.requirement("M-SU-03")
async def test_the_acknowledgement_names_the_subset_agreed_on() -> None:
    filter_ = {"toolsListChanged": True, "promptsListChanged": False, "resourceSubscriptions": ["file:///a"]}
    async with serve_bytes(call, subscriptions=Subscriptions()) as wire:
        acknowledged = await wire.ask(listen(7, filter_))
        assert acknowledged["params"] == {
            "_meta": {SUBSCRIPTION: 7},
            "notifications": {"toolsListChanged": True, "resourceSubscriptions": ["file:///a"]},
        }


@pytest.mark.requirement("M-SU-05")
async def test_what_the_server_does_not_support_is_left_out_of_the_acknowledgement() -> None:
    subscriptions = Subscriptions(supported={"toolsListChanged": True, "promptsListChanged": False})
    async with connect(Handlers(call), subscriptions=subscriptions) as client:
        async with client.open_exchange(LISTEN, {"notifications": EVERYTHING}) as replies:
            acknowledged = await replies.receive()
            assert isinstance(acknowledged, Notification)
            assert acknowledged.params["notifications"] == {"toolsListChanged": True}
            subscriptions.publish(PROMPTS)
            subscriptions.publish(TOOLS)
            first = await replies.receive()
            assert isinstance(first, Notification)
            assert first.method == TOOLS


@pytest.mark.requirement("M-SU-06")
async def test_every_notification_is_tagged_with_the_id_of_its_listen_type_included() -> None:
    subscriptions = Subscriptions()
    async with serve_bytes(call, subscriptions=subscriptions) as wire:
        for id_ in (1, "1"):
            await wire.send_line(listen(id_, EVERYTHING))
            assert (await wire.receive())["params"]["_meta"][SUBSCRIPTION] == id_
        subscriptions.publish(TOOLS, {"_meta": {"own": "kept"}})
        lines = [await wire.receive(), await wire.receive()]
        tags = [line["params"]["_meta"][SUBSCRIPTION] for line in lines]
        assert sorted(map(repr, tags)) == ["'1'", "1"]
        assert all(line["params"]["_meta"]["own"] == "kept" for line in lines)


@pytest.mark.requirement("M-SU-07")
async def test_a_client_can_compare_what_it_asked_for_with_what_was_agreed() -> None:
    asked = {"toolsListChanged": True, "promptsListChanged": True}
    async with connect(Handlers(call), subscriptions=Subscriptions(supported={"toolsListChanged": True})) as client:
        async with client.open_exchange(LISTEN, {"notifications": asked}) as replies:
            acknowledged = await replies.receive()
            assert isinstance(acknowledged, Notification)
            assert acknowledged.method == ACKNOWLEDGED
            assert set(asked) - set(acknowledged.params["notifications"]) == {"promptsListChanged"}
            assert acknowledged.meta[SUBSCRIPTION] == replies.request_id


@pytest.mark.requirement("M-SU-08")
async def test_three_subscriptions_at_once_each_see_their_own() -> None:
    subscriptions = Subscriptions()
    filters = [{"toolsListChanged": True}, {"promptsListChanged": True}, {"resourceSubscriptions": ["file:///a"]}]
    async with connect(Handlers(call), subscriptions=subscriptions, bytes=True) as client:
        seen: list[list[str]] = [[], [], []]

        async def follow(number: int, opened: trio.Event) -> None:
            async with client.open_exchange(LISTEN, {"notifications": filters[number]}) as replies:
                await replies.receive()
                opened.set()
                for _ in range(2):
                    message = await replies.receive()
                    assert isinstance(message, Notification)
                    seen[number].append(message.method)

        async with trio.open_nursery() as nursery:
            for number in range(3):
                opened = trio.Event()
                nursery.start_soon(follow, number, opened)
                await opened.wait()
            for _ in range(2):
                subscriptions.publish(TOOLS)
                subscriptions.publish(PROMPTS)
                subscriptions.publish(RESOURCES)
                subscriptions.publish(UPDATED, {"uri": "file:///a"})
        assert seen == [[TOOLS] * 2, [PROMPTS] * 2, [UPDATED] * 2]
        await settle()
        assert subscriptions.statistics().listens == 0


@pytest.mark.requirement("M-SU-09")
async def test_leaving_the_block_sends_exactly_one_cancelled() -> None:
    async with client_over_bytes() as (client, wire):
        async with client.open_exchange(LISTEN, {"notifications": {}}):
            id_ = (await wire.receive())["id"]
        assert await wire.receive() == cancel(id_)
        await wire.assert_silent(0.01)


@pytest.mark.requirement("M-SU-09", "M-SU-10")
async def test_a_listen_the_client_cancelled_ends_without_a_word() -> None:
    subscriptions = Subscriptions()
    async with serve_bytes(call, subscriptions=subscriptions) as wire:
        await wire.ask(listen(1, EVERYTHING))
        await wire.send_line(cancel(1))
        await settle()
        subscriptions.publish(TOOLS)
        assert subscriptions.statistics().listens == 0
        await wire.assert_silent(0.01)


@pytest.mark.requirement("M-SU-10", "M-SU-11")
@pytest.mark.parametrize("end", ["shutdown", "end of input"])
async def test_a_server_that_ends_a_listen_sends_its_result_then_cancelled(end: str) -> None:
    shutdown = trio.Event()
    async with serve_bytes(call, subscriptions=Subscriptions(), shutdown=shutdown) as wire:
        for id_ in ("1", 1):
            await wire.ask(listen(id_, EVERYTHING))
        if end == "shutdown":
            shutdown.set()
        else:
            await wire.end()
        rest = await wire.receive_rest()
        for id_ in ("1", 1):
            own = [line for line in rest if id_ in (line.get("id"), line.get("params", {}).get("requestId"))]
            assert [list(line)[1] for line in own] == ["id", "method"]
            result = own[0]["result"]
            assert (result["resultType"], result["_meta"][SUBSCRIPTION]) == ("complete", id_)
            assert own[1] == cancel(id_)
        assert len(rest) == 4


@pytest.mark.requirement("M-SU-10", "M-SU-11")
async def test_a_client_sees_a_graceful_end_as_the_response() -> None:
    block = connect(Handlers(call), subscriptions=Subscriptions(), bytes=True)
    async with block as client:
        async with client.open_exchange(LISTEN, {"notifications": EVERYTHING}) as replies:
            await replies.receive()
            block.shutdown.set()
            messages = [message async for message in replies]
        (response,) = messages
        assert isinstance(response, Response)
        assert response.result["_meta"][SUBSCRIPTION] == replies.request_id


@pytest.mark.requirement("M-SU-12")
async def test_a_clean_end_and_a_drop_are_two_outcomes() -> None:
    async with client_over_bytes() as (client, wire):
        async with client.open_exchange(LISTEN, {"notifications": {}}) as replies:
            await wire.receive()
            await wire.end()
            with pytest.raises(ConnectionClosed):
                await replies.receive()


DYING_SERVER = """
import json, pathlib, sys
lives = pathlib.Path(sys.argv[1])
life = int(lives.read_text()) + 1 if lives.exists() else 1
lives.write_text(str(life))
for line in sys.stdin:
    message = json.loads(line)
    with open(sys.argv[2], "a") as log:
        log.write(json.dumps([life, message["method"], message.get("id")]) + chr(10))
    key = "io.modelcontextprotocol/subscriptionId"
    if message["method"] == "subscriptions/listen":
        params = {"_meta": {key: message["id"]}, "life": life}
        note = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params}
        print(json.dumps(note), flush=True)
        if life == 1:
            sys.exit(3)
"""


@pytest.mark.requirement("M-SU-12", "M-SU-13")
async def test_after_a_restart_listens_are_sent_again_with_new_ids(tmp_path: Path) -> None:
    lives, log = tmp_path / "lives", tmp_path / "log"
    command = [sys.executable, "-S", "-c", DYING_SERVER, str(lives), str(log)]
    transport = StdioClientTransport(command, stderr="devnull", restart=RestartPolicy(initial=0.01, cap=0.05))
    with trio.fail_after(10):
        async with open_client(transport, era="modern", discover=False) as client:
            async with client.open_exchange(LISTEN, {"notifications": EVERYTHING}) as replies:
                seen = [await replies.receive(), await replies.receive()]
    assert [message.params["life"] for message in seen if isinstance(message, Notification)] == [1, 2]
    listens = [line for line in log.read_text().splitlines() if LISTEN in line]
    assert len(listens) == 2
    tags = [message.meta[SUBSCRIPTION] for message in seen if isinstance(message, Notification)]
    assert [f", {tag}]" in line for tag, line in zip(tags, listens, strict=True)] == [True, True]


@pytest.mark.requirement("M-SU-15")
async def test_a_stray_tag_is_dropped_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_mcp_transport")
    to_handler: list[str] = []
    handler = Handlers(notification=lambda message, context: to_handler.append(message.method))
    async with client_over_bytes(handler=handler) as (client, wire):
        async with client.open_exchange(LISTEN, {"notifications": {}}) as replies:
            id_ = (await wire.receive())["id"]
            for stray in ("unknown", str(id_), id_ + 1, None, [id_]):
                params = {"_meta": {SUBSCRIPTION: stray}}
                await wire.send_line({"jsonrpc": "2.0", "method": TOOLS, "params": params})
            params = {"_meta": {SUBSCRIPTION: id_}}
            await wire.send_line({"jsonrpc": "2.0", "method": PROMPTS, "params": params})
            message = await replies.receive()
            assert isinstance(message, Notification)
            assert message.method == PROMPTS
    assert to_handler == []
    assert caplog.text.count("no subscription") == 5


@pytest.mark.requirement("M-SU-16")
async def test_a_listen_nobody_reads_is_bounded_and_holds_up_no_other_connection() -> None:
    subscriptions = Subscriptions(buffer=10)
    near, far = byte_stream_pair(500)
    async with serve_bytes(
        call, subscriptions=subscriptions, streams=(near, far), limits=Limits(outbox_bytes=500)
    ) as wire:
        await wire.ask(listen(1, EVERYTHING))
        for number in range(1000):
            subscriptions.publish(TOOLS, {"n": number})
            await trio.lowlevel.checkpoint()
        await settle()
        assert subscriptions.statistics().dropped > 900
        async with serve_bytes(call, subscriptions=subscriptions) as other:
            assert (await other.ask(modern_request(1)))["id"] == 1
        numbers = []
        while not numbers or numbers[-1] != 999:
            numbers.append((await wire.receive())["params"]["n"])
        assert numbers == sorted(numbers)
        assert (await wire.ask(modern_request(2)))["id"] == 2, "and the connection itself lives on"
