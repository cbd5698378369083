"""What the library sees of a stream: a handshake that is none, whole frames out, and no end but the right one."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.websocket_peer import CLOSE, TEXT, frame, handshake
from trio_mcp_transport.deadlines import DeadlineExceeded
from trio_mcp_transport.errors import FrameTooLarge
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.testing.streams import ByteStream, byte_stream_pair
from trio_mcp_transport.transports.websocket_closing import Role
from trio_mcp_transport.transports.websocket_meter import FRAMES_AT_ONCE
from trio_mcp_transport.transports.websocket_stream import EngineStream, answer_to


def engine_stream(
    role: Role = "server", *, capacity: int = 1000, leftover: bytes = b"", **options: Any
) -> tuple[EngineStream, ByteStream]:
    ours, theirs = byte_stream_pair(capacity)
    settings = {"limit": 100, "write_deadline": 9.0, "metrics": TransportMetrics(), **options}
    return EngineStream(ours, role, leftover=leftover, **settings), theirs


async def opened(role: Role = "server", **options: Any) -> tuple[EngineStream, ByteStream]:
    stream, peer = engine_stream(role, **options)
    if role == "server":
        assert (await stream.receive_some()).startswith(b"GET / HTTP/1.1\r\n")
    await stream.send_all(b"HTTP/1.1 101 X\r\n\r\n" if role == "server" else handshake())
    if role == "client":
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 101 ")
    return stream, peer


def test_the_answer_proves_that_the_key_was_read() -> None:
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer_to(handshake())  # RFC 6455, 1.3


@pytest.mark.parametrize("role", ["server", "client"])
async def test_the_handshake_of_the_library_stays_inside(role: Role) -> None:
    stream, peer = await opened(role, leftover=b"\x81\x00")
    await stream.send_all(b"frame")
    assert await peer.receive_some() == b"frame"
    assert await stream.receive_some() == b"\x81\x00"
    await peer.send_all(b"\x81\x80\0\0\0\0" if role == "server" else b"\x81\x00")
    assert len(await stream.receive_some()) in (2, 6)


async def test_frames_are_held_back_until_the_library_has_accepted() -> None:
    stream, peer = engine_stream(leftover=b"\x81\x80")
    await stream.receive_some()
    with trio.move_on_after(0.01) as scope:
        await stream.receive_some()
    assert scope.cancelled_caught
    await stream.send_all(b"HTTP/1.1 101 X\r\n\r\n")
    assert await stream.receive_some() == b"\x81\x80"
    await peer.aclose()


async def test_frames_kept_back_leave_together() -> None:
    stream, peer = await opened()
    stream.cork()
    await stream.send_all(b"one")
    await stream.send_all(b"two")
    stream.uncork()
    await stream.flush()
    assert await peer.receive_some() == b"onetwo"
    assert not stream.close_sent
    await stream.send_all(frame(CLOSE, b"", masked=False))
    assert stream.close_sent


async def test_a_write_that_was_cancelled_is_the_last_one() -> None:
    stream, _ = await opened(capacity=4)
    with trio.move_on_after(0.01):
        await stream.send_all(b"longer than that")
    assert stream.torn
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")


async def test_two_writers_wait_for_each_other(autojump_clock: trio.testing.MockClock) -> None:
    stream, peer = await opened(capacity=4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"a" * 20)
        nursery.start_soon(stream.send_all, b"b" * 20)
        got = b""
        while len(got) < 40:
            await trio.sleep(0.1)
            got += await peer.receive_some()
    assert got in (b"a" * 20 + b"b" * 20, b"b" * 20 + b"a" * 20)


async def test_a_peer_that_takes_nothing_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    stream, _ = await opened(capacity=4)
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"longer than that")
    assert trio.current_time() == 9.0
    assert isinstance(stream.failure, DeadlineExceeded) and stream.failure.deadline == "write"


async def test_a_message_over_the_limit_is_the_end_for_the_library() -> None:
    stream, peer = await opened()
    good = frame(TEXT, b"good")
    await peer.send_all(good + frame(TEXT, bytes(101)))
    assert await stream.receive_some() == good
    assert await stream.receive_some() == b""
    assert isinstance(stream.failure, FrameTooLarge) and stream.failure.limit == 100


async def test_the_library_closes_its_view_and_not_the_stream() -> None:
    stream, peer = await opened()
    await stream.aclose()
    for use in (stream.receive_some(), stream.send_all(b"x")):
        with pytest.raises(trio.ClosedResourceError):
            await use
    await stream.inner.send_all(b"still open")
    assert await peer.receive_some() == b"still open"


async def test_what_is_read_is_counted_and_heard() -> None:
    metrics = TransportMetrics()
    stream, peer = await opened(metrics=metrics)
    await peer.send_all(frame(TEXT, b"x"))
    await stream.receive_some()
    assert metrics.bytes_received == len(frame(TEXT, b"x"))
    assert stream.pulse.chunks == 1 and not stream.pulse.reading
    await stream.wait_send_all_might_not_block()


async def test_a_flood_of_frames_reaches_the_library_in_turns() -> None:
    flood = frame(TEXT, b"x") * (FRAMES_AT_ONCE + 1)
    metrics = TransportMetrics()
    stream, peer = await opened(metrics=metrics)
    await peer.send_all(flood)
    first = await stream.receive_some()
    assert len(first) == FRAMES_AT_ONCE * len(frame(TEXT, b"x"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.receive_some()
    assert scope.cancelled_caught
    assert first + await stream.receive_some() == flood
    assert metrics.bytes_received == len(flood)


async def test_what_came_behind_the_handshake_survives_a_cancelled_read() -> None:
    behind = frame(TEXT, b"x")
    stream, _ = await opened(leftover=behind)
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.receive_some()
    assert await stream.receive_some() == behind


async def test_a_write_that_was_cancelled_before_its_first_byte_tears_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, peer = await opened(capacity=4)
    await stream.send_all(b"full")
    with trio.move_on_after(1.0) as scope:
        await stream.send_all(b"ping")
    assert scope.cancelled_caught and not stream.torn and not stream.busy
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"text")
        await trio.testing.wait_all_tasks_blocked()
        assert stream.busy and not stream.torn
        received = b""
        while len(received) < 12:
            received += await peer.receive_some()
    assert received == b"fullpingtext"


async def test_a_peer_without_room_is_given_up_at_the_write_deadline(autojump_clock: trio.testing.MockClock) -> None:
    stream, _ = await opened(capacity=4)
    await stream.send_all(b"full")
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"more")
    assert trio.current_time() == 9.0 and isinstance(stream.failure, DeadlineExceeded)
