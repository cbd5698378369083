"""The rows on subscriptions: listens of raw lines against a real server, and of a real client against raw lines."""

from __future__ import annotations

import logging
import random
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import (
    CAPABILITIES_KEY,
    MODERN,
    PATIENCE,
    VERSION_KEY,
    Wire,
    client_over_bytes,
    modern_request,
    serve_bytes,
)
from trio_mcp_transport import (
    ConnectionClosed,
    Handlers,
    Limits,
    MessageContext,
    Notification,
    Replies,
    Request,
    Response,
    ServerInfo,
    Subscriptions,
    memory_transports,
    open_client,
    serve,
)

LISTEN = "subscriptions/listen"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
CANCELLED = "notifications/cancelled"
UPDATED = "notifications/resources/updated"
TAG = "io.modelcontextprotocol/subscriptionId"
A, B = "file:///a", "file:///b"

# One notification of each kind, and the filter that asks for it alone.
EVENTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "tools": ("notifications/tools/list_changed", {"n": 1}, {"toolsListChanged": True}),
    "prompts": ("notifications/prompts/list_changed", {"n": 2}, {"promptsListChanged": True}),
    "resources": ("notifications/resources/list_changed", {"n": 3}, {"resourcesListChanged": True}),
    "updated": (UPDATED, {"uri": A}, {"resourceSubscriptions": [A]}),
}
TOOLS, TOOLS_ONLY = EVENTS["tools"][0], EVENTS["tools"][2]
EVERYTHING = {key: value for _, _, filter_ in EVENTS.values() for key, value in filter_.items()}


def listen(id_: Any, filter_: Any) -> Any:
    """A listen as a modern client sends it."""
    return modern_request(id_, LISTEN, {"notifications": filter_})


def cancel(id_: Any) -> Any:
    return {"jsonrpc": "2.0", "method": CANCELLED, "params": {"requestId": id_}}


def acknowledgement(id_: Any, filter_: Any) -> Any:
    params = {"_meta": {TAG: id_}, "notifications": filter_}
    return {"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": params}


def event(id_: Any, method: str = TOOLS, **params: Any) -> Any:
    return {"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": {TAG: id_}}}


def owner(frame: Any) -> Any:
    """The subscription a frame belongs to, with its type, or None."""
    id_ = frame.get("params", {}).get("_meta", {}).get(TAG)
    return None if id_ is None else (type(id_), id_)


async def take(replies: Replies) -> Notification | Response:
    """Return the next message of an exchange, which must come."""
    with trio.fail_after(PATIENCE):
        return await replies.receive()


def publish_everything(subscriptions: Subscriptions) -> None:
    for method, params, _ in EVENTS.values():
        subscriptions.publish(method, params)
    subscriptions.publish(UPDATED, {"uri": B})
    subscriptions.publish("notifications/unheard/of", {"uri": A})


# What the client sends.


@pytest.mark.requirement("M-SU-01")
async def test_a_listen_carries_the_envelope_and_the_filter_as_it_was_given() -> None:
    filter_ = {
        "toolsListChanged": True,
        "promptsListChanged": False,
        "resourceSubscriptions": [A, B],
        "taskIds": ["t1"],
        "com.example/more": {"deep": [None]},
    }
    async with client_over_bytes() as (client, wire), client.open_exchange(LISTEN, {"notifications": filter_}):
        request = await wire.receive()
    assert request["method"] == LISTEN
    assert set(request["params"]) == {"_meta", "notifications"}
    assert request["params"]["notifications"] == filter_
    assert request["params"]["_meta"][VERSION_KEY] == MODERN
    assert request["params"]["_meta"][CAPABILITIES_KEY] == {}
    assert "progressToken" not in request["params"]["_meta"]


