"""Requests of this side: registered before they are sent, gone when they cannot be, cancelled once."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import Deadlines, Limits, Request
from trio_mcp_transport.call import Call
from trio_mcp_transport.errors import LocalProtocolError
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.pipe.outbound import OutboundCalls, touch
from trio_mcp_transport.pipe.outbox import PipeOutbox
from trio_mcp_transport.pipe.tables import CallTable
from trio_mcp_transport.wire.messages import Message, encode


class SlowLink:
    """Takes what it is given only when told to."""

    def encode(self, message: Message) -> tuple[Any, int]:
        text = encode(message)
        return text, len(text)

    async def write(self, items: Any) -> None:
        await trio.sleep_forever()


class Side:
    """One side with an outbox nobody empties."""

    def __init__(self, bound: int = 100_000) -> None:
        self.calls = CallTable()
        self.pushed: list[Any] = []
        self.changes = 0
        link: Any = SlowLink()
        self.outbox = PipeOutbox(
            link,
            bound,
            TransportMetrics(),
            answered=lambda exchange, message: None,
            done=lambda exchange: None,
            written=lambda: None,
        )
        self.outbound = OutboundCalls(self.calls, self.outbox, push=self.pushed.append, changed=self.note)

    def note(self) -> None:
        self.changes += 1

    def call(self, params: Any = None, deadlines: Deadlines | None = None) -> Call:
        return Call(Request(self.calls.next_id(), "ask", params), deadlines or Deadlines(), Limits())


async def test_a_sent_call_waits_in_the_table_and_its_cancel_names_it_once() -> None:
    side = Side()
    call = side.call()
    assert side.outbound.send_nowait(call)
    assert side.calls.find(call.request.id) is call
    assert side.changes == 1
    call.abandon()
    call.cancel()
    assert [notice.params for notice in side.pushed] == [{"requestId": call.request.id}]
    assert not len(side.calls)


async def test_initialize_is_never_cancelled() -> None:
    side = Side()
    call = Call(Request(1, "initialize"), Deadlines(), Limits())
    assert side.outbound.send_nowait(call)
    call.abandon()
    assert side.pushed == []


async def test_what_cannot_be_written_leaves_nothing_behind() -> None:
    side = Side()
    with pytest.raises(LocalProtocolError):
        side.outbound.send_nowait(side.call({"x": float("nan")}))
    assert not len(side.calls)


async def test_without_room_nothing_is_sent_now_and_the_waiting_send_can_be_cancelled() -> None:
    side = Side(bound=10)
    assert side.outbound.send_nowait(side.call())
    late = side.call()
    assert not side.outbound.send_nowait(late)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(side.outbound.send, late)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert side.calls.find(late.request.id) is None
    assert side.pushed == []


async def test_touch_restarts_the_idle_deadline_only(autojump_clock: trio.testing.MockClock) -> None:
    side = Side()
    call = side.call(deadlines=Deadlines(idle=5, total=50))
    call.idle_at, call.total_at = call.deadlines.first(trio.current_time())
    before = call.idle_at, call.total_at
    await trio.sleep(3)
    touch(call)
    assert (call.idle_at, call.total_at) == (before[0] + 3, before[1])
