from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.support import Wire, client_over_bytes
from trio_mcp_transport import (
    Client,
    ConnectionClosed,
    Limits,
    LocalProtocolError,
    Notification,
    ReceiveBufferFull,
    Response,
    RpcError,
)

MIB = 1 << 20
MESSAGES = 1000


async def progress(wire: Wire, request: dict[str, Any], *numbers: int, pad: str = "") -> None:
    """Send what belongs to a request, as a server would."""
    token = request["params"]["_meta"]["progressToken"]
    for number in numbers:
        params = {"progressToken": token, "progress": number, "message": pad}
        await wire.send_line({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


async def answer(wire: Wire, request: dict[str, Any], result: Any = None) -> None:
    await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "result": result or {}})


def steps(messages: list[Any]) -> list[int]:
    return [message.params["progress"] for message in messages]


async def test_notifications_then_one_response_then_the_end() -> None:
    async with client_over_bytes() as (client, wire):
        async with client.open_exchange("tools/call", {"name": "t"}) as replies:
            request = await wire.receive()
            assert replies.request_id == request["id"]
            await progress(wire, request, 1, 2, 3)
            await answer(wire, request, {"a": 1})
            messages = [message async for message in replies]
    assert steps(messages[:-1]) == [1, 2, 3]
    assert isinstance(messages[-1], Response) and messages[-1].result == {"a": 1}


async def test_an_error_of_the_peer_is_a_response_as_well() -> None:
    async with client_over_bytes() as (client, wire):
        async with client.open_exchange("tools/call") as replies:
            request = await wire.receive()
            error = {"code": 5, "message": "no"}
            await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "error": error})
            message = await replies.receive()
            assert isinstance(message, Response) and isinstance(message.error, RpcError)
            assert message.error.code == 5