@pytest.mark.requirement("M-SU-01")
async def test_extension_keys_of_the_filter_reach_the_server_that_supports_them() -> None:
    filter_ = {**EVERYTHING, "taskIds": ["t1"], "unknown": True}
    seen: list[Any] = []

    def note(request: Request, context: MessageContext) -> Any:
        seen.append(request.params["notifications"])
        return {}

    async with serve_bytes(note) as wire:
        assert "result" in await wire.ask(listen(1, filter_))
    assert seen == [filter_]
    subscriptions = Subscriptions(supported={"toolsListChanged": True, "taskIds": True})
    async with serve_bytes(subscriptions=subscriptions) as wire:
        agreed = {"toolsListChanged": True, "taskIds": ["t1"]}
        assert await wire.ask(listen(1, filter_)) == acknowledgement(1, agreed)


@pytest.mark.requirement("M-SU-01")
@pytest.mark.parametrize(
    "params", [{}, *({"notifications": bad} for bad in (None, [], True, "x", {"resourceSubscriptions": [1]}))]
)
async def test_a_listen_without_a_proper_filter_is_refused(params: Any) -> None:
    async with serve_bytes(subscriptions=Subscriptions()) as wire:
        answer = await wire.ask(modern_request(1, LISTEN, params))
        assert (answer["id"], answer["error"]["code"]) == (1, -32602)
        assert await wire.ask(listen(2, {})) == acknowledgement(2, {})


# What the server delivers.


@pytest.mark.requirement("M-SU-02")
@pytest.mark.parametrize("kind", EVENTS)
async def test_of_all_events_only_the_kind_that_was_asked_for_arrives(kind: str, autojump_clock: Any) -> None:
    method, params, filter_ = EVENTS[kind]
    subscriptions = Subscriptions()
    async with serve_bytes(subscriptions=subscriptions) as wire:
        assert await wire.ask(listen(1, filter_)) == acknowledgement(1, filter_)
        publish_everything(subscriptions)
        assert await wire.receive() == event(1, method, **params)
        await wire.assert_silent()


@pytest.mark.requirement("M-SU-02")
@pytest.mark.parametrize("filter_", [{}, {"resourceSubscriptions": []}, {"toolsListChanged": False}], ids=repr)
async def test_a_filter_that_asks_for_nothing_gets_nothing(filter_: Any, autojump_clock: Any) -> None:
    subscriptions = Subscriptions()
    async with serve_bytes(subscriptions=subscriptions) as wire:
        assert (await wire.ask(listen(1, filter_)))["method"] == ACKNOWLEDGED
        publish_everything(subscriptions)
        await wire.assert_silent()


@pytest.mark.requirement("M-SU-03")
async def test_the_acknowledgement_is_first_though_events_come_before_it_can_leave() -> None:
    # A stream that takes nothing until it is read, and an outbox of one byte: the acknowledgement has to wait.
    subscriptions = Subscriptions()
    streams = trio.testing.lockstep_stream_pair()
    async with serve_bytes(subscriptions=subscriptions, streams=streams, limits=Limits(outbox_bytes=1)) as wire:
        assert await wire.ask(listen("first", TOOLS_ONLY)) == acknowledgement("first", TOOLS_ONLY)
        subscriptions.publish(TOOLS, {"n": 1})
        await trio.testing.wait_all_tasks_blocked()
        await wire.send_line(listen("second", TOOLS_ONLY))
        await trio.testing.wait_all_tasks_blocked()
        for number in (2, 3):
            subscriptions.publish(TOOLS, {"n": number})
        frames = [await wire.receive() for _ in range(6)]
    assert [one for one in frames if owner(one) == (str, "first")] == [event("first", n=n) for n in (1, 2, 3)]
    expected = [acknowledgement("second", TOOLS_ONLY), *(event("second", n=n) for n in (2, 3))]
    assert [one for one in frames if owner(one) == (str, "second")] == expected


IDS: list[Any] = [1, "1", 2, "x"]
EARLY = 4
"""Events published while the listens are being opened."""


async def pause(seconds: int, turns: int) -> None:
    """Let the virtual clock pass, then let others run for some turns."""
    await trio.sleep(seconds)
    for _ in range(turns):
        await trio.lowlevel.checkpoint()


