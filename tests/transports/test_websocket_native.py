"""The link of our own codec: what it owes the peer, when it may still write, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.websocket_peer import CLOSE, PING, PONG, TEXT, RawPeer, frame
from trio_mcp_transport.deadlines import DeadlineExceeded
from trio_mcp_transport.errors import ConnectionClosed, FramingError
from trio_mcp_transport.limits import Limits
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.testing.streams import byte_stream_pair
from trio_mcp_transport.transports.websocket_native import FRAMES_AT_ONCE, NativeLink
from trio_mcp_transport.wire.messages import Notification
from trio_mcp_transport.wire.signals import Signal
from trio_mcp_transport.wire.websocket import WebSocketCodec

NOTE = b'{"jsonrpc":"2.0","method":"m"}'


def linked(*, capacity: int = 100_000, leftover: bytes = b"") -> tuple[NativeLink, RawPeer]:
    ours, theirs = byte_stream_pair(capacity)
    link = NativeLink(
        ours,
        WebSocketCodec("server", 1000),
        Limits(write_deadline=10.0),
        final_code=1001,
        close_deadline=3.0,
        metrics=TransportMetrics(),
        leftover=leftover,
    )
    return link, RawPeer(theirs)


async def test_what_came_behind_the_handshake_is_read_first() -> None:
    link, _ = linked(leftover=frame(TEXT, NOTE))
    assert await link.fill()
    message = link.next_message()
    assert isinstance(message, Notification) and message.method == "m"
    assert link.next_message() is Signal.NEED_DATA


async def test_of_pings_that_pile_up_only_the_latest_is_answered() -> None:
    link, peer = linked()
    asked = 0

    def ask() -> None:
        nonlocal asked
        asked += 1

    link.attach(ask)
    for number in range(3):
        await peer.send(PING, b"%d" % number)
        assert await link.fill()
        assert link.next_message() is Signal.NEED_DATA
        owed = link.control_bytes()
        assert (owed == b"") is (number > 0)
    await link.write([b"\x8a\x010"])
    assert asked == 1
    assert link.control_bytes() == frame(PONG, b"2", masked=False)


async def test_behind_a_close_nothing_is_written() -> None:
    link, peer = linked()
    await link.close_now(1001)
    await link.write([b"late"])
    assert link.write_nowait([b"late"]) == []
    assert link.control_bytes() == b""
    await link.close_now(1011)
    await peer.send(CLOSE, b"\x03\xe9")
    await trio.aclose_forcefully(link._stream)
    assert await peer.receive_end() == b"\x88\x02\x03\xe9"


async def test_behind_a_torn_frame_not_even_a_close_is_written() -> None:
    link, peer = linked(capacity=4)
    with trio.move_on_after(0.01):
        await link.write([b"a frame that does not fit"])
    await link.close_now(1001)
    await link.send_eof()
    await trio.aclose_forcefully(link._stream)
    assert await peer.receive_end() == b"a fr"


async def test_the_end_without_a_close_is_an_error() -> None:
    link, peer = linked()
    await peer.stream.aclose()
    with pytest.raises(ConnectionClosed, match="without closing"):
        await link.fill()


async def test_after_the_peers_close_there_is_nothing_to_read() -> None:
    link, peer = linked()
    await peer.stream.send_all(frame(TEXT, NOTE) + frame(CLOSE, b"\x03\xe8why"))
    assert await link.fill()
    assert isinstance(link.next_message(), Notification)
    assert link.next_message() is Signal.END_OF_STREAM
    assert not await link.fill()
    assert "1000 ('why')" in str(link.explain(ConnectionClosed("x")))
    await link.send_eof()
    assert await peer.receive_close() == 1000


async def test_a_violation_is_answered_and_the_rest_is_dropped(autojump_clock: trio.testing.MockClock) -> None:
    link, peer = linked()
    await peer.stream.send_all(frame(3))
    assert await link.fill()
    with pytest.raises(FramingError):
        link.next_message()
    assert isinstance(await link.wait_given_up(), FramingError)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.send_eof)
        assert await peer.receive_close() == 1002
        await peer.stream.send_all(b"x" * 1_000)
        await peer.stream.aclose()
    assert trio.current_time() < 3


async def test_a_peer_that_was_given_up_is_the_error_of_whoever_reads() -> None:
    link, _ = linked()
    error = DeadlineExceeded("ping", 1.0, "x")
    caught: list[BaseException] = []

    async def read() -> None:
        with pytest.raises(DeadlineExceeded) as info:
            await link.fill()
        caught.append(info.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        assert link.pulse.reading
        await link.give_up(error)
    assert caught == [error]


async def test_two_that_wait_for_the_peers_end_share_one_reader(autojump_clock: trio.testing.MockClock) -> None:
    link, peer = linked()
    ended: list[Any] = []

    async def given_up() -> None:
        ended.append(await link.wait_given_up())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(given_up)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(link.send_eof)
        assert await peer.receive_close() == 1001
        await peer.send_json({"jsonrpc": "2.0", "method": "dropped"})
        await peer.send(CLOSE, b"\x03\xe9")
        await trio.sleep(1)
        assert ended == []  # the connection was closed in order: nobody is given up
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("tiny", [frame(PONG), frame(TEXT), frame(TEXT, b"", fin=False) + frame(0)])
async def test_a_flood_of_frames_without_a_message_is_taken_in_turns(tiny: bytes) -> None:
    link, peer = linked()
    frames = 3 * FRAMES_AT_ONCE
    # A message now and then is no reason to begin a turn anew.
    await peer.stream.send_all((tiny * (frames // 6) + frame(TEXT, NOTE)) * 6)
    assert await link.fill()
    turns, notes, others = 1, 0, 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        while notes < 6:
            if link.next_message() is Signal.NEED_DATA:
                turns += 1
                assert await link.fill()
            else:
                notes += 1
        nursery.cancel_scope.cancel()
    assert turns == 1 + frames * (1 if len(tiny) == 6 else 2) // FRAMES_AT_ONCE
    assert others >= turns - 2 > 0


async def test_while_it_is_heard_out_a_flood_is_taken_in_turns_too(autojump_clock: trio.testing.MockClock) -> None:
    link, peer = linked()
    await peer.stream.send_all(frame(PONG) * 3 * FRAMES_AT_ONCE + frame(CLOSE, b"\x03\xe8"))
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await link.say_goodbye(1001)
        nursery.cancel_scope.cancel()
    assert trio.current_time() == 0.0 and "1000" in str(link.explain(ConnectionClosed("?")))
    assert others >= 3


async def test_a_goodbye_to_a_peer_that_reads_nothing_ends_at_the_close_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    link, _ = linked(capacity=4)
    await link.write([b"full"])
    await link.say_goodbye(1001)
    assert trio.current_time() == 3.0
