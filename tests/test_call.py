from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.support import client_over_bytes
from trio_mcp_transport import (
    ConnectionClosed,
    Deadlines,
    Limits,
    Notification,
    ReceiveBufferFull,
    Request,
    Response,
)
from trio_mcp_transport.call import Call


def call(**options: Any) -> Call:
    limits = options.pop("limits", Limits(exchange_messages=3))
    return Call(Request(1, "x"), Deadlines(), limits, **options)


def note(number: int, pad: str = "") -> Notification:
    return Notification("notifications/n", {"number": number, "pad": pad})


async def numbers(one: Call, count: int) -> list[int]:
    found = []
    for _ in range(count):
        message = await one.receive()
        assert isinstance(message, Notification)
        found.append(message.params["number"])
    return found


async def test_answer_waits_for_the_response() -> None:
    one = call()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.testing.wait_all_tasks_blocked)
        nursery.start_soon(lambda: _later(lambda: one.respond(Response(1, {"a": 1}))))
        response = await one.answer()
    assert response.result == {"a": 1}
    assert one.done


async def _later(action: Any) -> None:
    await trio.testing.wait_all_tasks_blocked()
    action()


async def test_an_unbuffered_call_keeps_no_notification() -> None:
    one = call()
    for number in range(10):
        one.notify(note(number))
    one.respond(Response(1, {}))
    assert await one.receive() is one.response


@pytest.mark.parametrize("cancelled_at", ["waiting", "answered"])
async def test_a_cancelled_wait_is_the_cancellation(cancelled_at: str) -> None:
    told: list[Call] = []
    one = call()
    one.attach(told.append)
    with trio.CancelScope() as scope:
        if cancelled_at == "answered":
            one.respond(Response(1, {}))
        scope.cancel()
        await one.answer()
    # A response that was there needs no wait, and nothing is left to cancel.
    assert told == ([one] if cancelled_at == "waiting" else [])
    assert one.abandoned == (cancelled_at == "waiting")


async def test_only_the_first_end_counts() -> None:
    one = call()
    one.fail(ConnectionClosed("gone"))
    one.respond(Response(1, {}))
    one.fail(ConnectionClosed("again"))
    one.abandon()
    with pytest.raises(ConnectionClosed, match="gone"):
        await one.answer()
    assert one.response is None and not one.abandoned


async def test_notifications_come_in_order_and_the_response_last() -> None:
    one = call(buffered=True)
    one.notify(note(1))
    one.notify(note(2))
    one.respond(Response(1, {}))
    assert await numbers(one, 2) == [1, 2]
    assert await one.receive() is one.response
    for _ in range(2):
        with pytest.raises(trio.EndOfChannel):
            await one.receive()


async def test_a_failure_comes_after_what_arrived_before_it() -> None:
    one = call(buffered=True)
    one.notify(note(1))
    one.fail(ConnectionClosed("gone"))
    assert await numbers(one, 1) == [1]
    for _ in range(2):
        with pytest.raises(ConnectionClosed):
            await one.receive()


async def test_receive_is_always_a_checkpoint() -> None:
    one = call(buffered=True)
    one.notify(note(1))
    one.notify(note(2))
    with trio.testing.assert_checkpoints():
        assert await numbers(one, 1) == [1]
    with trio.CancelScope() as scope:
        scope.cancel()
        await one.receive()
    assert scope.cancelled_caught
    assert await numbers(one, 1) == [2], "a cancelled receive lost a message"


async def test_a_cancelled_wait_for_a_message_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    one = call(buffered=True)
    with trio.move_on_after(1) as scope:
        await one.receive()
    assert scope.cancelled_caught
    one.notify(note(1))
    assert await numbers(one, 1) == [1]


async def test_one_task_receives_at_a_time() -> None:
    one = call(buffered=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(numbers, one, 1)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await one.receive()
        one.notify(note(1))


async def test_nobody_receives_from_a_call_that_was_left() -> None:
    one = call(buffered=True)
    one.abandon()
    one.notify(note(1))
    with pytest.raises(trio.ClosedResourceError):
        await one.receive()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_buffer_holds_its_number_and_no_more(count: int) -> None:
    told: list[Call] = []
    one = call(buffered=True)
    one.attach(told.append)
    for number in range(count):
        one.notify(note(number))
    assert isinstance(one.error, ReceiveBufferFull) == (count > 3)
    assert told == ([one] if count > 3 else [])


def test_a_single_message_over_the_bytes_passes_an_empty_buffer() -> None:
    one = call(buffered=True, limits=Limits(exchange_bytes=100))
    one.notify(note(1, "x" * 1000))
    assert one.error is None
    one.notify(note(2))
    assert isinstance(one.error, ReceiveBufferFull)


async def test_drop_oldest_keeps_the_newest() -> None:
    one = call(buffered=True, overflow="drop_oldest")
    for number in range(10):
        one.notify(note(number))
    one.respond(Response(1, {}))
    assert one.dropped == 7
    assert await numbers(one, 3) == [7, 8, 9]
    assert await one.receive() is one.response


@pytest.mark.requirement("M-JR-05")
async def test_a_thousand_calls_in_flight_have_distinct_ids() -> None:
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:
        results: dict[int, Any] = {}

        async def ask(number: int) -> None:
            results[number] = (await client.request("x", {"number": number}))["number"]

        for number in range(1000):
            nursery.start_soon(ask, number)
        requests = [await wire.receive() for _ in range(1000)]
        ids = [request["id"] for request in requests]
        assert len({(type(id_), id_) for id_ in ids}) == 1000
        assert {type(id_) for id_ in ids} <= {int, str}
        # Nobody waits for an id of another type, and an answer in any order finds its call.
        for request in reversed(requests):
            other = str(request["id"]) if type(request["id"]) is int else int(request["id"])
            await wire.send_line({"jsonrpc": "2.0", "id": other, "result": {"number": -1}})
            answer = {"number": request["params"]["number"]}
            await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "result": answer})
    assert results == {number: number for number in range(1000)}
