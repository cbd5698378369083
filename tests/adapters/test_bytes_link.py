"""The link asks an object for one thing at a time, refuses what is too large, and tells the end from a failure."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import errors
from trio_mcp_transport.adapters.bytes_link import BytesLink, BytesTransport, largest_of, received
from trio_mcp_transport.deadlines import DeadlineExceeded
from trio_mcp_transport.limits import Limits
from trio_mcp_transport.wire.messages import Notification, Request, Response
from trio_mcp_transport.wire.signals import Signal


class Scripted:
    """Receives a script: bytes are returned, errors raised; waits for ever after it."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.sent: list[bytes] = []
        self.closed = 0

    async def send(self, message: bytes) -> None:
        self.sent.append(message)

    async def receive(self) -> bytes:
        if not self.script:
            await trio.sleep_forever()
        item = self.script.pop(0)
        if isinstance(item, BaseException):
            raise item
        return item  # type: ignore[no-any-return]

    async def close(self) -> None:
        self.closed += 1


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


def make(transport: BytesTransport, *, serving: bool = True, largest: int = 1000, **options: Any) -> BytesLink:
    limits = options.pop("limits", Limits())
    return BytesLink(transport, limits, largest=largest, serving=serving, **options)


def closed() -> Exception:
    return type("Closed", (Exception,), {})()


def test_what_was_received_becomes_bytes_of_our_own() -> None:
    assert [type(received(data)) for data in (b"x", bytearray(b"x"), memoryview(b"x"))] == [bytes] * 3
    for wrong in (3, "text", None, [1]):
        with pytest.raises(TypeError, match="not bytes"):
            received(wrong)


def test_any_object_with_the_three_methods_is_one() -> None:
    assert isinstance(Scripted(), BytesTransport)
    assert not isinstance(object(), BytesTransport)


async def test_a_message_of_each_kind_of_bytes() -> None:
    text = line(method="m")
    link = make(Scripted(text, bytearray(text), memoryview(text)))
    for _ in range(3):
        assert await link.fill()
        message = link.next_message()
        assert isinstance(message, Notification)
        assert message.method == "m"
        assert link.next_message() is Signal.NEED_DATA


@pytest.mark.parametrize("value", ["text", None, 5])
async def test_what_is_not_bytes_is_a_failure(value: Any) -> None:
    with pytest.raises(errors.ConnectionFailed) as caught:
        await make(Scripted(value)).fill()
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize("end", [b"", closed(), EOFError()])
async def test_the_end_of_the_peer_lets_a_server_answer_and_fails_a_client(end: Any) -> None:
    link = make(Scripted(end))
    assert not await link.fill()
    assert link.next_message() is Signal.END_OF_STREAM
    if isinstance(end, Exception):
        client = make(Scripted(end), serving=False)
        await client.write([client.encode(Notification("m"))[0]])
        with pytest.raises(errors.ConnectionClosed) as caught:
            await client.fill()
        assert caught.value.__cause__ is end


async def test_a_message_the_object_could_not_read_is_one_message() -> None:
    broken = type("Serialization", (Exception,), {})()
    link = make(Scripted(broken, line(method="m")))
    assert await link.fill()
    with pytest.raises(errors.MessageError) as caught:
        link.next_message()
    assert caught.value.__cause__ is broken
    assert await link.fill()
    assert isinstance(link.next_message(), Notification)


async def test_an_object_that_fails_for_ever_does_not_take_the_loop() -> None:
    link = make(Scripted(*(type("Serialization", (Exception,), {})() for _ in range(50))))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        for _ in range(50):
            await link.fill()
        nursery.cancel_scope.cancel()
    assert turns >= 40


@pytest.mark.parametrize(("over", "fits"), [(-1, True), (0, True), (1, False)])
async def test_the_limit_of_incoming_bytes_is_exact_and_the_next_message_is_served(over: int, fits: bool) -> None:
    text = line(method="x" * 50)
    link = make(Scripted(text, line(method="m")), largest=len(text) - over)
    await link.fill()
    if fits:
        assert isinstance(link.next_message(), Notification)
    else:
        with pytest.raises(errors.FrameTooLarge) as caught:
            link.next_message()
        assert (caught.value.limit, caught.value.beginning) == (len(text) - 1, text)
    assert await link.fill()
    assert isinstance(link.next_message(), Notification)