async def play_an_order(seed: int) -> dict[Any, list[Any]]:
    """Open, publish and read in one random order; return what every subscription got, to the end of the events."""
    draw = random.Random(seed)
    # On a stream in lockstep nothing leaves before it is read, and with an outbox of one byte every frame waits alone.
    pair = draw.choice([trio.testing.memory_stream_pair, trio.testing.lockstep_stream_pair])
    limits = Limits(outbox_bytes=draw.choice([1, 300, 1024 * 1024]))
    subscriptions = Subscriptions()
    received: dict[Any, list[Any]] = {}
    acknowledged = trio.Event()

    def pauses(count: int) -> list[tuple[int, int]]:
        return [(draw.choice([0, 0, 0, 1, 2]), draw.randrange(12)) for _ in range(count)]

    async def ask(wire: Wire, ids: list[Any], waits: list[tuple[int, int]]) -> None:
        for id_, wait in zip(ids, waits, strict=True):
            await pause(*wait)
            await wire.send_line(listen(id_, TOOLS_ONLY))

    async def publish(waits: list[tuple[int, int]]) -> None:
        for number, wait in enumerate(waits):
            await pause(*wait)
            subscriptions.publish(TOOLS, {"n": number})
        await acknowledged.wait()
        subscriptions.publish(TOOLS, {"n": "end"})

    async with serve_bytes(subscriptions=subscriptions, streams=pair(), limits=limits) as wire:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, wire, draw.sample(IDS, len(IDS)), pauses(len(IDS)))
            nursery.start_soon(publish, pauses(EARLY))
            for wait in pauses(len(IDS) * (EARLY + 2)):
                if len(received) == len(IDS) and all(one[-1]["params"].get("n") == "end" for one in received.values()):
                    break
                await pause(*wait)
                frame = await wire.receive()
                received.setdefault(owner(frame), []).append(frame)
                if len(received) == len(IDS):
                    acknowledged.set()
    return received


@pytest.mark.requirement("M-SU-03", "M-SU-04", "M-SU-06")
async def test_nothing_overtakes_the_acknowledgement_in_500_random_orders(autojump_clock: Any) -> None:
    met = 0
    for seed in range(500):
        received = await play_an_order(seed)
        assert set(received) == {(type(id_), id_) for id_ in IDS}, f"seed {seed}"
        for (_, id_), frames in received.items():
            assert frames[0] == acknowledgement(id_, TOOLS_ONLY), f"seed {seed}"
            # An open listen misses nothing, so what it got is the tail of what was published.
            published: list[Any] = [*range(EARLY), "end"]
            expected = [event(id_, n=number) for number in published[len(published) - len(frames) + 1 :]]
            assert frames[1:] == expected, f"seed {seed}"
            met += len(frames) > 2
    assert 500 < met < 1500, "the orders are no mixture of events before and after the listens"


@pytest.mark.requirement("M-SU-05")
async def test_what_the_server_does_not_support_is_absent_from_the_acknowledgement() -> None:
    server, there = memory_transports()
    subscriptions = Subscriptions(supported={"toolsListChanged": True, "resourceSubscriptions": True})
    async with trio.open_nursery() as nursery:
        run = partial(serve, Handlers(), server, server_info=ServerInfo("s", "1"), subscriptions=subscriptions)
        await nursery.start(run)
        async with open_client(there, era="modern") as client:
            async with client.open_exchange(LISTEN, {"notifications": EVERYTHING}) as replies:
                first = await take(replies)
                assert isinstance(first, Notification)
                assert first.method == ACKNOWLEDGED
                agreed = first.params["notifications"]
                assert agreed == {"toolsListChanged": True, "resourceSubscriptions": [A]}
                publish_everything(subscriptions)
                got = [await take(replies) for _ in range(2)]
                assert [one.method for one in got if isinstance(one, Notification)] == [TOOLS, UPDATED]
        nursery.cancel_scope.cancel()


