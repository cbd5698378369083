"""Silence is asked about, an answer of any kind will do, and a peer held back by this side is never given up."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_mcp_transport.deadlines import DeadlineExceeded
from trio_mcp_transport.transports.websocket_keepalive import Pulse, keep_alive


class FakeConnection:
    """Answers the first so many pings, each after a time."""

    def __init__(self, *, answers: int = 0, after: float = 1.0) -> None:
        self.pulse = Pulse()
        self.pulse.reading = True
        self.pings: list[float] = []
        self.given_up: list[tuple[float, DeadlineExceeded]] = []
        self._answers = answers
        self._after = after

    async def ping(self) -> None:
        self.pings.append(trio.current_time())
        if len(self.pings) > self._answers:
            await trio.sleep_forever()
        await trio.sleep(self._after)
        self.hear()

    async def give_up(self, error: DeadlineExceeded) -> None:
        self.given_up.append((trio.current_time(), error))

    def hear(self) -> None:
        self.pulse.heard()
        self.pulse.reading = True


async def test_a_peer_that_answers_nothing_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    connection = FakeConnection()
    await keep_alive(connection, 20.0, 15.0)
    assert connection.pings == [20.0]
    ((at, error),) = connection.given_up
    assert at == 35.0
    assert (error.deadline, error.seconds) == ("ping", 15.0)


async def test_a_peer_that_answers_is_asked_again_after_another_interval(
    autojump_clock: trio.testing.MockClock,
) -> None:
    connection = FakeConnection(answers=3)
    await keep_alive(connection, 20.0, 20.0)
    assert connection.pings == [20.0, 41.0, 62.0, 83.0]
    assert connection.given_up[0][0] == 103.0


async def test_while_something_is_heard_nobody_asks(autojump_clock: trio.testing.MockClock) -> None:
    connection = FakeConnection()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_alive, connection, 20.0, 20.0)
        for _ in range(20):
            await trio.sleep(19.0)
            connection.hear()
        assert connection.pings == []
        await trio.sleep(20.5)
        assert connection.pings == [400.0]
        nursery.cancel_scope.cancel()


async def test_any_byte_is_an_answer(autojump_clock: trio.testing.MockClock) -> None:
    connection = FakeConnection()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_alive, connection, 20.0, 20.0)
        await trio.sleep(25.0)
        connection.hear()  # the beginning of a large message, with the pong behind it
        await trio.sleep(20.0)
        assert connection.given_up == []
        nursery.cancel_scope.cancel()


async def test_a_peer_that_this_side_does_not_read_is_not_silent(autojump_clock: trio.testing.MockClock) -> None:
    connection = FakeConnection()
    connection.pulse.reading = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_alive, connection, 20.0, 20.0)
        await trio.sleep(990.0)
        assert connection.pings == []
        connection.pulse.reading = True
        await trio.sleep(15.0)
        assert len(connection.pings) == 1
        connection.pulse.reading = False  # held back while it was about to answer
        await trio.sleep(100.0)
        assert connection.given_up == []
        nursery.cancel_scope.cancel()


async def test_without_an_interval_nobody_asks(autojump_clock: trio.testing.MockClock) -> None:
    connection = FakeConnection()
    with trio.move_on_after(1e6):
        await keep_alive(connection, None, 20.0)
    assert connection.pings == []


async def test_whoever_waits_for_a_sign_of_life_gets_the_next_one(autojump_clock: trio.testing.MockClock) -> None:
    pulse = Pulse()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.wait_heard)
        await trio.testing.wait_all_tasks_blocked()
        pulse.heard()
    assert pulse.chunks == 1
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(1):
            await pulse.wait_heard()
