"""A byte stream and a codec as one channel of messages: chunks, joined writes, deadlines and broken streams."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import Wire, echo_params, modern_request
from trio_mcp_transport import Handlers, ServerInfo, open_client, serve
from trio_mcp_transport.deadlines import DeadlineExceeded
from trio_mcp_transport.errors import (
    ConnectionFailed,
    FrameTooLarge,
    FramingError,
    LocalProtocolError,
    MessageError,
    MessageTooLarge,
)
from trio_mcp_transport.limits import Limits
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.pipe.framed import SMALL, FramedLink
from trio_mcp_transport.testing import StreamClientTransport, StreamServerTransport, byte_stream_pair
from trio_mcp_transport.wire.messages import Notification, Request, Response
from trio_mcp_transport.wire.newline import NewlineCodec
from trio_mcp_transport.wire.signals import Signal


class Recorder(trio.abc.SendStream):
    """Keeps every write as it came."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.writes.append(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


class Trickle(Recorder):
    """Takes a few bytes at a time without waiting, as a full pipe does."""

    def __init__(self, takes: Sequence[int]) -> None:
        super().__init__()
        self.takes = list(takes)

    def send_nowait(self, data: bytes | memoryview) -> int:
        if not self.takes:
            raise trio.BrokenResourceError("the reader is gone")
        sent = min(self.takes.pop(0), len(data))
        self.writes.append(bytes(data[:sent]))
        return sent


def link_over(stream: Any, *, largest: int = 1000, **options: Any) -> FramedLink:
    limits = options.pop("limits", Limits())
    return FramedLink(stream, NewlineCodec(largest), limits, **options)


def line(id_: int) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id_, "method": "m"}).encode() + b"\n"


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_messages_come_out_whole_however_the_stream_cuts_them(size: int) -> None:
    near, far = trio.testing.memory_stream_pair()
    metrics = TransportMetrics()
    link = link_over(far, metrics=metrics)
    data = b"".join(line(number) for number in range(20))
    ids: list[Any] = []
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            for start in range(0, len(data), size):
                await near.send_all(data[start : start + size])
                await trio.testing.wait_all_tasks_blocked()
            await near.send_eof()

        nursery.start_soon(send)
        while await link.fill():
            while not isinstance(message := link.next_message(), Signal):
                assert isinstance(message, Request)
                ids.append(message.id)
    assert ids == list(range(20))
    assert link.next_message() is Signal.END_OF_STREAM
    assert metrics.bytes_received == len(data)


async def test_one_bad_line_is_one_error_and_the_next_line_is_served() -> None:
    near, far = trio.testing.memory_stream_pair()
    link = link_over(far, largest=60)
    await near.send_all(b"{oops\n" + b"x" * 61 + b"\n" + line(1))
    await link.fill()
    with pytest.raises(MessageError):
        link.next_message()
    with pytest.raises(FrameTooLarge):
        link.next_message()
    message = link.next_message()
    assert isinstance(message, Request) and message.id == 1


async def test_the_depth_limit_reaches_the_decoder() -> None:
    near, far = trio.testing.memory_stream_pair()
    link = link_over(far, limits=Limits(max_depth=5))
    deep: Any = {}
    for _ in range(5):
        deep = {"a": deep}
    await near.send_all(json.dumps({"jsonrpc": "2.0", "method": "m", "params": deep}).encode() + b"\n")
    await link.fill()
    with pytest.raises(MessageError):
        link.next_message()


