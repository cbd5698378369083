"""Fault links lose, double and reorder what they are told to, and pass everything else on."""

from __future__ import annotations

from typing import Any

import trio

from trio_mcp_transport import Notification, Request, Response
from trio_mcp_transport.testing import DropLink, DuplicateLink, ReorderLink
from trio_mcp_transport.testing.fault_links import LinkAround
from trio_mcp_transport.transports.memory import _link_pair
from trio_mcp_transport.wire.signals import Signal

MESSAGES = [
    Request(1, "m"),
    Response(1, {}),
    Notification("n"),
    Response(2, {}),
    Request(2, "m"),
    Response(3, {}),
    Notification("o"),
    Request(3, "m"),
]


def name_of(message: Any) -> str:
    id_ = getattr(message, "id", "")
    return f"{getattr(message, 'method', 'r')}{id_}"


async def carried(wrap_reader: Any = LinkAround, wrap_writer: Any = LinkAround) -> list[str]:
    """Write all messages at once and return those that are read, in order."""
    left, right = _link_pair()
    writer, reader = wrap_writer(left), wrap_reader(right)
    await writer.write([writer.encode(message)[0] for message in MESSAGES])
    await writer.send_eof()
    found = []
    while await reader.fill():
        while not isinstance(message := reader.next_message(), Signal):
            found.append(name_of(message))
    assert reader.next_message() is Signal.END_OF_STREAM
    await writer.aclose()
    await reader.aclose()
    return found


ALL = [name_of(message) for message in MESSAGES]


async def test_what_is_not_chosen_passes_unchanged() -> None:
    assert await carried() == ALL
    assert await carried(lambda link: DropLink(link, lambda message: False)) == ALL
    assert await carried(lambda link: DuplicateLink(link, lambda message: False)) == ALL
    link, _ = _link_pair()
    assert LinkAround(link).resynchronises and LinkAround(link).control_bytes() == b""


async def test_requests_are_lost_unless_others_are_chosen() -> None:
    assert await carried(DropLink) == ["r1", "n", "r2", "r3", "o"]
    assert "r2" not in await carried(lambda link: DropLink(link, lambda message: name_of(message) == "r2"))


async def test_notifications_come_twice_unless_others_are_chosen() -> None:
    assert await carried(DuplicateLink) == ["m1", "r1", "n", "n", "r2", "m2", "r3", "o", "o", "m3"]
    twice = await carried(lambda link: DuplicateLink(link, lambda message: True))
    assert twice == [name for name in ALL for _ in range(2)]


async def test_reading_moves_responses_behind_everything_else() -> None:
    orders = {tuple(await carried(lambda link, seed=seed: ReorderLink(link, seed))) for seed in range(30)}
    assert {order[:5] for order in orders} == {("m1", "n", "m2", "o", "m3")}
    assert {frozenset(order[5:]) for order in orders} == {frozenset({"r1", "r2", "r3"})}
    assert len(orders) == 6  # every order of three
    again = await carried(lambda link: ReorderLink(link, 5))
    assert again == await carried(lambda link: ReorderLink(link, 5))


async def test_writing_moves_requests_in_front_and_nothing_else() -> None:
    orders = {tuple(await carried(wrap_writer=lambda link, seed=seed: ReorderLink(link, seed))) for seed in range(30)}
    assert {frozenset(order[:3]) for order in orders} == {frozenset({"m1", "m2", "m3"})}
    assert {order[3:] for order in orders} == {("r1", "n", "r2", "r3", "o")}
    assert len(orders) == 6


async def test_a_cancelled_wait_loses_nothing() -> None:
    left, right = _link_pair()
    reader = ReorderLink(right)
    with trio.move_on_after(0):
        await reader.fill()
    await left.write([left.encode(Notification("n"))[0]])
    await reader.fill()
    assert name_of(reader.next_message()) == "n"