@pytest.mark.requirement("M-SU-06")
async def test_ids_of_different_types_open_two_streams_and_the_tags_keep_the_type(autojump_clock: Any) -> None:
    subscriptions = Subscriptions()
    async with serve_bytes(subscriptions=subscriptions) as wire:
        assert await wire.ask(listen(1, TOOLS_ONLY)) == acknowledgement(1, TOOLS_ONLY)
        assert await wire.ask(listen("1", EVENTS["prompts"][2])) == acknowledgement("1", EVENTS["prompts"][2])
        subscriptions.publish(TOOLS, {"_meta": {"com.example/own": 5, TAG: "not this"}})
        assert (await wire.receive())["params"] == {"_meta": {"com.example/own": 5, TAG: 1}}
        subscriptions.publish(EVENTS["prompts"][0])
        assert await wire.receive() == event("1", EVENTS["prompts"][0])
        await wire.send_line(cancel("1"))
        await trio.testing.wait_all_tasks_blocked()
        publish_everything(subscriptions)
        assert owner(await wire.receive()) == (int, 1)
        await wire.assert_silent()


# What a program sees of it.


@pytest.mark.requirement("M-SU-07")
async def test_a_program_can_compare_what_it_asked_for_with_what_was_agreed() -> None:
    async with client_over_bytes() as (client, wire):
        async with client.open_exchange(LISTEN, {"notifications": EVERYTHING}) as replies:
            asked = (await wire.receive())["params"]["notifications"]
            await wire.send_line(acknowledgement(replies.request_id, TOOLS_ONLY))
            first = await take(replies)
    assert isinstance(first, Notification)
    assert first.method == ACKNOWLEDGED
    assert asked == EVERYTHING
    assert set(asked) - set(first.params["notifications"]) == set(EVERYTHING) - {"toolsListChanged"}


@pytest.mark.requirement("M-SU-08")
async def test_three_subscriptions_of_one_client_are_open_at_once_and_end_one_by_one(autojump_clock: Any) -> None:
    server, there = memory_transports()
    subscriptions = Subscriptions()
    kinds = ("tools", "prompts", "updated")
    async with trio.open_nursery() as nursery:
        run = partial(serve, Handlers(lambda *_: {}), server, server_info=ServerInfo("s", "1"))
        await nursery.start(partial(run, subscriptions=subscriptions))
        async with open_client(there, era="modern") as client:
            blocks = [client.open_exchange(LISTEN, {"notifications": EVENTS[kind][2]}) for kind in kinds]
            opened = [await block.__aenter__() for block in blocks]
            assert len({replies.request_id for replies in opened}) == 3
            for replies in opened:
                first = await take(replies)
                assert isinstance(first, Notification)
                assert first.meta[TAG] == replies.request_id
            publish_everything(subscriptions)
            assert "resultType" in await client.request("echo"), "calls go on beside them"
            for kind, replies in zip(kinds, opened, strict=True):
                got = await take(replies)
                assert isinstance(got, Notification)
                assert (got.method, got.meta[TAG]) == (EVENTS[kind][0], replies.request_id)
            for left, block in enumerate(blocks, 1):
                await block.__aexit__(None, None, None)
                await trio.testing.wait_all_tasks_blocked()
                assert subscriptions.statistics().listens == 3 - left
        nursery.cancel_scope.cancel()


@pytest.mark.requirement("M-SU-09")
@pytest.mark.parametrize("leave", ["end of block", "exception", "cancelled", "closed"])
async def test_leaving_a_listen_cancels_it_once(leave: str, autojump_clock: Any) -> None:
    async with client_over_bytes() as (client, wire):
        try:
            with trio.CancelScope() as scope:
                async with client.open_exchange(LISTEN, {"notifications": TOOLS_ONLY}) as replies:
                    request = await wire.receive()
                    await wire.send_line(acknowledgement(request["id"], TOOLS_ONLY))
                    await take(replies)
                    if leave == "exception":
                        raise KeyError
                    if leave == "cancelled":
                        scope.cancel()
                        await take(replies)
                    if leave == "closed":
                        await replies.aclose()
        except KeyError:
            assert leave == "exception"
        left = await wire.receive()
        assert left["method"] == CANCELLED
        assert left["params"]["requestId"] == request["id"]
        assert type(left["params"]["requestId"]) is type(request["id"])
        assert "id" not in left
        await wire.assert_silent()


