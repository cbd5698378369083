"""Permits and the admission queue of one connection: who runs, who waits, who is turned away."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trio_mcp_transport.context import ConnectionInfo, MessageContext
from trio_mcp_transport.exchange import LISTEN, Exchange
from trio_mcp_transport.limits import Limits
from trio_mcp_transport.pipe.admission import HEAVY, LARGE, Admission
from trio_mcp_transport.wire.envelope import Envelope
from trio_mcp_transport.wire.messages import Request, decode
from trio_mcp_transport.wire.modern import CORE_RESULT_TYPES, ModernEnvelope

INFO = ConnectionInfo(transport="t", connection_id="t-1")


class Door:
    """An admission whose dispatched exchanges are kept."""

    def __init__(self, largest: int = 1000, **limits: Any) -> None:
        self.running: list[Exchange] = []
        self.admission = Admission(Limits(**limits), largest, self.running.append)
        self._outbox: Any = None

    def exchange(self, id_: int = 1, size: int = 10, *, listen: bool = False) -> Exchange:
        envelope = ModernEnvelope("2026-07-28", None, CORE_RESULT_TYPES) if listen else Envelope()
        return Exchange(
            Request(id_, LISTEN if listen else "m"), MessageContext(INFO, envelope), self._outbox, size=size
        )

    def admit(self, count: int, **options: Any) -> list[Exchange]:
        exchanges = [self.exchange(number, **options) for number in range(count)]
        assert all(self.admission.admit(exchange) for exchange in exchanges)
        return exchanges


def test_as_many_run_as_there_are_permits_and_the_rest_waits_in_order() -> None:
    door = Door(max_running=3, max_queued=10)
    exchanges = door.admit(6)
    assert door.running == exchanges[:3]
    assert (door.admission.running, door.admission.queued, door.admission.queued_bytes) == (3, 3, 30)
    for ended in exchanges[:3]:
        door.admission.release(ended)
    assert door.running == exchanges
    assert (door.admission.running, door.admission.queued, door.admission.queued_bytes) == (3, 0, 0)


def test_the_defaults_are_a_hundred_running_and_a_thousand_waiting() -> None:
    door = Door(largest=10**6)
    door.admit(1099)
    assert len(door.running) == 100
    assert not door.admission.full
    assert door.admission.admit(door.exchange())
    assert door.admission.full
    assert not door.admission.admit(door.exchange())
    assert (door.admission.running, door.admission.queued) == (100, 1000)


def test_the_bytes_of_the_queue_are_bounded_by_one_largest_message() -> None:
    door = Door(largest=100, max_running=1)
    door.admit(1, size=5000)
    assert door.admission.admit(door.exchange(size=99))
    assert not door.admission.full
    assert door.admission.admit(door.exchange(size=100)), "a message of any allowed size passes while there is room"
    assert door.admission.full
    assert not door.admission.admit(door.exchange(size=1))
    assert door.admission.queued_bytes == 199


def test_the_byte_bound_can_be_set_and_counts_up_to_it() -> None:
    door = Door(largest=10**6, max_running=1, max_queued_bytes=20)
    door.admit(1)
    assert door.admission.admit(door.exchange(size=19))
    assert not door.admission.full
    assert door.admission.admit(door.exchange(size=1))
    assert door.admission.full


def test_a_listen_takes_no_permit_and_has_a_bound_of_its_own() -> None:
    door = Door(max_running=1, max_queued=1, max_listens=2)
    door.admit(2)
    assert door.admission.full
    listens = door.admit(2, listen=True)
    assert not door.admission.admit(door.exchange(listen=True))
    assert (door.admission.running, door.admission.listens) == (1, 2)
    door.admission.release(listens[0])
    assert (door.admission.running, door.admission.listens) == (1, 1)
    assert door.admission.admit(door.exchange(listen=True))


def test_a_listen_leaves_free_permits_alone() -> None:
    door = Door(max_running=1)
    (listen,) = door.admit(1, listen=True)
    assert (door.admission.running, door.admission.listens) == (0, 1)
    door.admit(1)
    door.admission.release(listen)
    assert (door.admission.running, door.admission.listens) == (1, 0)


def test_a_withdrawn_exchange_gives_its_place_and_its_bytes_to_another() -> None:
    door = Door(max_running=1, max_queued=2)
    first, second, third = door.admit(3)
    assert door.admission.full
    assert door.admission.withdraw(second)
    assert door.admission.queued_bytes == 10
    assert not door.admission.withdraw(second)
    assert not door.admission.withdraw(first), "what runs is not in the queue"
    assert door.admission.admit(door.exchange())
    door.admission.release(first)
    assert door.running == [first, third]


def test_a_lent_permit_lets_the_next_one_run_and_comes_back_without_waiting() -> None:
    door = Door(max_running=1, max_queued=2)
    first, second, third = door.admit(3)
    assert door.admission.lend(first)
    assert door.running == [first, second]
    assert not door.admission.lend(first), "there is one permit to lend"
    door.admission.retake(first)
    assert door.admission.running == 2
    door.admission.release(second)
    assert door.running == [first, second], "the one that came back counts"
    door.admission.release(first)
    assert door.running == [first, second, third]
    door.admission.release(third)
    assert door.admission.running == 0


def test_what_ends_while_its_permit_is_lent_has_none_to_give_back() -> None:
    door = Door(max_running=1)
    (first,) = door.admit(1)
    door.admission.lend(first)
    door.admission.release(first)
    door.admission.release(first)
    assert door.admission.running == 0


def test_a_dropped_queue_is_returned_whole_and_leaves_nothing_behind() -> None:
    door = Door(max_running=1)
    exchanges = door.admit(3)
    assert door.admission.drop_queue() == exchanges[1:]
    assert (door.admission.queued, door.admission.queued_bytes) == (0, 0)
    door.admission.release(exchanges[0])
    assert door.running == exchanges[:1]


@pytest.mark.parametrize("over", [0, 1])
def test_a_large_message_waits_as_text(over: int) -> None:
    door = Door(max_running=1, largest=10**6)
    door.admit(1)
    padding = "x" * (LARGE + over - len(json.dumps({"jsonrpc": "2.0", "id": 2, "method": "m", "params": {"a": ""}})))
    frame = json.dumps({"jsonrpc": "2.0", "id": 2, "method": "m", "params": {"a": padding}}).encode()
    assert len(frame) == LARGE + over
    message = decode(frame)
    assert isinstance(message, Request)
    before = message.params
    exchange = Exchange(message, MessageContext(INFO, Envelope()), door._outbox, size=message.size)
    assert door.admission.admit(exchange)
    assert message.params == before
    assert (message.params is before) == (not over)
    assert message.size == len(frame)


def test_heavy_messages_run_as_long_as_their_bytes_fit_and_light_ones_are_not_weighed() -> None:
    door = Door(max_running_bytes=3 * HEAVY + 3)
    first, second, third = door.admit(3, size=HEAVY + 1)
    assert (door.admission.running_bytes, door.admission.queued) == (3 * HEAVY + 3, 0)
    assert door.admission.admit(fourth := door.exchange(4, size=HEAVY + 1))
    assert door.admission.queued == 1
    door.admission.release(first)
    assert door.running == [first, second, third, fourth]
    door = Door(max_running_bytes=1)
    door.admit(5, size=HEAVY)
    assert (len(door.running), door.admission.running_bytes) == (5, 0)


@pytest.mark.parametrize(("over", "running"), [(-1, 2), (0, 2), (1, 1)])
def test_the_bytes_that_run_are_bounded_exactly(over: int, running: int) -> None:
    door = Door(max_running_bytes=4 * HEAVY)
    door.admit(1, size=2 * HEAVY)
    door.admit(1, size=2 * HEAVY + over)
    assert len(door.running) == running


def test_one_message_runs_whatever_its_size_and_those_behind_it_wait_in_order() -> None:
    door = Door(max_running_bytes=1, largest=10**7)
    heavy = door.admit(2, size=2 * HEAVY)
    light = door.admit(2)
    assert door.running == heavy[:1]
    door.admission.release(heavy[0])
    assert door.running == [*heavy, *light]
    door.admission.release(heavy[1])
    assert door.admission.running_bytes == 0


def test_bytes_stay_taken_while_a_handler_waits_for_the_peer_and_go_with_its_end() -> None:
    door = Door(max_running_bytes=HEAVY)
    first, second = door.admit(2, size=2 * HEAVY)
    assert door.admission.lend(first)
    assert door.running == [first]
    door.admission.release(first)
    assert door.running == [first, second]
    assert door.admission.running_bytes == 2 * HEAVY


def test_four_largest_messages_run_by_default() -> None:
    door = Door(largest=2 * HEAVY)
    door.admit(5, size=2 * HEAVY)
    assert (len(door.running), door.admission.queued) == (4, 1)
