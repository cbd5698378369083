"""The id tables of a pipe: exact types, one delivery, and who owns a notification."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trio_mcp_transport.call import Call
from trio_mcp_transport.context import ConnectionInfo, MessageContext
from trio_mcp_transport.deadlines import Deadlines
from trio_mcp_transport.errors import ConnectionClosed, LocalProtocolError
from trio_mcp_transport.exchange import Exchange
from trio_mcp_transport.limits import Limits
from trio_mcp_transport.pipe.tables import CallTable, ExchangeTable
from trio_mcp_transport.wire.envelope import Envelope
from trio_mcp_transport.wire.messages import Notification, Request, Response
from trio_mcp_transport.wire.meta import SUBSCRIPTION_ID


def exchange(id_: Any) -> Exchange:
    context = MessageContext(ConnectionInfo(transport="t", connection_id="t-1"), Envelope())
    outbox: Any = None
    return Exchange(Request(id_, "m"), context, outbox)


def call(id_: Any, token: Any = None, method: str = "m") -> Call:
    made = Call(Request(id_, method), Deadlines(total=None), Limits(), buffered=True)
    made.token = token
    return made


def test_an_exchange_is_found_by_the_exact_type_of_its_id() -> None:
    table = ExchangeTable()
    number, text = exchange(1), exchange("1")
    table.add(number, 1)
    table.add(text, "1")
    assert table.find(1) is number
    assert table.find("1") is text
    for stranger in (True, 1.0, None, [], {}, 2, "2"):
        assert table.find(stranger) is None
    assert table.open == {number, text}


def test_an_answered_id_is_free_at_once_and_only_for_its_own_exchange() -> None:
    table = ExchangeTable()
    first, second = exchange(1), exchange(1)
    table.add(first, 1)
    table.answered(1, first)
    assert table.find(1) is None
    assert first in table.open, "its frames may still be on their way"
    table.add(second, 1)
    table.answered(1, first)
    assert table.find(1) is second


def test_ids_of_calls_never_repeat() -> None:
    table = CallTable()
    ids = {table.next_id() for _ in range(1000)}
    assert len(ids) == 1000


def test_a_response_is_delivered_once_to_the_call_with_exactly_its_id() -> None:
    table = CallTable()
    waiting = call(1)
    table.add(waiting)
    assert table.respond(Response("1", {})) is None
    assert table.respond(Response(1, {"a": 1})) is waiting
    assert waiting.response is not None and waiting.response.result == {"a": 1}
    assert table.respond(Response(1, {})) is None
    assert len(table) == 0


def test_a_token_belongs_to_one_active_call_and_is_free_after_it() -> None:
    table = CallTable()
    first = call(1, "t")
    table.add(first)
    with pytest.raises(LocalProtocolError, match="progress token"):
        table.add(call(2, "t"))
    assert len(table) == 1
    assert table.remove(first)
    assert not table.remove(first)
    table.add(call(3, "t"))


def test_progress_is_owned_by_its_token_and_everything_else_by_the_subscription() -> None:
    table = CallTable()
    progressing, listening = call(1, "t"), call(2, method="subscriptions/listen")
    table.add(progressing)
    table.add(listening)
    own = table.owner_of
    assert own(Notification("notifications/progress", {"progressToken": "t"})) is progressing
    assert own(Notification("notifications/progress", {"progressToken": 2})) is None
    assert own(Notification("x", {"_meta": {SUBSCRIPTION_ID: 2}})) is listening
    for stranger in ("2", 2.0, True, None, [], math.inf):
        assert own(Notification("x", {"_meta": {SUBSCRIPTION_ID: stranger}})) is None
        assert own(Notification("notifications/progress", {"progressToken": stranger})) is None


def test_every_call_fails_with_an_error_of_its_own() -> None:
    table = CallTable()
    calls = [call(number, number) for number in range(3)]
    for one in calls:
        table.add(one)
    table.fail_all(lambda: ConnectionClosed("gone"))
    assert len({id(one.error) for one in calls}) == 3
    assert all(isinstance(one.error, ConnectionClosed) for one in calls)
    assert len(table) == 0
    assert table.owner_of(Notification("notifications/progress", {"progressToken": 1})) is None


def test_drained_calls_come_oldest_first() -> None:
    table = CallTable()
    calls = [call(number) for number in (3, 1, 2)]
    for one in calls:
        table.add(one)
    assert table.drain() == calls
    assert len(table) == 0
