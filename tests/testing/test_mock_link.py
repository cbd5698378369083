"""The link of a mock gives what was delivered when it is due, and in order."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import ConnectionClosed, ConnectionFailed, MessageError, Notification, Request
from trio_mcp_transport.testing.mock_link import MockLink
from trio_mcp_transport.wire.signals import Signal


async def everything(link: MockLink) -> list[tuple[float, Any]]:
    found: list[tuple[float, Any]] = []
    while await link.fill():
        while not isinstance(message := link.next_message(), Signal):
            found.append((trio.current_time(), message.method))  # type: ignore[union-attr]
        assert message is Signal.NEED_DATA
    assert link.next_message() is Signal.END_OF_STREAM
    return found


async def test_deliveries_come_when_due_and_in_order(autojump_clock: trio.testing.MockClock) -> None:
    link = MockLink(print)
    link.deliver(Notification("late"), 5)
    link.deliver(Notification("a"))
    link.deliver(Notification("b"))
    link.deliver(None, 6)
    link.deliver_first(Notification("second"))
    link.deliver_first(Notification("first"))
    assert await everything(link) == [(0, "first"), (0, "second"), (0, "a"), (0, "b"), (5, "late")]


async def test_a_waiting_reader_learns_of_an_earlier_delivery(autojump_clock: trio.testing.MockClock) -> None:
    link = MockLink(print)
    link.deliver(None, 10)
    async with trio.open_nursery() as nursery:

        async def early() -> None:
            await trio.sleep(1)
            link.deliver(Notification("early"))

        nursery.start_soon(early)
        assert await everything(link) == [(1, "early")]


def test_what_is_delivered_before_the_run_is_due_at_its_beginning() -> None:
    link = MockLink(print)
    link.deliver(Notification("a"))
    link.deliver(None)
    assert [name for _, name in trio.run(everything, link)] == ["a"]


async def test_a_cancelled_fill_loses_nothing() -> None:
    link = MockLink(print)
    link.deliver(Notification("a"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await link.fill()
    link.deliver(None)
    assert [name for _, name in await everything(link)] == ["a"]


async def test_errors_and_nonsense_come_out_where_they_do_on_a_wire() -> None:
    link = MockLink(print)
    link.deliver(b"nonsense")
    link.deliver(ConnectionFailed("broken"))
    assert await link.fill()
    with pytest.raises(MessageError):
        link.next_message()
    with pytest.raises(ConnectionFailed, match="broken"):
        await link.fill()


async def test_the_two_sides_share_no_object() -> None:
    taken: list[Any] = []
    link = MockLink(taken.append)
    params: dict[str, Any] = {"list": [1]}
    link.deliver(Request(1, "m", params))
    item, size = link.encode(Request(1, "m", params))
    params["list"].append(2)
    await link.write([item])
    await link.fill()
    read: Any = link.next_message()
    assert (read.params, taken[0].params) == ({"list": [1]}, {"list": [1]})
    assert size == len('{"jsonrpc":"2.0","id":1,"method":"m","params":{"list":[1]}}')


async def test_closing_ends_both_directions() -> None:
    link = MockLink(print)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(everything, link)
        await trio.testing.wait_all_tasks_blocked()
        await link.send_eof()
        await link.aclose()
    with pytest.raises(ConnectionClosed):
        await link.write([])
