"""What was sent is kept in order, and a failed assertion says what was sent instead."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import Notification, Request, Response, RpcError
from trio_mcp_transport.testing.mock_record import MockRecord


def record(*messages: Any) -> MockRecord:
    one = MockRecord()
    for message in messages:
        one.note(message)
    return one


CALL = Request(1, "tools/call", {"name": "x", "_meta": {"added": True}})


def test_messages_are_read_where_they_can_be() -> None:
    one = record(b'{"jsonrpc":"2.0","method":"m"}', b"nonsense", CALL, b'[{"jsonrpc":"2.0","method":"m"}]')
    assert [type(message).__name__ for message in one.sent_messages] == ["Notification", "bytes", "Request", "Batch"]
    assert one.sent_methods == ["m", "tools/call"]
    assert one.sent_bytes[1] == b"nonsense" and one.sent_bytes[3] == b'[{"jsonrpc":"2.0","method":"m"}]'


def test_assert_sent_compares_params_without_meta() -> None:
    one = record(CALL, Notification("n"), Notification("n"))
    assert one.assert_sent("tools/call", {"name": "x"}) is CALL
    one.assert_sent("n", None, times=2)
    with pytest.raises(ValueError, match="assert_not_sent"):
        one.assert_sent("never", times=0)
    with pytest.raises(AssertionError, match=r"n was not sent 1 times; it was sent 2 times"):
        one.assert_sent("n", times=1)
    with pytest.raises(AssertionError) as caught:
        one.assert_sent("tools/call", {"name": "y"})
    assert str(caught.value).splitlines() == [
        "tools/call {'name': 'y'} was not sent",
        "sent was:",
        "  request 1 tools/call {'name': 'x'}",
        "  notification n {}",
        "  notification n {}",
    ]
    with pytest.raises(AssertionError, match="nothing was sent"):
        record().assert_sent("x")


def test_assert_not_sent() -> None:
    one = record(CALL)
    one.assert_not_sent("other")
    one.assert_not_sent("tools/call", {"name": "y"})
    with pytest.raises(AssertionError, match="tools/call was sent"):
        one.assert_not_sent("tools/call")


def test_assert_cancelled_asks_for_the_exact_id() -> None:
    cancel = Notification("notifications/cancelled", {"requestId": 1})
    record(CALL, cancel).assert_cancelled("tools/call")
    for other in ("1", True, 1.0, 2):
        wrong = Notification("notifications/cancelled", {"requestId": other})
        with pytest.raises(AssertionError, match=r"the requests \[1\] were not cancelled"):
            record(CALL, wrong).assert_cancelled("tools/call")
    with pytest.raises(AssertionError, match="no request was sent"):
        record(cancel).assert_cancelled("tools/call")


def test_assert_answered() -> None:
    one = record(Response(1, {"a": 1, "resultType": "complete"}), Response("1", error=RpcError(5, "no")))
    assert one.assert_answered(1, {"a": 1}).id == 1
    one.assert_answered("1", error=5)
    with pytest.raises(AssertionError, match=r"not \{'a': 2\}"):
        one.assert_answered(1, {"a": 2})
    with pytest.raises(AssertionError, match="was answered with response '1'"):
        one.assert_answered("1")
    with pytest.raises(AssertionError, match="'2' was not answered"):
        one.assert_answered("2")


async def test_waiting_ends_with_the_message(autojump_clock: trio.testing.MockClock) -> None:
    one = MockRecord()
    async with trio.open_nursery() as nursery:

        async def later() -> None:
            for _ in range(2):
                await trio.sleep(1)
                one.note(Notification("n"))

        nursery.start_soon(later)
        await one.wait_sent("n", count=2)
        assert trio.current_time() == 2
    with trio.move_on_after(1) as scope:
        await one.wait_response(1)
    assert scope.cancelled_caught