@pytest.mark.requirement("M-SU-09")
async def test_a_listen_that_was_answered_is_left_in_silence(autojump_clock: Any) -> None:
    async with client_over_bytes() as (client, wire):
        async with client.open_exchange(LISTEN, {"notifications": {}}) as replies:
            id_ = (await wire.receive())["id"]
            await wire.send_line({"jsonrpc": "2.0", "id": id_, "result": {"_meta": {TAG: id_}}})
            assert isinstance(await take(replies), Response)
        await wire.assert_silent()


@pytest.mark.requirement("M-SU-09")
async def test_a_server_sends_nothing_more_for_a_listen_that_was_cancelled(autojump_clock: Any) -> None:
    subscriptions = Subscriptions()
    async with serve_bytes(subscriptions=subscriptions) as wire:
        await wire.ask(listen(1, TOOLS_ONLY))
        await wire.send_line(cancel(1))
        await trio.testing.wait_all_tasks_blocked()
        assert subscriptions.statistics().listens == 0
        subscriptions.publish(TOOLS)
        await wire.assert_silent()
        assert await wire.ask(listen(1, TOOLS_ONLY)) == acknowledgement(1, TOOLS_ONLY), "the id is free again"


# How a server ends it.


def check_graceful_end(frames: list[Any], id_: Any) -> None:
    """Check that the frames are the complete result of this listen and then its cancellation."""
    result, notice = frames
    assert (result["id"], type(result["id"])) == (id_, type(id_))
    assert result["result"]["resultType"] == "complete"
    assert result["result"]["_meta"][TAG] == id_
    assert type(result["result"]["_meta"][TAG]) is type(id_)
    assert notice == cancel(id_)
    assert type(notice["params"]["requestId"]) is type(id_)


@pytest.mark.requirement("M-SU-10", "M-SU-11")
@pytest.mark.parametrize("how", ["shutdown", "end of input"])
@pytest.mark.parametrize("id_", [1, "1"], ids=repr)
async def test_a_server_that_stops_answers_its_listens_and_announces_their_end(
    how: str, id_: Any, autojump_clock: Any
) -> None:
    shutdown = trio.Event()
    subscriptions = Subscriptions()
    async with serve_bytes(subscriptions=subscriptions, shutdown=shutdown) as wire:
        await wire.ask(listen(id_, TOOLS_ONLY))
        subscriptions.publish(TOOLS, {"n": 1})
        assert await wire.receive() == event(id_, n=1)
        if how == "shutdown":
            shutdown.set()
        else:
            await wire.end()
        began = trio.current_time()
        check_graceful_end(await wire.receive_rest(), id_)
        assert trio.current_time() - began < 1, "a listen does not hold a stopping server"
    assert subscriptions.statistics().listens == 0


@pytest.mark.requirement("M-SU-10")
async def test_every_listen_of_a_stopping_server_gets_its_own_result(autojump_clock: Any) -> None:
    shutdown = trio.Event()
    ids = [1, "1", 2]
    async with serve_bytes(subscriptions=Subscriptions(), shutdown=shutdown) as wire:
        for id_ in ids:
            await wire.ask(listen(id_, EVERYTHING))
        shutdown.set()
        rest = await wire.receive_rest()
    for id_ in ids:
        own = [one for one in rest if repr(id_) in (repr(one.get("id")), repr(one.get("params", {}).get("requestId")))]
        check_graceful_end(own, id_)
    assert len(rest) == 2 * len(ids)


