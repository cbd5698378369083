"""The rows on cancellation and progress, seen from the wire."""

from __future__ import annotations

import logging
import random
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import client_over_bytes, modern_request, serve_bytes
from trio_mcp_transport import (
    DeadlineExceeded,
    Deadlines,
    Handlers,
    Limits,
    LocalProtocolError,
    MessageContext,
    Notification,
    Request,
    RpcError,
    Subscriptions,
)
from trio_mcp_transport.testing import byte_stream_pair, connect

CANCELLED, PROGRESS = "notifications/cancelled", "notifications/progress"
LISTEN = "subscriptions/listen"


def cancel(**params: Any) -> Any:
    return {"jsonrpc": "2.0", "method": CANCELLED, "params": params}


def answer(id_: Any) -> Any:
    return {"jsonrpc": "2.0", "id": id_, "result": {"resultType": "complete"}}


def progress(token: Any, value: float) -> Any:
    return {"jsonrpc": "2.0", "method": PROGRESS, "params": {"progressToken": token, "progress": value}}


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def wait_for_ever(request: Request, context: MessageContext) -> Any:
    if request.method == "wait":
        await trio.sleep_forever()
    return {}


# Cancellation.


@pytest.mark.requirement("M-CA-04")
async def test_a_client_cancels_only_its_own_requests_that_are_still_pending() -> None:
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:
        async with client.open_exchange("m") as replies:
            id_ = (await wire.receive())["id"]
            await wire.send_line(answer(id_))
            await replies.receive()
        with trio.CancelScope() as scope:
            nursery.start_soon(client.request, "answered")
            id_ = (await wire.receive())["id"]
            await wire.send_line(answer(id_))
            await settle()
            scope.cancel()
        await wire.assert_silent(0.01)
        async with client.open_exchange("left"):
            id_ = (await wire.receive())["id"]
        assert await wire.receive() == cancel(requestId=id_)
        await wire.assert_silent(0.01)


@pytest.mark.requirement("M-CA-05")
async def test_a_server_cancels_nothing_but_a_listen_it_tears_down() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        if request.method == "tries":
            with pytest.raises(LocalProtocolError):
                await context.notify(CANCELLED, {"requestId": request.id})
        if request.method == "fails":
            raise RpcError(1, "no")
        await context.progress(1)
        return await wait_for_ever(request, context)

    shutdown = trio.Event()
    async with serve_bytes(handle, subscriptions=Subscriptions(), shutdown=shutdown, drain=0.05) as wire:
        await wire.send_line(modern_request("l", LISTEN, {"notifications": {}}))
        for id_, method in enumerate(("m", "wait", "fails", "tries", "wait")):
            await wire.send_line(modern_request(id_, method, progressToken=id_))
        await wire.send_line(cancel(requestId=4))
        await settle()
        shutdown.set()
        lines = await wire.receive_rest()
        cancels = [line for line in lines if line.get("method") == CANCELLED]
        assert [line["params"]["requestId"] for line in cancels] == ["l"]
        assert {line["id"] for line in lines if "id" in line} == {"l", 0, 1, 2, 3}


@pytest.mark.requirement("M-CA-06")
async def test_a_cancelled_request_is_stopped_freed_and_not_answered() -> None:
    cleaned: list[Any] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(trio.sleep_forever)
        finally:
            cleaned.append(request.id)

    async with serve_bytes(handle, limits=Limits(max_running=5)) as wire:
        tasks: list[int] = []
        for round_ in range(4):
            for id_ in range(5):
                await wire.send_line(modern_request(id_))
            await settle()
            busy = trio.lowlevel.current_statistics().tasks_living
            for id_ in range(5):
                await wire.send_line(cancel(requestId=id_))
            await settle()
            assert len(cleaned) == 5 * (round_ + 1)
            tasks.append(trio.lowlevel.current_statistics().tasks_living)
            assert busy - tasks[-1] == 15, "the three tasks of each handler are gone"
        assert len(set(tasks)) == 1, "and nothing is left of one round in the next"
        await wire.assert_silent(0.01)


