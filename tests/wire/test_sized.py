"""Frames of an announced size, whatever announces it: order, the end of the stream, errors for good, memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trio_mcp_transport.abc import FrameCodec
from trio_mcp_transport.errors import ConfigError, FrameTooLarge, FramingError, LocalProtocolError
from trio_mcp_transport.wire.content_length import ContentLengthCodec
from trio_mcp_transport.wire.length_prefix import LengthPrefixCodec
from trio_mcp_transport.wire.signals import Signal
from trio_mcp_transport.wire.sized import SizedCodec

KIB = 1024
MIB = 1024 * 1024

pytestmark = pytest.mark.parametrize("make", [LengthPrefixCodec, ContentLengthCodec])
Make = type[LengthPrefixCodec] | type[ContentLengthCodec]


@contextmanager
def traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def announce(make: Make, size: int) -> bytes:
    """The header of a payload of some size, which need not follow."""
    return make(1).encode_parts(b"p" * size)[0]


def test_it_is_a_frame_codec(make: Make) -> None:
    codec: FrameCodec = make()
    assert isinstance(codec, SizedCodec)
    assert codec.bytes_to_send() == b""
    assert codec.resynchronises is False  # type: ignore[attr-defined]
    assert codec.next_frame() is Signal.NEED_DATA


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(make: Make, limit: int) -> None:
    with pytest.raises(ConfigError, match=f"at least 1 byte, not {limit}"):
        make(limit)


def test_the_default_limit_is_that_of_newline_framing(make: Make) -> None:
    codec = make()
    codec.feed(announce(make, 16 * MIB) + b"x")
    assert codec.next_frame() is Signal.NEED_DATA
    codec = make()
    codec.feed(announce(make, 16 * MIB + 1))
    with pytest.raises(FrameTooLarge):
        codec.next_frame()


def test_what_is_fed_before_pulling_keeps_its_order(make: Make) -> None:
    codec = make()
    stream = b"".join(codec.encode(payload) for payload in (b"1", b"22", b"\r\n", b"444"))
    codec.feed(stream[:7])
    codec.feed(stream[7:12])
    codec.feed(stream[12:])
    assert [codec.next_frame() for _ in range(5)] == [b"1", b"22", b"\r\n", b"444", Signal.NEED_DATA]
    codec.feed(codec.encode(b"5") + codec.encode(b"6"))
    assert codec.next_frame() == b"5"
    codec.feed(codec.encode(b"7"))
    assert [codec.next_frame() for _ in range(3)] == [b"6", b"7", Signal.NEED_DATA]


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_frames_are_bytes_of_their_own(make: Make, kind: type[bytearray] | type[memoryview]) -> None:
    codec = make()
    source = bytearray(codec.encode(b"one"))
    codec.feed(kind(source))  # type: ignore[arg-type]  # what a reader with a reused buffer passes by mistake
    source[:] = b"x" * len(source)
    frame = codec.next_frame()
    assert frame == b"one" and type(frame) is bytes


def test_empty_frames_are_skipped(make: Make) -> None:
    codec = make()
    nothing = announce(make, 1).replace(b"1", b"0").replace(b"\x01", b"\x00")
    codec.feed(nothing * 200_000 + codec.encode(b"one") + nothing)
    assert codec.next_frame() == b"one"
    assert codec.next_frame() is Signal.NEED_DATA
    codec.feed(b"")
    assert codec.next_frame() is Signal.END_OF_STREAM


@pytest.mark.parametrize("size", [1, 10, 11, 4 * KIB, 200 * KIB])
def test_encode(make: Make, size: int) -> None:
    payload = b"p" * size
    assert make(10).encode(payload) == b"".join(make(10).encode_parts(payload)), "the limit is the peer's to enforce"
    assert make(10).encode_parts(payload)[1] is payload


def test_encode_refuses_what_the_peer_would_skip(make: Make) -> None:
    with pytest.raises(LocalProtocolError, match="empty"):
        make().encode(b"")


@pytest.mark.parametrize("before", [b"", b"whole", b"half"])
def test_bytes_after_the_end_are_our_mistake(make: Make, before: bytes) -> None:
    codec = make()
    if before:
        codec.feed(codec.encode(before)[: -2 if before == b"half" else None])
    codec.feed(b"")
    codec.feed(b"")
    with pytest.raises(LocalProtocolError, match="4 bytes fed after the end"):
        codec.feed(b"late")


def test_the_end_between_frames(make: Make) -> None:
    codec = make()
    codec.feed(codec.encode(b"one"))
    codec.feed(b"")
    assert [codec.next_frame() for _ in range(3)] == [b"one", Signal.END_OF_STREAM, Signal.END_OF_STREAM]


def test_the_end_inside_a_frame(make: Make) -> None:
    frame = make().encode(b"hello")
    header = len(frame) - 5
    for length in range(1, len(frame)):
        codec = make()
        codec.feed(codec.encode(b"one") + frame[:length])
        codec.feed(b"")
        assert codec.next_frame() == b"one"
        inside = f"inside a header, after {length} bytes of it$" if length < header else f"{len(frame) - length} bytes"
        for _ in range(3):
            with pytest.raises(FramingError, match=f"the stream ended {inside}") as caught:
                codec.next_frame()
            assert type(caught.value) is FramingError


def test_too_large_is_final_and_says_the_limit(make: Make) -> None:
    codec = make(10)
    codec.feed(codec.encode(b"a") + announce(make, 11))
    assert codec.next_frame() == b"a"
    for _ in range(3):
        with pytest.raises(FrameTooLarge, match="a frame of 11 bytes is over the limit of 10 bytes") as caught:
            codec.next_frame()
        assert (caught.value.limit, caught.value.beginning, caught.value.rpc_code) == (10, b"", -32600)
        codec.feed(b"x" * 11 + codec.encode(b"later"))
    codec.feed(b"")
    with pytest.raises(FrameTooLarge):
        codec.next_frame()


def test_each_error_has_a_traceback_of_its_own(make: Make) -> None:
    codec = make(10)
    codec.feed(announce(make, 11))
    caught = []
    for _ in range(3):
        with pytest.raises(FrameTooLarge) as info:
            codec.next_frame()
        caught.append(info.value)
    assert len(set(map(id, caught))) == 3


def test_memory_is_taken_for_what_came_not_for_what_was_announced(make: Make) -> None:
    header = announce(make, 16 * MIB)
    with traced():
        codec = make()
        codec.feed(header + b"x" * 10)
        assert codec.next_frame() is Signal.NEED_DATA
        assert tracemalloc.get_traced_memory()[1] < 16 * KIB


@pytest.mark.parametrize("piece", [1, 1000, 64 * KIB])
def test_memory_of_an_unfinished_frame_is_its_bytes(make: Make, piece: int) -> None:
    size = 2 * MIB if piece > 1 else 60 * KIB
    chunk = b"x" * piece
    codec = make()
    codec.feed(announce(make, size + 1))
    with traced():
        for _ in range(size // piece):
            codec.feed(bytes(memoryview(chunk)))
            assert codec.next_frame() is Signal.NEED_DATA
        assert tracemalloc.get_traced_memory()[1] < 1.3 * size + 16 * KIB


def test_frames_are_cut_from_a_large_chunk_without_copying_the_rest(make: Make) -> None:
    codec = make()
    codec.feed(codec.encode(b"x" * 99) * 20_000)
    with traced():
        for _ in range(20_000):
            assert codec.next_frame() == b"x" * 99
        assert tracemalloc.get_traced_memory()[1] < 64 * KIB
    assert codec.next_frame() is Signal.NEED_DATA


def test_used_chunks_are_let_go(make: Make) -> None:
    frame = make().encode(bytes(1_000_000))
    codec = make()
    with traced():
        codec.feed(bytes(memoryview(frame)[:-1]))
        codec.feed(b"\0")
        assert isinstance(codec.next_frame(), Signal) is False
        assert codec.next_frame() is Signal.NEED_DATA
        assert tracemalloc.get_traced_memory()[0] < 16 * KIB


def test_memory_is_let_go_with_an_error(make: Make) -> None:
    wrong = announce(make, 11)
    beginning = make().encode(b"p")
    with traced():
        codec = make(10)
        codec.feed(beginning + wrong + b"x" * MIB)
        codec.feed(b"x" * MIB)
        assert codec.next_frame() == b"p"
        with pytest.raises(FrameTooLarge):
            codec.next_frame()
        for _ in range(50):
            codec.feed(bytes(64 * KIB))
            with pytest.raises(FrameTooLarge):
                codec.next_frame()
        assert tracemalloc.get_traced_memory()[0] < 16 * KIB