async def test_a_cancelled_fill_loses_no_byte() -> None:
    near, far = trio.testing.memory_stream_pair()
    link = link_over(far)
    with trio.move_on_after(0) as scope:
        await link.fill()
    assert scope.cancelled_caught
    await near.send_all(line(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await link.fill()
    assert await link.fill()
    assert isinstance(link.next_message(), Request)


async def test_a_broken_stream_is_one_typed_error_with_its_cause() -> None:
    near, far = byte_stream_pair()
    link = link_over(far)
    await far.aclose()
    with pytest.raises(ConnectionFailed, match="reading failed") as reading:
        await link.fill()
    assert isinstance(reading.value.__cause__, trio.ClosedResourceError)
    with pytest.raises(ConnectionFailed, match="writing failed") as writing:
        await link.write([b"a"])
    assert isinstance(writing.value.__cause__, trio.ClosedResourceError)
    await near.aclose()


async def test_small_frames_are_joined_and_large_ones_are_not_copied() -> None:
    stream = Recorder()
    link = link_over(stream)
    large = b"L" * (64 * 1024 + 1)
    await link.write([b"a", b"b", (large,), b"c", (b"d" * (64 * 1024),)])
    assert stream.writes == [b"ab", large, b"c" + b"d" * (64 * 1024)]
    await link.write([(large,)])
    assert stream.writes[-1] is large
    await link.write([b"a", b"b", b"c"])
    assert stream.writes[-1] == b"abc"
    for size, kind in ((SMALL - 60, bytes), (SMALL, tuple)):
        item, _ = link.encode(Notification("m", {"text": "x" * size}))
        assert type(item) is kind


async def test_frames_are_one_line_each_and_the_size_is_that_of_the_frame() -> None:
    for message in (Notification("m", {"text": "a\nb\u2028"}), Notification("m", b'{\n  "a": 1\r\n}')):
        stream = Recorder()
        link = link_over(stream)
        item, size = link.encode(message)
        await link.write([item])
        written = b"".join(stream.writes)
        assert written.count(b"\n") == 1 and written.endswith(b"\n")
        assert size == len(written)
    with pytest.raises(LocalProtocolError):
        link.encode(Response(1, {"x": float("nan")}))


def test_the_outgoing_limit_is_exact() -> None:
    empty = link_over(Recorder()).encode(Notification("m", {"a": ""}))[1] - 1
    link = link_over(Recorder(), limits=Limits(max_outgoing_size=empty + 10))
    for size in (9, 10):
        link.encode(Notification("m", {"a": "x" * size}))
    with pytest.raises(MessageTooLarge):
        link.encode(Notification("m", {"a": "x" * 11}))


async def test_a_peer_that_accepts_nothing_is_given_up_after_the_write_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    near, far = byte_stream_pair(10)
    link = link_over(far, write_deadline=30.0)
    started = trio.current_time()
    with pytest.raises(DeadlineExceeded, match="the write deadline of 30 s"):
        await link.write([b"x" * 100])
    assert trio.current_time() - started == pytest.approx(30)
    await near.aclose()


async def test_a_peer_that_reads_slowly_is_not_given_up(autojump_clock: trio.testing.MockClock) -> None:
    near, far = byte_stream_pair(64 * 1024)
    link = link_over(far, write_deadline=30.0)
    data = b"x" * 1024 * 1024

    async def read_slowly() -> None:
        left = len(data)
        while left:
            await trio.sleep(20)
            for _ in range(4):
                left -= len(await near.receive_some(16 * 1024))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_slowly)
        await link.write([data])
    assert trio.current_time() > 200, "far longer than the deadline, but never 30 s without progress"


async def test_without_a_write_deadline_a_write_waits(autojump_clock: trio.testing.MockClock) -> None:
    near, far = byte_stream_pair(10)
    with trio.move_on_after(1000) as scope:
        await link_over(far).write([b"x" * 100])
    assert scope.cancelled_caught
    await near.aclose()


def test_what_a_full_pipe_takes_is_never_offered_again() -> None:
    stream = Trickle([3, 0])
    link = link_over(stream)
    left = link.write_nowait([b"abc", b"defg"])
    assert stream.writes == [b"abc"]
    assert [bytes(item) for item in left] == [b"defg"]
    left = link.write_nowait(left)
    assert [bytes(item) for item in left] == [b"defg"]
    stream.takes = [1, 100]
    left = link.write_nowait(left)
    assert [bytes(item) for item in left] == [b"efg"]
    assert link.write_nowait(left) == []
    assert b"".join(stream.writes) == b"abcdefg"


def test_a_large_frame_behind_small_ones_waits_for_them() -> None:
    large = b"L" * (64 * 1024 + 1)
    stream = Trickle([2, 10])
    left = link_over(stream).write_nowait([b"a", b"b", (large,)])
    assert b"".join(stream.writes) == b"ab" + b"L" * 10
    assert [len(item) for item in left] == [len(large) - 10]


async def test_what_is_left_of_a_partial_write_may_be_written_with_more() -> None:
    stream = Trickle([1])
    link = link_over(stream)
    left = link.write_nowait([b"abc"])
    await link.write([*left, b"def"])
    assert b"".join(stream.writes) == b"abcdef"


def test_a_broken_stream_takes_nothing_without_waiting() -> None:
    assert link_over(Trickle([])).write_nowait([b"ab"]) == [b"ab"]


def test_a_stream_that_can_only_wait_takes_nothing_without_waiting() -> None:
    assert link_over(Recorder()).write_nowait([b"a", b"b"]) == [b"a", b"b"]


async def test_the_writing_side_ends_where_the_stream_can() -> None:
    near, far = byte_stream_pair()
    await link_over(far).send_eof()
    assert await near.receive_some() == b""
    await near.send_all(b"still open")
    assert await far.receive_some() == b"still open"
    await far.aclose()
    await link_over(far).send_eof()
    await link_over(Recorder()).send_eof()


async def test_the_stream_is_closed_by_its_owner_only() -> None:
    owned, lent = Recorder(), Recorder()
    await link_over(owned).aclose()
    await link_over(lent, owns_stream=False).aclose()
    assert (owned.closed, lent.closed) == (True, False)


async def test_control_bytes_of_a_codec_are_passed_on_and_its_final_error_stays() -> None:
    class Broken(NewlineCodec):
        def next_frame(self) -> Any:
            raise FramingError("out of step")

        def bytes_to_send(self) -> bytes:
            return b"pong"

    link = FramedLink(Recorder(), Broken(10), Limits())  # type: ignore[arg-type]  # only half a stream is needed
    assert link.control_bytes() == b"pong"
    with pytest.raises(FramingError, match="out of step"):
        link.next_message()


class Final(NewlineCodec):
    """A codec that cannot find the next frame after one that is too large, as a length prefix leaves it."""

    resynchronises = False

    def __init__(self, largest: int) -> None:
        super().__init__(largest)
        self.error: FrameTooLarge | None = None
        self.raised = 0

    def next_frame(self) -> bytes | Signal:
        if self.error is None:
            try:
                return super().next_frame()
            except FrameTooLarge as error:
                self.error = error
        self.raised += 1
        assert self.raised < 10, "the error is asked for again and again"
        raise self.error


async def test_a_frame_too_large_that_is_final_is_answered_once_and_ends_the_connection() -> None:
    near, far = byte_stream_pair(64 * 1024)
    async with trio.open_nursery() as nursery:
        transport = StreamServerTransport(far, codec=Final)
        options = {"limits": Limits(max_message_size=300), "server_info": ServerInfo("s", "1")}
        nursery.start_soon(partial(serve, Handlers(echo_params), transport, **options))
        wire = Wire(near)
        await wire.send_line(modern_request(1))
        await wire.send_line(modern_request(2, "echo", {"text": "x" * 300}))
        await wire.send_line(modern_request(3))
        answers = {answer.get("id"): answer for answer in await wire.receive_rest()}
        assert sorted(answers, key=str) == [1, None]
        assert answers[None]["error"]["code"] == -32600


async def test_a_client_fails_its_calls_after_a_frame_too_large_that_is_final() -> None:
    near, far = byte_stream_pair(64 * 1024)
    options: Any = {"era": "modern", "discover": False, "limits": Limits(max_message_size=300)}
    async with (
        open_client(StreamClientTransport(far, codec=Final), **options) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(near.send_all, b"x" * 301 + b"\n")
        with pytest.raises(FrameTooLarge):
            await client.request("x")


def test_a_codec_that_encodes_in_another_way_is_not_passed_by() -> None:
    class Shouting(NewlineCodec):
        def encode_parts(self, payload: bytes) -> tuple[bytes, ...]:
            return payload.upper(), b"\n"

    link = FramedLink(trio.StapledStream(Recorder(), trio.testing.MemoryReceiveStream()), Shouting(), Limits())
    assert link.encode(Notification("m")) == ((b'{"JSONRPC":"2.0","METHOD":"M"}', b"\n"), 31)