@pytest.mark.requirement("M-CA-07", "M-CA-10")
@pytest.mark.parametrize(
    "params",
    [
        {"requestId": "unknown"},
        {"requestId": 1},
        {"requestId": "2"},
        {"requestId": 2.0},
        {"requestId": True},
        {"requestId": None},
        {"requestId": [2]},
        {"requestId": {"id": 2}},
        {"reason": "no id at all"},
        {},
    ],
    ids=str,
)
async def test_cancels_of_what_is_not_running_and_malformed_ones_are_ignored(params: dict[str, Any]) -> None:
    async with serve_bytes(wait_for_ever) as wire:
        assert (await wire.ask(modern_request(1)))["id"] == 1
        await wire.send_line(modern_request(2, "wait"))
        await wire.send_line({"jsonrpc": "2.0", "method": CANCELLED, "params": params})
        await wire.send_line({"jsonrpc": "2.0", "method": CANCELLED})
        assert (await wire.ask(modern_request(3)))["id"] == 3
        # Request 2 still runs: its id is in use.
        assert (await wire.ask(modern_request(2)))["error"]["code"] == -32600


@pytest.mark.requirement("M-CA-08")
async def test_a_late_response_is_ignored_and_leaves_nothing() -> None:
    async with client_over_bytes() as (client, wire):
        for _ in range(100):
            with trio.CancelScope() as scope:
                async with client.open_exchange("m"):
                    id_ = (await wire.receive())["id"]
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
            assert (await wire.receive())["method"] == CANCELLED
            await wire.send_line(answer(id_))
            await wire.send_line(progress(id_, 1))
        await settle()
        assert client.statistics().pending == 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.request, "next")
            await wire.send_line(answer((await wire.receive())["id"]))


@pytest.mark.requirement("M-CA-09")
@pytest.mark.parametrize("seed", range(4))
def test_the_race_of_cancel_and_response_has_one_outcome_each_time(seed: int) -> None:
    rounds = 250
    random_ = random.Random(seed)
    outcomes: list[str] = []
    handled: list[str] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        try:
            for _ in range(request.params["turns"]):
                await trio.lowlevel.checkpoint()
            await trio.sleep(request.params["seconds"])
        except trio.Cancelled:
            handled.append("cancelled")
            raise
        handled.append("done")
        return {"n": request.params["n"]}

    async def one(client: Any, number: int) -> None:
        # Both sides aim at the same moment: sometimes to the turn of the scheduler, sometimes to the tick.
        turns, seconds = random_.randrange(6), random_.choice([0, 0.001, 0.002])
        deadline = random_.choice([0, 0.001, 0.002])
        params = {"n": number, "turns": turns, "seconds": seconds}
        found: list[str] = []
        with trio.move_on_after(deadline) as scope:
            try:
                result = await client.request("m", params)
                found.append("answered")
                assert result["n"] == number
            except trio.Cancelled:
                found.append("cancelled")
                raise
        assert len(found) == 1
        assert (found == ["cancelled"]) == scope.cancelled_caught
        outcomes.extend(found)

    async def main() -> None:
        async with connect(Handlers(handle), bytes=bool(seed % 2)) as client:
            async with trio.open_nursery() as nursery:
                for number in range(rounds):
                    nursery.start_soon(one, client, number)
                    if number % 10 == 9:
                        await trio.sleep(0.001)
            await settle()
            assert client.statistics().pending == 0
            assert (await client.request("m", {"n": -1, "turns": 0, "seconds": 0}))["n"] == -1

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(outcomes) == rounds
    assert 10 < outcomes.count("answered") < rounds - 10, "both outcomes were tried"
    assert handled.count("done") >= outcomes.count("answered")


@pytest.mark.requirement("M-CA-10")
async def test_the_reason_of_a_cancel_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_mcp_transport")
    async with serve_bytes(wait_for_ever) as wire:
        await wire.send_line(modern_request(1, "wait"))
        await wire.send_line(cancel(requestId=1, reason="the user pressed stop"))
        await wire.ask(modern_request(2))
    assert "the user pressed stop" in caplog.text


