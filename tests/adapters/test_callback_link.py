"""What is pushed in comes out in order and within bounds, and the end is told apart from a failure."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import errors
from trio_mcp_transport.adapters.callback_link import CallbackLink, in_form, text_of
from trio_mcp_transport.limits import Limits
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.wire.messages import Notification, Request
from trio_mcp_transport.wire.signals import Signal

NOTE = {"jsonrpc": "2.0", "method": "m"}


class Sink:
    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.closed = 0

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def close(self) -> None:
        self.closed += 1


def make(*, serving: bool = True, largest: int = 1000, form: Any = "object", **limits: Any) -> CallbackLink:
    metrics = TransportMetrics()
    return CallbackLink(Sink(), Limits(**limits), largest=largest, serving=serving, form=form, metrics=metrics)


def closed() -> Exception:
    return type("Closed", (Exception,), {})()


@pytest.mark.parametrize("message", [NOTE, json.dumps(NOTE), json.dumps(NOTE).encode(), Notification("m")])
async def test_a_message_in_any_form(message: Any) -> None:
    link = make()
    link.handle_message(message, {"context": "unused"})
    assert await link.fill()
    taken = link.next_message()
    assert isinstance(taken, Notification)
    assert (taken.method, link.next_message()) == ("m", Signal.NEED_DATA)


async def test_what_is_no_message_is_one_unreadable_message() -> None:
    link = make()
    for wrong in (5, "nonsense", {"no": "message"}):
        link.handle_message(wrong)
    link.handle_message(NOTE)
    for _ in range(3):
        with pytest.raises(errors.MessageError):
            link.next_message()
    assert isinstance(link.next_message(), Notification)


async def test_the_two_sides_share_no_object() -> None:
    link = make()
    params = {"list": [1]}
    link.handle_message({**NOTE, "params": params})
    params["list"].append(2)
    message = link.next_message()
    assert isinstance(message, Notification)
    assert message.params == {"list": [1]}


@pytest.mark.parametrize(("form", "kind"), [("message", Request), ("object", dict), ("bytes", bytes)])
async def test_what_is_sent_has_the_form_that_was_asked_for(form: Any, kind: type) -> None:
    link = make(form=form)
    await link.write([link.encode(Request(1, "m", {"x": 1}))[0]])
    (sent,) = link._transport.sent
    assert type(sent) is kind
    assert json.loads(text_of(sent)) == {"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"x": 1}}
    assert type(in_form(text_of(sent), form)) is kind


async def test_limits_are_exact_both_ways() -> None:
    size = len(text_of(NOTE))
    for over, ok in ((0, True), (1, False)):
        link = make(largest=size - over, max_outgoing_size=size - over)
        link.handle_message(NOTE)
        if ok:
            link.next_message()
            link.encode(Notification("m"))
        else:
            with pytest.raises(errors.FrameTooLarge):
                link.next_message()
            with pytest.raises(errors.MessageTooLarge):
                link.encode(Notification("m"))


async def test_an_awaited_callback_waits_for_room(autojump_clock: trio.testing.MockClock) -> None:
    link = make()
    given = 0

    async def push() -> None:
        nonlocal given
        for _ in range(40):
            await link.handle_message(NOTE)
            given += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(push)
        await trio.testing.wait_all_tasks_blocked()
        assert given == 15
        taken = 0
        while taken < 40:
            await link.fill()
            link.next_message()
            taken += 1
            await trio.testing.wait_all_tasks_blocked()
    assert given == 40


async def test_whoever_does_not_wait_is_cut_off_at_the_limit() -> None:
    link = make(max_queued=20)
    for _ in range(36):
        link.handle_message(NOTE)
    assert link._end is None
    link.handle_message(NOTE)
    for _ in range(37):
        assert await link.fill()
        link.next_message()
    with pytest.raises(errors.ReceiveBufferFull):
        await link.fill()


async def test_bytes_are_bounded_too() -> None:
    link = make(largest=1000)
    for _ in range(3):
        link.handle_message({**NOTE, "params": {"x": "y" * 900}})
    assert isinstance(link._end, errors.ReceiveBufferFull)


async def test_the_end_comes_after_the_messages_and_lets_a_server_answer() -> None:
    link = make()
    link.handle_message(NOTE)
    await link.handle_close()
    link.handle_message(NOTE)  # too late
    assert await link.fill()
    link.next_message()
    assert not await link.fill()
    assert link.next_message() is Signal.END_OF_STREAM


async def test_the_end_fails_a_client() -> None:
    link = make(serving=False)
    link.handle_close()
    with pytest.raises(errors.ConnectionClosed):
        await link.fill()


async def test_a_reported_failure_ends_the_connection_with_its_cause() -> None:
    link = make()
    broken = OSError("gone")
    await link.handle_error(broken, {"context": 1})
    link.handle_close()
    with pytest.raises(errors.ConnectionFailed) as caught:
        await link.fill()
    assert caught.value.__cause__ is broken


async def test_a_reported_unreadable_message_does_not() -> None:
    link = make()
    link.handle_error(type("Serialization", (Exception,), {})())
    link.handle_message(NOTE)
    await link.fill()
    with pytest.raises(errors.MessageError):
        link.next_message()
    assert isinstance(link.next_message(), Notification)


async def test_an_error_that_may_be_harmless_is_the_cause_if_the_end_follows() -> None:
    link = make()
    broken = OSError("gone")
    link.hold_error(broken)
    link.handle_close()
    with pytest.raises(errors.ConnectionFailed) as caught:
        await link.fill()
    assert caught.value.__cause__ is broken


async def test_and_is_only_reported_if_a_message_follows() -> None:
    link = make()
    first, second = OSError("hiccup"), ValueError("another")
    link.hold_error(first)
    link.hold_error(second)
    link.handle_message(NOTE)
    for error in (first, second):
        with pytest.raises(errors.MessageError) as caught:
            link.next_message()
        assert caught.value.__cause__ is not None
        assert caught.value.__cause__.__cause__ is error
    assert isinstance(link.next_message(), Notification)
    link.handle_close()
    assert not await link.fill()


async def test_closing_lets_go_of_whoever_waits_in_a_callback() -> None:
    link = make()
    for _ in range(20):
        link.handle_message(NOTE)
    async with trio.open_nursery() as nursery:

        async def push() -> None:
            await link.handle_message(NOTE)

        nursery.start_soon(push)
        await trio.testing.wait_all_tasks_blocked()
        await link.send_eof()
        await link.aclose()
    assert link._transport.closed == 1