@pytest.mark.parametrize("where", ["argument", "attribute", "limits"])
async def test_the_limit_of_outgoing_bytes_is_exact_whoever_sets_it(where: str) -> None:
    message = Notification("m", {"text": "x" * 100})
    size = make(Scripted()).encode(message)[1]
    for limit in (size, size - 1):
        transport = Scripted()
        options: dict[str, Any] = {}
        if where == "argument":
            options["max_message_size"] = limit
        elif where == "attribute":
            transport.max_message_size = limit  # type: ignore[attr-defined]
        else:
            options["limits"] = Limits(max_outgoing_size=limit)
        link = make(transport, **options)
        if limit == size:
            assert link.encode(message)[1] == size
        else:
            with pytest.raises(errors.MessageTooLarge):
                link.encode(message)


def test_only_a_number_is_a_limit() -> None:
    transport = Scripted()
    transport.max_message_size = "large"  # type: ignore[attr-defined]
    assert largest_of(transport) is None
    assert largest_of(Scripted()) is None


async def test_one_call_per_message_and_what_it_raises() -> None:
    transport = Scripted()
    link = make(transport)
    await link.write([link.encode(Notification(name))[0] for name in "abc"])
    assert [json.loads(text)["method"] for text in transport.sent] == ["a", "b", "c"]

    class Refusing(Scripted):
        async def send(self, message: bytes) -> None:
            raise type("RateLimitExceeded", (Exception,), {})("slow")

    link = make(Refusing())
    with pytest.raises(errors.RateLimitExceeded):
        await link.write([link.encode(Notification("a"))[0]])


async def test_a_send_that_takes_too_long_ends_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    class Stuck(Scripted):
        async def send(self, message: bytes) -> None:
            await trio.sleep_forever()

    link = make(Stuck(), limits=Limits(write_deadline=3))
    with pytest.raises(DeadlineExceeded) as caught:
        await link.write([link.encode(Notification("a"))[0]])
    assert (caught.value.deadline, trio.current_time()) == ("write", 3)


async def test_a_client_does_not_receive_before_it_has_sent(autojump_clock: trio.testing.MockClock) -> None:
    transport = Scripted(line(method="m"))
    link = make(transport, serving=False)
    with trio.move_on_after(1) as scope:
        await link.fill()
    assert scope.cancelled_caught
    assert transport.script
    await link.write([link.encode(Notification("n"))[0]])
    assert await link.fill()


async def test_lockstep_of_a_client_receives_while_an_answer_is_owed(autojump_clock: trio.testing.MockClock) -> None:
    failing = OSError("nothing there")
    link = make(Scripted(line(id=1, result={}), failing), serving=False, lockstep=True)
    await link.write([link.encode(Notification("n"))[0]])
    with trio.move_on_after(1) as idle:
        await link.fill()
    assert idle.cancelled_caught
    await link.write([link.encode(Request(1, "m"))[0]])
    await link.fill()
    assert isinstance(link.next_message(), Response)
    with trio.move_on_after(1) as idle:
        await link.fill()
    assert idle.cancelled_caught


async def test_lockstep_of_a_server_receives_while_no_answer_is_owed(autojump_clock: trio.testing.MockClock) -> None:
    link = make(Scripted(line(id=1, method="m"), line(id=2, method="m")), lockstep=True)
    await link.fill()
    assert isinstance(link.next_message(), Request)
    with trio.move_on_after(1) as owing:
        await link.fill()
    assert owing.cancelled_caught
    await link.write([link.encode(Response(1, {}))[0]])
    assert await link.fill()


async def test_a_cancelled_fill_loses_nothing() -> None:
    link = make(Scripted(line(method="m")))
    with trio.CancelScope() as scope:
        scope.cancel()
        await link.fill()
    assert scope.cancelled_caught
    assert await link.fill()


async def test_closing_is_the_objects_own_and_half_closing_does_nothing() -> None:
    transport = Scripted()
    link = make(transport)
    await link.send_eof()
    assert transport.closed == 0
    await link.aclose()
    assert transport.closed == 1
