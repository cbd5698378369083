"""Our stream over a socket: Trio's contract, no byte lost, and no descriptor left."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from tests.sockets import clog, reset, tcp_pair, unix_pair
from trio_mcp_transport.testing.cancel import CancelRegion, cancel_at_every_checkpoint
from trio_mcp_transport.transports.socketstream import RECEIVE_SIZE, SocketStream


@pytest.mark.parametrize("pair", [unix_pair, tcp_pair])
async def test_it_keeps_the_half_closeable_contract_of_trio(
    pair: Callable[[], tuple[SocketStream, SocketStream]],
) -> None:
    async def make() -> tuple[SocketStream, SocketStream]:
        return pair()

    async def make_clogged() -> tuple[SocketStream, SocketStream]:
        left, right = unix_pair()  # TCP buffers grow by themselves, so that a clogged one does not stay so
        clog(left)
        clog(right)
        return left, right

    await trio.testing.check_half_closeable_stream(make, make_clogged)


async def test_small_messages_leave_at_once_and_dead_peers_are_noticed() -> None:
    left, right = tcp_pair()
    async with left, right:
        for stream in (left, right):
            assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_a_receive_after_a_short_one_waits_first_and_loses_nothing() -> None:
    left, right = unix_pair()
    async with left, right:
        await left.send_all(b"short")
        assert await right.receive_some() == b"short"
        await left.send_all(b"there already")
        with trio.testing.assert_checkpoints():
            assert await right.receive_some() == b"there already"
        await left.send_all(b"x" * 10)
        assert await right.receive_some(10) == b"x" * 10  # a full one, after which it tries first
        async with trio.open_nursery() as nursery:
            nursery.start_soon(right.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            await left.send_eof()
        assert await right.receive_some() == b""
        assert await right.receive_some() == b""


async def test_what_fits_is_sent_without_waiting_and_the_rest_in_order() -> None:
    left, right = tcp_pair()
    async with left, right:
        data = bytes(range(256)) * 40_000
        sent = 0
        while count := left.send_nowait(data[sent:]):
            sent += count
        assert 0 < sent < len(data)
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.send_all, memoryview(data)[sent:])
            await trio.testing.wait_all_tasks_blocked()
            assert left.send_nowait(b"in between") == 0
            while len(received) < len(data):
                received += await right.receive_some()
        assert received == data


async def test_a_reset_is_a_broken_stream_either_way() -> None:
    left, right = tcp_pair()
    async with left:
        reset(right)
        with pytest.raises(trio.BrokenResourceError, match="receive"):
            await left.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await left.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            left.send_nowait(b"x")


async def test_after_its_end_nothing_is_sent_and_reading_goes_on() -> None:
    left, right = unix_pair()
    async with left, right:
        await left.send_eof()
        await left.send_eof()
        with pytest.raises(trio.ClosedResourceError):
            left.send_nowait(b"x")
        await right.send_all(b"the answer")
        assert await left.receive_some() == b"the answer"


async def test_closing_wakes_both_waiting_tasks() -> None:
    left, right = unix_pair()
    clog(left)

    async def fails(call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await call()

    async with right, trio.open_nursery() as nursery:
        nursery.start_soon(fails, left.receive_some)
        nursery.start_soon(fails, lambda: left.send_all(b"x"))
        await trio.testing.wait_all_tasks_blocked()
        left.close()
        left.close()
    assert left.fileno() == -1
    with pytest.raises(trio.ClosedResourceError):
        left.send_nowait(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await left.receive_some()


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
async def test_impossible_sizes_are_refused(size: int, error: type[Exception]) -> None:
    left, right = unix_pair()
    async with left, right:
        with pytest.raises(error):
            await left.receive_some(size)


def test_cancelled_anywhere_it_loses_no_byte() -> None:
    async def scenario(region: CancelRegion) -> None:
        left, right = unix_pair()
        async with left, right:
            received = bytearray()
            with region:
                for part in (b"a" * 1000, b"b" * RECEIVE_SIZE, b"c" * 10):
                    await left.send_all(part)
                    received += await right.receive_some()
            left.close()
            while data := await right.receive_some():
                received += data
            sent = b"a" * 1000 + b"b" * RECEIVE_SIZE + b"c" * 10
            assert sent.startswith(bytes(received))
            assert region.cancelled or bytes(received) == sent

    assert cancel_at_every_checkpoint(scenario, real_clock=True) >= 6
