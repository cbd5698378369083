"""A wrapper that counts, and one that takes turns."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.adapters.foreign import BytesEnd, Closed, LockedEnd, bytes_pair
from tests.adapters.test_bytes_link import Scripted
from trio_mcp_transport.adapters.wrappers import BufferedTransport, MonitoredTransport, OneAtATime
from trio_mcp_transport.metrics import TransportMetrics


async def test_what_passes_is_counted() -> None:
    metrics = TransportMetrics()
    inner = Scripted(b"1234", b"56", OSError("gone"), EOFError(), b"")
    monitored = MonitoredTransport(inner, metrics)
    assert metrics.connection_count == 0
    await monitored.send(b"abc")
    assert [await monitored.receive(), await monitored.receive()] == [b"1234", b"56"]
    with pytest.raises(OSError, match="gone"):
        await monitored.receive()
    with pytest.raises(EOFError):
        await monitored.receive()
    assert await monitored.receive() == b""
    await monitored.close()
    seen = metrics.snapshot()
    assert (seen.messages_sent, seen.bytes_sent) == (1, 3)
    assert (seen.messages_received, seen.bytes_received) == (2, 6)
    # The end of the peer is no error; what broke is one, and is raised as it was.
    assert (seen.errors, seen.connection_count, inner.closed) == (1, 1, 1)


async def test_a_refused_send_is_an_error_and_no_message() -> None:
    class Refusing(Scripted):
        async def send(self, message: bytes) -> None:
            raise ValueError("no")

    monitored = MonitoredTransport(Refusing())
    with pytest.raises(ValueError, match="no"):
        await monitored.send(b"abc")
    assert (monitored.metrics.messages_sent, monitored.metrics.errors) == (0, 1)


async def test_a_cancelled_receive_is_no_error() -> None:
    monitored = MonitoredTransport(Scripted())
    with trio.move_on_after(0):
        await monitored.receive()
    assert monitored.metrics.errors == 0


async def test_wrappers_pass_on_limits_and_tasks() -> None:
    inner = BufferedTransport(Scripted())
    monitored = MonitoredTransport(inner)
    assert monitored.max_message_size == inner.max_message_size
    assert MonitoredTransport(Scripted()).max_message_size is None
    async with trio.open_nursery() as nursery:
        await nursery.start(monitored.run_background)
        await nursery.start(MonitoredTransport(Scripted()).run_background)
        assert inner._scope is not None
        await monitored.close()


async def test_a_send_goes_in_front_of_a_receive_that_waits() -> None:
    there, plain = bytes_pair(16)
    here = OneAtATime(LockedEnd(plain._outgoing, plain._incoming))
    got: list[bytes] = []

    async def read() -> None:
        for _ in range(3):
            got.append(await here.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(3):
            await here.send(b"%d" % number)
            assert await there.receive() == b"%d" % number
            await there.send(b"answer %d" % number)
            await trio.testing.wait_all_tasks_blocked()
    assert got == [b"answer 0", b"answer 1", b"answer 2"]


async def test_many_senders_and_one_reader_all_have_their_turn() -> None:
    there, plain = bytes_pair(100)
    here = OneAtATime(LockedEnd(plain._outgoing, plain._incoming))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.receive)
        async with trio.open_nursery() as senders:
            for number in range(20):
                senders.start_soon(here.send, b"%d" % number)
        assert sorted([int(await there.receive()) for _ in range(20)]) == list(range(20))
        await there.send(b"and now")


async def test_a_cancelled_receive_stays_cancelled() -> None:
    _, plain = bytes_pair()
    here = OneAtATime(plain)
    with trio.move_on_after(0) as scope:
        await here.receive()
    assert scope.cancelled_caught


async def test_closing_goes_in_front_of_a_receive_too() -> None:
    _, plain = bytes_pair()
    locked = LockedEnd(plain._outgoing, plain._incoming)
    here: OneAtATime = OneAtATime(locked)

    async def read() -> None:
        with pytest.raises(Closed):
            await here.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await here.close()
    assert isinstance(locked, BytesEnd) and locked.closed