@pytest.mark.requirement("M-CA-11", "M-CA-14")
async def test_every_request_has_a_deadline_of_its_own_that_cancels_it_at_the_server(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with client_over_bytes() as (client, wire):
        with pytest.raises(DeadlineExceeded) as caught:
            await client.request("never answered")
        assert isinstance(caught.value, trio.TooSlowError)
        assert trio.current_time() == pytest.approx(600)
        id_ = (await wire.receive())["id"]
        assert await wire.receive() == cancel(requestId=id_)


@pytest.mark.requirement("M-CA-12")
async def test_deadlines_are_set_for_a_client_and_for_a_request(autojump_clock: trio.testing.MockClock) -> None:
    async with client_over_bytes(deadlines=Deadlines(total=5.0)) as (client, _):
        for deadlines, seconds in ((None, 5), (Deadlines(total=1.0), 1), (Deadlines(idle=2.0), 2)):
            started = trio.current_time()
            with pytest.raises(DeadlineExceeded):
                await client.request("m", deadlines=deadlines)
            assert trio.current_time() - started == pytest.approx(seconds)
        with trio.move_on_after(1000) as scope:
            await client.request("m", deadlines=Deadlines(total=None))
        assert scope.cancelled_caught


@pytest.mark.requirement("M-CA-13", "M-CA-14")
@pytest.mark.parametrize(("deadlines", "seconds"), [(Deadlines(total=10.0), 10), (Deadlines(idle=3.0, total=20.0), 20)])
async def test_progress_resets_the_idle_deadline_and_never_the_hard_maximum(
    deadlines: Deadlines, seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:

        async def report_for_ever() -> None:
            token = (await wire.receive())["params"]["_meta"]["progressToken"]
            number = 0
            while True:
                await trio.sleep(2)
                number += 1
                await wire.send_line(progress(token, number))

        nursery.start_soon(report_for_ever)
        with pytest.raises(DeadlineExceeded) as caught:
            await client.request("m", deadlines=deadlines, on_progress=lambda _: None)
        assert caught.value.deadline == "total"
        assert trio.current_time() == pytest.approx(seconds)
        nursery.cancel_scope.cancel()


@pytest.mark.requirement("M-CA-13")
async def test_without_progress_the_idle_deadline_ends_the_call(autojump_clock: trio.testing.MockClock) -> None:
    async with client_over_bytes() as (client, wire):
        with pytest.raises(DeadlineExceeded) as caught:
            await client.request("m", deadlines=Deadlines(idle=3.0))
        assert (caught.value.deadline, trio.current_time()) == ("idle", pytest.approx(3))
        assert [(await wire.receive())["method"] for _ in range(2)] == ["m", CANCELLED]


# Progress.


@pytest.mark.requirement("M-PR-01")
async def test_a_token_is_a_string_or_an_integer_on_both_sides() -> None:
    async def report(request: Request, context: MessageContext) -> Any:
        await context.progress(1)
        return {}

    async with serve_bytes(report) as wire:
        for token in ("", "t", 0, -1, 2**70):
            noted = await wire.ask(modern_request(1, progressToken=token))
            assert noted["params"]["progressToken"] == token
            assert type(noted["params"]["progressToken"]) is type(token)
            await wire.receive()
        for token in (True, 1.5, [], {}):
            assert (await wire.ask(modern_request(1, progressToken=token)))["error"]["code"] == -32602
    async with client_over_bytes() as (client, wire):
        async with client.open_exchange("m"):
            assert type((await wire.receive())["params"]["_meta"]["progressToken"]) in (int, str)


@pytest.mark.requirement("M-PR-02")
async def test_tokens_of_concurrent_calls_are_distinct() -> None:
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:
        seen: list[list[float]] = [[] for _ in range(50)]

        async def call(number: int) -> None:
            def note(params: Any) -> None:
                seen[number].append(params["progress"])

            await client.request("m", {"n": number}, on_progress=note)

        for number in range(50):
            nursery.start_soon(call, number)
        requests = [await wire.receive() for _ in range(50)]
        tokens = [request["params"]["_meta"]["progressToken"] for request in requests]
        assert len(set(map(repr, tokens))) == 50
        for request, token in zip(requests, tokens, strict=True):
            await wire.send_line(progress(token, request["params"]["n"]))
        for request in requests:
            await wire.send_line(answer(request["id"]))
        await settle()
        assert seen == [[number] for number in range(50)]
        own = {"_meta": {"progressToken": "own"}}
        async with client.open_exchange("a", own):
            with pytest.raises(LocalProtocolError, match="token"):
                await client.request("b", own, on_progress=print)


@pytest.mark.requirement("M-PR-03", "M-PR-06")
async def test_progress_names_only_the_token_of_its_own_active_request() -> None:
    async def report(request: Request, context: MessageContext) -> Any:
        await context.progress(1)
        await context.progress(2, total=4, message="half")
        with pytest.raises(LocalProtocolError):
            await context.notify(PROGRESS, {"progressToken": "of somebody else", "progress": 1})
        return {}

    async with serve_bytes(report) as wire:
        assert (await wire.ask(modern_request(1)))["id"] == 1, "nobody asked for progress"
        await wire.send_line(modern_request(2, progressToken="t"))
        lines = [await wire.receive() for _ in range(3)]
        assert [line.get("params") for line in lines[:2]] == [
            {"progressToken": "t", "progress": 1},
            {"progressToken": "t", "progress": 2, "total": 4, "message": "half"},
        ]
        assert lines[2]["id"] == 2


@pytest.mark.requirement("M-PR-04")
async def test_the_wire_shows_an_increasing_sequence() -> None:
    async def report(request: Request, context: MessageContext) -> Any:
        for value in (1, 1, 0.5, 2, float("nan"), 2.5, -1, 3):
            await context.progress(value, total=None if value < 2 else 3)
        return {}

    async with serve_bytes(report) as wire:
        await wire.send_line(modern_request(1, progressToken=1))
        lines = [await wire.receive() for _ in range(5)]
        assert [line["params"]["progress"] for line in lines[:4]] == [1, 2, 2.5, 3]
        assert lines[4]["id"] == 1


@pytest.mark.requirement("M-PR-05")
async def test_nothing_is_reported_after_the_response() -> None:
    release = trio.Event()
    refused: list[BaseException] = []

    async with trio.open_nursery() as background:

        async def leak(context: MessageContext) -> None:
            await release.wait()
            try:
                await context.progress(2)
            except LocalProtocolError as error:
                refused.append(error)

        async def report(request: Request, context: MessageContext) -> Any:
            background.start_soon(leak, context)
            await context.progress(1)
            return {}

        async with serve_bytes(report) as wire:
            await wire.send_line(modern_request(1, progressToken=1))
            assert [(await wire.receive()).get("id") for _ in range(2)] == [None, 1]
            release.set()
            await wire.assert_silent(0.01)
    assert len(refused) == 1


@pytest.mark.requirement("M-PR-07")
async def test_a_tight_loop_of_reports_is_held_back_and_memory_stays_bounded() -> None:
    sent = 0

    async def report(request: Request, context: MessageContext) -> Any:
        nonlocal sent
        for sent in range(1, 10_001):
            await context.progress(sent)
        return {}

    near, far = byte_stream_pair(1000)
    async with serve_bytes(report, streams=(near, far), limits=Limits(outbox_bytes=10_000)) as wire:
        await wire.send_line(modern_request(1, progressToken=1))
        await settle()
        assert sent < 200, "the handler waits as long as nobody reads"
        values = []
        while "id" not in (line := await wire.receive()):
            values.append(line["params"]["progress"])
        assert values == list(range(1, 10_001))


@pytest.mark.requirement("M-PR-07")
async def test_a_client_keeps_no_token_of_a_call_that_ended() -> None:
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(lambda: client.request("m", {"_meta": {"progressToken": "own"}}, on_progress=print))
            request = await wire.receive()
            await wire.send_line(answer(request["id"]))
            await settle()
            await wire.send_line(progress("own", 1))
        assert client.statistics().pending == 0


@pytest.mark.requirement("M-PR-08")
async def test_progress_never_travels_on_a_listen() -> None:
    subscriptions = Subscriptions()

    async def report(request: Request, context: MessageContext) -> Any:
        await context.progress(1)
        return {}

    async with connect(Handlers(report), subscriptions=subscriptions, bytes=True) as client:
        filter_ = {"notifications": {"toolsListChanged": True}}
        seen: list[Any] = []
        async with client.open_exchange(LISTEN, filter_) as listen:
            await listen.receive()
            await client.request("m", on_progress=lambda params: seen.append(params["progress"]))
            subscriptions.publish("notifications/tools/list_changed")
            message = await listen.receive()
            assert isinstance(message, Notification)
            assert message.method == "notifications/tools/list_changed"
        assert seen == [1]
