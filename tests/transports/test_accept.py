"""The accept loop: a cap, shortages, and connections whose fate is their own."""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
import trio.testing

from trio_mcp_transport.errors import ConfigError, ConnectionFailed
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.testing.cancel import CancelRegion, cancel_at_every_checkpoint
from trio_mcp_transport.transports.accept import accept_connections, check_max_connections
from trio_mcp_transport.transports.firewall import run_contained


class FakeIntake:
    """The two things the loop uses."""

    def __init__(self) -> None:
        self.shutdown = trio.Event()
        self.contain = run_contained


class FakeStream(trio.abc.AsyncResource):
    """Knows whether it was closed; the loop never looks at a byte."""

    closed = False

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


class FakeListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts what a test puts in, errors included."""

    def __init__(self) -> None:
        self.send, self._receive = trio.open_memory_channel[Any](math.inf)
        self.closed = 0

    def connect(self) -> FakeStream:
        stream = FakeStream()
        self.send.send_nowait(stream)
        return stream

    def fail(self, number: int) -> None:
        self.send.send_nowait(OSError(number, errno.errorcode[number]))

    async def accept(self) -> Any:
        found = await self._receive.receive()
        if isinstance(found, BaseException):
            raise found
        return found

    async def aclose(self) -> None:
        self.closed += 1
        self.send.close()
        self._receive.close()
        await trio.lowlevel.checkpoint()


class Accepting:
    """A running accept loop."""

    def __init__(self, listeners: int = 1) -> None:
        self.listeners = [FakeListener() for _ in range(listeners)]
        self.listener = self.listeners[0]
        self.intake = FakeIntake()
        self.metrics = TransportMetrics()
        self.ended = trio.Event()
        self.served: list[FakeStream] = []
        self.release = trio.Event()

    async def wait_for_release(self, stream: FakeStream) -> None:
        self.served.append(stream)
        await self.release.wait()

    async def run(self, serve_one: Callable[[Any], Awaitable[object]], max_connections: int) -> None:
        await accept_connections(
            self.listeners,
            serve_one,
            exchanges=cast(Intake, self.intake),
            max_connections=max_connections,
            metrics=self.metrics,
        )
        self.ended.set()


@asynccontextmanager
async def accepting(
    serve_one: Callable[[Any], Awaitable[object]] | None = None, *, cap: int = 10, listeners: int = 1
) -> AsyncIterator[Accepting]:
    one = Accepting(listeners)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run, serve_one or one.wait_for_release, cap)
        yield one
        nursery.cancel_scope.cancel()


settle = trio.testing.wait_all_tasks_blocked


async def test_the_cap_holds_at_the_limit_below_and_above(caplog: pytest.LogCaptureFixture) -> None:
    async with accepting(cap=3) as one:
        streams = [one.listener.connect() for _ in range(3)]
        await settle()
        assert one.served == streams
        assert one.metrics.refused == 0
        refused = [one.listener.connect() for _ in range(5)]
        await settle()
        assert one.served == streams
        assert all(stream.closed for stream in refused)
        assert not any(stream.closed for stream in streams)
        assert one.metrics.refused == 5
        assert len([record for record in caplog.records if "max_connections" in record.message]) == 1
        one.release.set()
        await settle()
        assert all(stream.closed for stream in streams)
        late = one.listener.connect()
        await settle()
        assert one.served[-1] is late


async def test_the_cap_counts_the_connections_of_all_listeners() -> None:
    async with accepting(cap=2, listeners=2) as one:
        one.listeners[0].connect()
        one.listeners[1].connect()
        await settle()
        refused = [listener.connect() for listener in one.listeners]
        await settle()
        assert (len(one.served), one.metrics.refused) == (2, 2)
        assert all(stream.closed for stream in refused)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_a_shortage_is_survived_and_told_once(
    number: int, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    async with accepting() as one:
        for _ in range(20):
            one.listener.fail(number)
        late = one.listener.connect()
        await trio.sleep(20 * 0.1 - 0.05)
        assert one.served == []  # it did not spin
        await trio.sleep(0.1)
        assert one.served == [late]
    assert len([record for record in caplog.records if "cannot accept" in record.message]) == 1


async def test_an_error_of_the_newcomer_is_survived_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with accepting() as one:
        for number in (errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENETDOWN):
            one.listener.fail(number)
        stream = one.listener.connect()
        await settle()
        assert one.served == [stream]
        assert trio.current_time() == 0


async def test_a_broken_listener_is_one_typed_error_and_nothing_stays_open() -> None:
    one = Accepting(listeners=2)
    stream = one.listeners[1].connect()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def break_it() -> None:
            await settle()
            one.listener.fail(errno.EBADF)

        with pytest.raises(ConnectionFailed, match="accepting connections failed") as caught:
            await one.run(one.wait_for_release, 10)
    assert isinstance(caught.value.__cause__, OSError)
    assert stream.closed
    assert all(listener.closed for listener in one.listeners)


async def test_whatever_a_connection_raises_ends_there(caplog: pytest.LogCaptureFixture) -> None:
    async def explode(stream: FakeStream) -> None:
        if stream is streams[0]:
            raise UnicodeDecodeError("ascii", b"\xff", 0, 1, "no")
        if stream is streams[1]:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                raise KeyError("inside a nursery")
        await trio.sleep_forever()

    streams: list[FakeStream] = []
    with caplog.at_level(logging.INFO):
        async with accepting(explode) as one:
            streams += [one.listener.connect() for _ in range(3)]
            await settle()
            assert [stream.closed for stream in streams] == [True, True, False]
            assert one.metrics.errors == 2
    assert len([record for record in caplog.records if "a connection ended" in record.message]) == 2
    assert streams[2].closed


async def test_shutdown_closes_the_listeners_first_and_waits_for_the_connections() -> None:
    async with accepting(listeners=2) as one:
        one.listener.connect()
        await settle()
        one.intake.shutdown.set()
        await settle()
        assert all(listener.closed for listener in one.listeners)
        assert not one.ended.is_set()
        one.release.set()
        await settle()
        assert one.ended.is_set()


async def test_a_shutdown_before_the_start_accepts_nobody() -> None:
    one = Accepting()
    stream = one.listener.connect()
    one.intake.shutdown.set()
    await one.run(one.wait_for_release, 10)
    assert one.served == []
    assert one.listener.closed
    assert not stream.closed  # it never left the kernel's queue, which closing the listener empties


def test_cancelled_anywhere_it_leaves_nothing_open() -> None:
    async def scenario(region: CancelRegion) -> None:
        one = Accepting(listeners=2)
        streams = [listener.connect() for listener in one.listeners for _ in range(2)]
        with region:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.run, one.wait_for_release, 3)
                await settle()
                assert one.metrics.refused == 1
                one.intake.shutdown.set()
                await settle()
                one.release.set()
        assert all(listener.closed for listener in one.listeners)
        assert all(stream.closed for stream in one.served)
        assert one.ended.is_set() or region.cancelled
        del streams

    assert cancel_at_every_checkpoint(scenario, within=0) > 10


@pytest.mark.parametrize("value", [0, -1, 1.5, True, None, "9"])
def test_a_cap_that_cannot_be_used_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="max_connections"):
        check_max_connections(value)


def test_a_cap_of_one_can_be_used() -> None:
    assert check_max_connections(1) == 1