@pytest.mark.parametrize("left", ["block", "aclose", "cancelled", "raised"])
async def test_leaving_before_the_response_cancels_the_request(
    left: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with client_over_bytes() as (client, wire):
        with trio.move_on_after(1 if left == "cancelled" else 100):
            try:
                async with client.open_exchange("tools/call") as replies:
                    request = await wire.receive()
                    if left == "aclose":
                        await replies.aclose()
                        with pytest.raises(trio.ClosedResourceError):
                            await replies.receive()
                    elif left == "cancelled":
                        await replies.receive()
                    elif left == "raised":
                        raise KeyError
            except KeyError:
                assert left == "raised"
        cancel = await wire.receive()
        assert (cancel["method"], cancel["params"]["requestId"]) == ("notifications/cancelled", request["id"])
        await wire.assert_silent()


async def test_leaving_after_the_response_sends_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with client_over_bytes() as (client, wire):
        async with client.open_exchange("tools/call"):
            request = await wire.receive()
            await answer(wire, request)
            await trio.testing.wait_all_tasks_blocked()
        await wire.assert_silent()


async def test_the_end_without_a_response_is_an_error() -> None:
    async with client_over_bytes() as (client, wire):
        async with client.open_exchange("tools/call") as replies:
            request = await wire.receive()
            await progress(wire, request, 1)
            await wire.stream.aclose()
            assert steps([await replies.receive()]) == [1]
            for _ in range(2):
                with pytest.raises(ConnectionClosed):
                    await replies.receive()


async def test_an_exchange_is_entered_once() -> None:
    async with client_over_bytes() as (client, wire):
        exchange = client.open_exchange("tools/call")
        async with exchange:
            await wire.receive()
        with pytest.raises((ConnectionClosed, LocalProtocolError), match="once"):
            async with exchange:
                raise AssertionError


# The bounds of the buffer: 1,000 messages and 1 MiB.


async def fill(client: Client, wire: Wire, count: int, pad: str = "", **options: Any) -> tuple[list[Any], Any, Any]:
    """Send a number of notifications and the response before anything is consumed; return what is received."""
    received: list[Any] = []
    failure: Any = None
    async with client.open_exchange("tools/call", **options) as replies:
        request = await wire.receive()
        await progress(wire, request, *range(count), pad=pad)
        await answer(wire, request, {"done": True})
        await trio.testing.wait_all_tasks_blocked()
        try:
            async for message in replies:
                received.append(message)
        except ReceiveBufferFull as error:
            failure = error
        return received, failure, replies.dropped


@pytest.mark.parametrize("count", [MESSAGES - 1, MESSAGES, MESSAGES + 1])
async def test_a_thousand_messages_fit_and_the_response_beside_them(
    count: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with client_over_bytes() as (client, wire):
        received, failure, dropped = await fill(client, wire, count)
        if count <= MESSAGES:
            assert failure is None
            assert steps(received[:-1]) == list(range(count))
            assert received[-1].result == {"done": True}
            await wire.assert_silent()
        else:
            assert isinstance(failure, ReceiveBufferFull)
            assert steps(received) == list(range(MESSAGES))
            assert (await wire.receive())["method"] == "notifications/cancelled"
            await wire.assert_silent()
        assert dropped == 0


def line_size(token: int, pad: int) -> int:
    """Return the bytes of a notification of `progress` on the wire, without its line end."""
    return (
        len(
            b'{"jsonrpc": "2.0", "method": "notifications/progress", "params": '
            b'{"progressToken": %d, "progress": 0, "message": ""}}' % token
        )
        + pad
    )


@pytest.mark.parametrize("over", [-1, 0, 1])
async def test_a_mebibyte_fits(over: int, autojump_clock: trio.testing.MockClock) -> None:
    # Eight messages of an eighth of the bound each; the pad of every one makes up for the name around it.
    async with client_over_bytes(largest=2 * MIB) as (client, wire):
        failure = None
        async with client.open_exchange("tools/call") as replies:
            request = await wire.receive()
            name = line_size(request["params"]["_meta"]["progressToken"], 0)
            for number in range(8):
                extra = over if number == 7 else 0
                await progress(wire, request, number, pad="x" * (MIB // 8 - name + extra))
            await answer(wire, request)
            await trio.testing.wait_all_tasks_blocked()
            received = []
            try:
                async for message in replies:
                    received.append(message)
            except ReceiveBufferFull as error:
                failure = error
    assert (failure is not None) == (over > 0)
    assert len(received) == (7 if over > 0 else 9)


@pytest.mark.parametrize("over", [0, 1])
async def test_one_message_over_the_bytes_passes_when_nothing_else_waits(over: int) -> None:
    async with client_over_bytes(largest=4 * MIB) as (client, wire):
        received, failure, _ = await fill(client, wire, 1 + over, pad="x" * 2 * MIB)
    assert (failure is not None) == bool(over)
    assert steps([one for one in received if isinstance(one, Notification)]) == [0]


@pytest.mark.parametrize("count", [MESSAGES, MESSAGES + 1, 10 * MESSAGES])
async def test_drop_oldest_counts_what_it_lost(count: int, autojump_clock: trio.testing.MockClock) -> None:
    async with client_over_bytes() as (client, wire):
        received, failure, dropped = await fill(client, wire, count, overflow="drop_oldest")
        await wire.assert_silent()
    assert failure is None
    assert dropped == count - MESSAGES
    assert steps(received[:-1]) == list(range(count - MESSAGES, count))
    assert received[-1].result == {"done": True}


async def test_drop_oldest_keeps_the_bytes_as_well(autojump_clock: trio.testing.MockClock) -> None:
    async with client_over_bytes() as (client, wire):
        received, failure, dropped = await fill(client, wire, 40, pad="x" * (MIB // 10), overflow="drop_oldest")
    assert failure is None
    assert dropped == 40 - 9
    assert steps(received[:-1]) == list(range(31, 40))


async def test_overflow_of_one_exchange_is_nobody_elses(autojump_clock: trio.testing.MockClock) -> None:
    async with client_over_bytes(limits=Limits(exchange_messages=2)) as (client, wire):
        async with client.open_exchange("slow") as slow, client.open_exchange("quick") as quick:
            first, second = await wire.receive(), await wire.receive()
            await progress(wire, first, 1, 2, 3)
            await progress(wire, second, 1)
            await answer(wire, second)
            assert steps([await quick.receive()]) == [1]
            assert isinstance(await quick.receive(), Response)
            assert (await wire.receive())["params"] == {"requestId": first["id"]}
            assert steps([await slow.receive(), await slow.receive()]) == [1, 2]
            with pytest.raises(ReceiveBufferFull):
                await slow.receive()


async def test_leaving_in_one_task_wakes_the_one_that_receives(autojump_clock: trio.testing.MockClock) -> None:
    async with client_over_bytes() as (client, wire), client.open_exchange("x") as replies:
        await wire.receive()

        async def receive() -> None:
            with trio.fail_after(1), pytest.raises(trio.ClosedResourceError):
                await replies.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            await replies.aclose()
        assert (await wire.receive())["method"] == "notifications/cancelled"
