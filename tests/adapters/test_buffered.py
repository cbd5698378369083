"""Write-behind and read-ahead stay within their bounds, and no accepted message is lost without an error."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.adapters.foreign import bytes_pair
from tests.adapters.test_bytes_link import Scripted
from trio_mcp_transport import errors
from trio_mcp_transport.adapters.buffered import BufferedConfig, BufferedTransport


class Gated(Scripted):
    """Sends only while the gate is open."""

    def __init__(self, *script: Any) -> None:
        super().__init__(*script)
        self.gate = trio.Event()
        self.received = 0

    async def send(self, message: bytes) -> None:
        await self.gate.wait()
        await super().send(message)

    async def receive(self) -> bytes:
        self.received += 1
        return await super().receive()


def small(**bounds: Any) -> BufferedConfig:
    return BufferedConfig(**{"write_buffer_capacity": 10, "read_buffer_capacity": 10, **bounds})


def test_the_defaults_are_airs_own() -> None:
    config = BufferedConfig()
    assert (config.read_buffer_capacity, config.write_buffer_capacity) == (65536, 65536)
    assert (config.max_message_size, config.backpressure_threshold) == (16 * 1024 * 1024, 0.8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"read_buffer_capacity": 0},
        {"write_buffer_capacity": 1.5},
        {"max_message_size": True},
        {"backpressure_threshold": 0},
        {"backpressure_threshold": 1.1},
    ],
)
def test_wrong_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigError, match=next(iter(wrong))):
        BufferedConfig(**wrong)


async def test_without_its_tasks_it_passes_on_and_keeps_the_limit() -> None:
    inner = Scripted(b"four", b"fives")
    buffered = BufferedTransport(inner, small(max_message_size=4))
    await buffered.send(b"four")
    with pytest.raises(errors.MessageTooLarge):
        await buffered.send(b"fives")
    assert inner.sent == [b"four"]
    assert await buffered.receive() == b"four"
    with pytest.raises(errors.FrameTooLarge):
        await buffered.receive()
    await buffered.close()
    for call in (lambda: buffered.send(b"x"), buffered.receive):
        with pytest.raises(errors.ConnectionClosed):
            await call()
    await buffered.close()
    assert inner.closed == 1


def test_the_smaller_limit_counts() -> None:
    inner = Scripted()
    inner.max_message_size = 3  # type: ignore[attr-defined]
    assert BufferedTransport(inner, small(max_message_size=4)).max_message_size == 3


async def test_sends_return_at_once_up_to_the_threshold_and_then_wait(autojump_clock: trio.testing.MockClock) -> None:
    inner = Gated()
    async with BufferedTransport(inner, small()) as buffered:
        await buffered.send(b"1234")
        await buffered.send(b"5678")  # 8 bytes: the threshold
        with trio.move_on_after(1) as scope:
            await buffered.send(b"9")
        assert scope.cancelled_caught
        inner.gate.set()
        await buffered.send(b"abc")
    assert inner.sent == [b"1234", b"5678", b"abc"]
    assert inner.closed == 1


async def test_one_message_larger_than_the_buffer_passes() -> None:
    inner = Scripted()
    async with BufferedTransport(inner, small()) as buffered:
        await buffered.send(b"x" * 100)
    assert inner.sent == [b"x" * 100]


async def test_reading_ahead_stops_at_the_threshold(autojump_clock: trio.testing.MockClock) -> None:
    inner = Gated(*[b"1234"] * 10)
    async with BufferedTransport(inner, small()) as buffered:
        await trio.testing.wait_all_tasks_blocked()
        assert inner.received == 0  # before anybody asked
        assert await buffered.receive() == b"1234"
        await trio.testing.wait_all_tasks_blocked()
        assert len(inner.script) == 7  # one taken, two held
        for _ in range(9):
            assert await buffered.receive() == b"1234"


async def test_a_cancelled_receive_loses_nothing_and_does_not_reach_the_object() -> None:
    sender, inner = bytes_pair(4)
    async with BufferedTransport(inner) as buffered:
        for _ in range(3):
            with trio.CancelScope() as scope:
                scope.cancel()
                await buffered.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(buffered.receive)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert inner.log.count("receive") == 1  # it waits all the time
        await sender.send(b"kept")
        assert await buffered.receive() == b"kept"


async def test_what_the_object_raises_comes_after_what_it_gave() -> None:
    broken = OSError("gone")
    unreadable = type("Serialization", (Exception,), {})()
    async with BufferedTransport(Scripted(b"a", unreadable, b"b", broken)) as buffered:
        assert await buffered.receive() == b"a"
        with pytest.raises(errors.MessageError) as one:
            await buffered.receive()
        assert one.value.__cause__ is unreadable
        assert await buffered.receive() == b"b"
        for _ in range(2):
            with pytest.raises(errors.ConnectionFailed) as caught:
                await buffered.receive()
            assert caught.value.__cause__ is broken


async def test_what_is_not_bytes_is_refused() -> None:
    async with BufferedTransport(Scripted(5)) as buffered:
        with pytest.raises(errors.ConnectionFailed, match="int, not bytes"):
            await buffered.receive()


async def test_the_end_of_the_peer_is_told_again() -> None:
    async with BufferedTransport(Scripted(b"a", b"")) as buffered:
        assert await buffered.receive() == b"a"
        for _ in range(2):
            with pytest.raises(errors.ConnectionClosed):
                await buffered.receive()


async def test_a_message_too_large_is_refused_and_the_next_one_comes() -> None:
    async with BufferedTransport(Scripted(b"12345", b"ok"), small(max_message_size=4)) as buffered:
        with pytest.raises(errors.FrameTooLarge) as caught:
            await buffered.receive()
        assert caught.value.limit == 4
        assert await buffered.receive() == b"ok"


async def test_a_failed_write_behind_is_told_to_the_next_send_and_to_the_reader() -> None:
    class Failing(Scripted):
        async def send(self, message: bytes) -> None:
            raise type("RateLimitExceeded", (Exception,), {})()

    async with BufferedTransport(Failing()) as buffered:
        await buffered.send(b"accepted")
        with pytest.raises(errors.RateLimitExceeded):
            await buffered.receive()
        with pytest.raises(errors.RateLimitExceeded):
            await buffered.send(b"next")


async def test_closing_waits_for_the_object_within_its_grace(autojump_clock: trio.testing.MockClock) -> None:
    inner = Gated()
    with pytest.raises(errors.ConnectionFailed, match="1 messages were accepted and not written") as caught:
        async with BufferedTransport(inner) as buffered:
            await buffered.send(b"never written")
    assert caught.value.__cause__ is None
    assert (trio.current_time(), inner.closed, inner.sent) == (5.0, 1, [])


async def test_closing_tells_of_a_failed_write_unless_another_call_did() -> None:
    class Failing(Scripted):
        async def send(self, message: bytes) -> None:
            raise OSError("gone")

    with pytest.raises(errors.ConnectionFailed, match="1 messages were accepted and not written") as caught:
        async with BufferedTransport(Failing()) as buffered:
            await buffered.send(b"accepted")
    assert isinstance(caught.value.__cause__, errors.ConnectionFailed)
    assert isinstance(caught.value.__cause__.__cause__, OSError)
    async with BufferedTransport(Failing()) as buffered:
        await buffered.send(b"accepted")
        with pytest.raises(errors.ConnectionFailed, match="gone"):
            await buffered.receive()


async def test_the_bodys_exception_goes_before_a_failed_write(autojump_clock: trio.testing.MockClock) -> None:
    async def fail() -> None:
        async with BufferedTransport(Gated()) as buffered:
            await buffered.send(b"accepted")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


async def test_a_send_that_waits_for_room_ends_with_close(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        buffered = BufferedTransport(Gated(), small())
        await nursery.start(buffered.run_background)
        await buffered.send(b"x" * 10)

        async def wait() -> None:
            with pytest.raises(errors.ConnectionClosed):
                await buffered.send(b"y")

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(20), pytest.raises(errors.ConnectionFailed):
            await buffered.close()


async def test_after_its_tasks_were_cancelled_nothing_is_accepted_and_nobody_waits() -> None:
    buffered = BufferedTransport(Gated())

    async def wait() -> None:
        with pytest.raises(errors.ConnectionClosed, match="the tasks of the buffer have ended"):
            await buffered.receive()

    with trio.fail_after(5):
        async with trio.open_nursery() as waiting, trio.open_nursery() as nursery:
            await nursery.start(buffered.run_background)
            waiting.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        with pytest.raises(errors.ConnectionClosed):
            await buffered.send(b"x")
        await wait()


@pytest.mark.parametrize("make", [BufferedTransport, BufferedTransport.for_reading])
async def test_what_the_object_wants_to_have_running_runs(make: Any) -> None:
    class Busy(Scripted):
        running = False

        async def run_background(self, *, task_status: trio.TaskStatus[None]) -> None:
            self.running = True
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self.running = False

    inner = Busy()
    async with make(inner):
        assert inner.running
    assert not inner.running


async def test_closing_wakes_whoever_waits() -> None:
    async with BufferedTransport(Scripted()) as buffered, trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(errors.ConnectionClosed):
                await buffered.receive()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(buffered.close)


async def test_an_exception_of_the_body_leaves_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with BufferedTransport(Scripted()):
            raise ZeroDivisionError


async def test_it_runs_once() -> None:
    async with BufferedTransport(Scripted()) as buffered:
        with pytest.raises(errors.LocalProtocolError):
            await buffered.run_background()


async def test_for_reading_lets_a_receive_end_by_itself_for_a_while(autojump_clock: trio.testing.MockClock) -> None:
    for ends, seconds in ((True, 1.0), (False, 5.0)):
        ended = trio.Event()

        class Slow(Scripted):
            async def receive(self) -> bytes:
                await ended.wait()  # noqa: B023
                await trio.sleep(1)
                raise EOFError

            async def close(self) -> None:
                if ends:  # noqa: B023
                    ended.set()  # noqa: B023

        started = trio.current_time()
        async with BufferedTransport.for_reading(Slow()) as buffered:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(buffered.receive)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        assert trio.current_time() - started == seconds


async def test_for_reading_holds_one_message_and_writes_directly() -> None:
    inner = Gated(*[b"1234"] * 10)
    inner.gate.set()
    async with BufferedTransport.for_reading(inner) as buffered:
        await buffered.send(b"x")
        assert inner.sent == [b"x"]
        await buffered.receive()
        await trio.testing.wait_all_tasks_blocked()
        assert len(inner.script) == 8