@pytest.mark.requirement("M-SU-11")
async def test_a_listen_ended_by_its_full_buffer_is_announced_too(autojump_clock: Any) -> None:
    subscriptions = Subscriptions(buffer=1, policy="close")
    async with serve_bytes(subscriptions=subscriptions) as wire:
        await wire.ask(listen(5, TOOLS_ONLY))
        for number in range(2):
            subscriptions.publish(TOOLS, {"n": number})
        assert await wire.receive() == event(5, n=0)
        check_graceful_end([await wire.receive(), await wire.receive()], 5)
        await wire.assert_silent()
        assert "result" in await wire.ask(modern_request(6)), "the connection goes on"


# What the client makes of the end.


@pytest.mark.requirement("M-SU-12")
@pytest.mark.parametrize("end", ["clean", "torn down without a result", "drop"])
async def test_a_clean_end_and_a_drop_are_two_outcomes(end: str, autojump_clock: Any) -> None:
    strays: list[Any] = []
    handler = Handlers(notification=lambda message, context: strays.append(message.method))
    async with client_over_bytes(handler=handler) as (client, wire):
        async with client.open_exchange(LISTEN, {"notifications": TOOLS_ONLY}) as replies:
            id_ = (await wire.receive())["id"]
            await wire.send_line(acknowledgement(id_, TOOLS_ONLY))
            await wire.send_line(event(id_, n=1))
            if end == "clean":
                await wire.send_line({"jsonrpc": "2.0", "id": id_, "result": {"_meta": {TAG: id_}}})
            if end == "drop":
                await wire.stream.aclose()
            else:
                await wire.send_line(cancel(id_))
            await trio.testing.wait_all_tasks_blocked()
            got = [await take(replies) for _ in range(2)]
            assert [one.method for one in got if isinstance(one, Notification)] == [ACKNOWLEDGED, TOOLS]
            if end == "clean":
                last = await take(replies)
                assert isinstance(last, Response)
                assert last.result["_meta"][TAG] == id_
                with pytest.raises(trio.EndOfChannel):
                    await take(replies)
            else:
                with pytest.raises(ConnectionClosed):
                    await take(replies)
        if end != "drop":
            await wire.assert_silent()
    assert strays == []


@pytest.mark.requirement("M-SU-15")
async def test_a_notification_with_a_stray_tag_is_logged_and_dropped(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    handler = Handlers(notification=lambda message, context: seen.append(message.meta.get(TAG)))
    async with client_over_bytes(handler=handler) as (client, wire):
        async with client.open_exchange(LISTEN, {"notifications": TOOLS_ONLY}) as replies:
            id_ = (await wire.receive())["id"]
            with caplog.at_level(logging.DEBUG, "trio_mcp_transport"):
                for stray in (99, "nobody", str(id_), float(id_), True, None, [id_], {"a": id_}):
                    await wire.send_line(event(stray, n="stray"))
                await wire.send_line(event(id_, n="own"))
                own = await take(replies)
            assert isinstance(own, Notification)
            assert own.params["n"] == "own"
            assert "'nobody'" in caplog.text
            assert caplog.text.count(TOOLS) == 8
        assert (await wire.receive())["method"] == CANCELLED
        with caplog.at_level(logging.DEBUG, "trio_mcp_transport"):
            await wire.send_line(event(id_, n="late"))
            await trio.testing.wait_all_tasks_blocked()
        assert caplog.text.count(TOOLS) == 9
        assert seen == []
        await wire.send_line({"jsonrpc": "2.0", "method": TOOLS})
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [None], "without a tag it is no stray"


@pytest.mark.requirement("M-SU-03")
async def test_a_listen_that_meets_the_shutdown_unacknowledged_gets_an_error_not_its_result(
    autojump_clock: trio.testing.MockClock,
) -> None:
    shutdown = trio.Event()
    async with serve_bytes(subscriptions=Subscriptions(), shutdown=shutdown) as wire:
        request = modern_request(1, "subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        await wire.send_line(request)
        shutdown.set()
        lines = await wire.receive_rest()
    assert lines
    if "method" not in lines[0]:
        assert lines[0]["error"]["data"] == {"reason": "shutdown"}
        assert len(lines) == 1
    else:
        assert lines[0]["method"] == "notifications/subscriptions/acknowledged"
