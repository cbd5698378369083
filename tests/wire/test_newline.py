"""The newline codec case by case: line ends, the limit, what is dropped, the end of the stream, memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trio_mcp_transport.abc import FrameCodec
from trio_mcp_transport.errors import ConfigError, FrameTooLarge, FramingError, LocalProtocolError
from trio_mcp_transport.wire.newline import NewlineCodec
from trio_mcp_transport.wire.signals import Signal

KIB = 1024


def pull(codec: NewlineCodec) -> list[bytes | str]:
    """All that the codec has now; errors by name, and the end of the stream as "end"."""
    events: list[bytes | str] = []
    while True:
        try:
            frame = codec.next_frame()
        except FramingError as error:
            events.append(type(error).__name__)
            if type(error) is FramingError:
                return events
            continue
        if frame is Signal.NEED_DATA:
            return events
        if isinstance(frame, Signal):
            return [*events, "end"]
        events.append(frame)


def read(*chunks: bytes, limit: int = 10) -> list[bytes | str]:
    """What comes out when the chunks are fed and pulled one after the other."""
    codec = NewlineCodec(limit)
    events = []
    for chunk in chunks:
        codec.feed(chunk)
        events += pull(codec)
    return events


class Memory:
    """Bytes allocated since the block began: now, and at most."""

    def held(self) -> int:
        return tracemalloc.get_traced_memory()[0]

    def peak(self) -> int:
        return tracemalloc.get_traced_memory()[1]


@contextmanager
def traced() -> Iterator[Memory]:
    tracemalloc.start()
    try:
        yield Memory()
    finally:
        tracemalloc.stop()


def test_it_is_a_frame_codec() -> None:
    codec: FrameCodec = NewlineCodec()
    assert codec.bytes_to_send() == b""


def test_a_new_codec_needs_data() -> None:
    assert NewlineCodec().next_frame() is Signal.NEED_DATA


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(ConfigError, match=f"not {limit}"):
        NewlineCodec(limit)


def test_the_smallest_limit() -> None:
    assert read(b"a\nbb\nc\r\n", limit=1) == [b"a", "FrameTooLarge", b"c"]


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b"one\n", [b"one"]),
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"one\r\ntwo\r\n", [b"one", b"two"]),
        (b"one\r\r\n", [b"one\r"]),
        (b"\r\r\n", [b"\r"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"\ra\n", [b"\ra"]),
        (b"\n", []),
        (b"\r\n", []),
        (b"\n\r\n\n\none\n\n\r\ntwo\n\n", [b"one", b"two"]),
        (b" \n", [b" "]),
        (b"a\x0bb\x0cc\x1cd\n", [b"a\x0bb\x0cc\x1cd"]),
        (b"\xe2\x80\xa8\xc2\x85\x85\n", [b"\xe2\x80\xa8\xc2\x85\x85"]),
        (b"\xef\xbb\xbf{}\n", [b"\xef\xbb\xbf{}"]),
        (b"\x00\xff\n", [b"\x00\xff"]),
    ],
)
def test_what_ends_a_line(stream: bytes, frames: list[bytes]) -> None:
    assert read(stream) == frames
    for place in range(1, len(stream)):
        assert read(stream[:place], stream[place:]) == frames
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == frames


def test_nothing_comes_before_its_newline() -> None:
    codec = NewlineCodec()
    for chunk in (b"on", b"e", b"\r"):
        codec.feed(chunk)
        assert codec.next_frame() is Signal.NEED_DATA
    codec.feed(b"\n")
    assert codec.next_frame() == b"one"
    assert codec.next_frame() is Signal.NEED_DATA


def test_what_is_fed_before_pulling_keeps_its_order() -> None:
    codec = NewlineCodec()
    codec.feed(b"1\n2\n3")
    assert codec.next_frame() == b"1"
    codec.feed(b"3\n4")
    codec.feed(b"4\n")
    assert pull(codec) == [b"2", b"33", b"44"]
    codec.feed(b"5\n")
    assert pull(codec) == [b"5"]


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_frames_are_bytes_of_their_own(kind: type[bytearray] | type[memoryview]) -> None:
    source = bytearray(b"one\ntw")
    codec = NewlineCodec()
    codec.feed(kind(source))  # type: ignore[arg-type]  # what a reader with a reused buffer passes by mistake
    source[:] = b"xxxxxx"
    codec.feed(b"o\n")
    frames = pull(codec)
    assert frames == [b"one", b"two"]
    assert [type(frame) for frame in frames] == [bytes, bytes]


@pytest.mark.parametrize("wrong", ["text", 5])
def test_only_bytes_are_fed(wrong: object) -> None:
    with pytest.raises(TypeError):
        NewlineCodec().feed(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("size", [9, 10, 11])
def test_limit_at_every_split(size: int, end: bytes) -> None:
    line = b"x" * size
    stream = b"a" + end + line + end + b"b" + end
    expected = [b"a", line if size <= 10 else "FrameTooLarge", b"b", "end"]
    for first in range(1, len(stream)):
        for second in range(first + 1, len(stream)):
            assert read(stream[:first], stream[first:second], stream[second:], b"") == expected


@pytest.mark.parametrize("limit", [8 * KIB - 2, 8 * KIB - 1, 8 * KIB, 8 * KIB + 1, 64 * KIB])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_limit_of_lines_as_long_as_a_window(limit: int, end: bytes) -> None:
    for size in (limit - 1, limit, limit + 1):
        line = b"x" * size
        refused = "FrameTooLarge" if size > limit else line
        assert read(b"a" + end + line + end + b"b" + end, limit=limit) == [b"a", refused, b"b"]


@pytest.mark.parametrize("shift", range(8))
def test_lines_that_cross_windows(shift: int) -> None:
    lines = [b"s" * (shift + 1), *(b"%04d" % index * 25 for index in range(400)), b"l" * 20_000, b"end"]
    stream = b"\n".join(lines) + b"\n"
    assert read(stream, limit=KIB * KIB) == lines
    assert read(stream.replace(b"\n", b"\r\n"), limit=KIB * KIB) == lines


def test_more_lines_than_one_split_takes() -> None:
    lines = [b"%d" % index for index in range(1, 1000)]
    assert read(b"\n".join(lines) + b"\n") == lines


@pytest.mark.parametrize(
    ("line", "refused"),
    [(b"x" * 10, False), (b"x" * 10 + b"\r", False), (b"x" * 11, True), (b"x" * 11 + b"\r", True), (b"\r" * 11, False)],
)
def test_a_line_is_refused_as_soon_as_it_is_certain(line: bytes, refused: bool) -> None:
    expected = ["FrameTooLarge"] if refused else []
    assert read(line) == expected
    assert read(*(line[i : i + 1] for i in range(len(line)))) == expected


def test_a_cr_that_turns_out_to_be_payload_counts() -> None:
    assert read(b"x" * 10 + b"\r", b"x") == ["FrameTooLarge"]
    assert read(b"x" * 10 + b"\r", b"\r") == ["FrameTooLarge"]
    assert read(b"x" * 10 + b"\r", b"\n") == [b"x" * 10]
    assert read(b"x" * 10 + b"\r\r\n") == ["FrameTooLarge"]


def test_the_error_says_the_limit() -> None:
    codec = NewlineCodec(10)
    codec.feed(b"x" * 50)
    with pytest.raises(FrameTooLarge, match="over the limit of 10 bytes") as caught:
        codec.next_frame()
    assert caught.value.limit == 10
    assert caught.value.rpc_code == -32600


def test_frames_before_and_after_a_refused_line_are_served() -> None:
    stream = b"a\nb\n" + b"x" * 30 + b"\nc\n" + b"y" * 11 + b"\n" + b"z" * 160 + b"\nd\n"
    expected = [b"a", b"b", "FrameTooLarge", b"c", "FrameTooLarge", "FrameTooLarge", b"d", "end"]
    assert read(stream, b"") == expected
    assert read(*(stream[i : i + 1] for i in range(len(stream))), b"") == expected


def test_a_refused_line_is_reported_once() -> None:
    codec = NewlineCodec(10)
    codec.feed(b"x" * 11)
    with pytest.raises(FrameTooLarge):
        codec.next_frame()
    for _ in range(3):
        codec.feed(b"x" * 20)
        assert codec.next_frame() is Signal.NEED_DATA
    codec.feed(b"\nok\n")
    assert codec.next_frame() == b"ok"


@pytest.mark.parametrize("size", [160, 161])
@pytest.mark.parametrize("end", [b"\n", b""], ids=["ended", "unended"])
def test_patience_ends_after_sixteen_times_the_limit(size: int, end: bytes) -> None:
    line = b"x" * size + end
    expected = ["FrameTooLarge"] if size == 160 else ["FrameTooLarge", "FramingError"]
    assert read(line) == expected
    for place in range(1, len(line)):
        # The first error may come with either chunk; a final one is repeated by each later pull.
        assert list(dict.fromkeys(read(line[:place], line[place:]))) == expected


def test_patience_begins_anew_with_each_line() -> None:
    assert read(*[b"x" * 150 + b"\n"] * 5, b"ok\n") == [*["FrameTooLarge"] * 5, b"ok"]


def test_an_error_for_good_is_the_answer_from_then_on() -> None:
    codec = NewlineCodec(10)
    codec.feed(b"a\n" + b"x" * 200 + b"\nlater\n")
    assert codec.next_frame() == b"a"
    with pytest.raises(FrameTooLarge):
        codec.next_frame()
    for _ in range(3):
        with pytest.raises(FramingError, match="did not end within 160 bytes") as caught:
            codec.next_frame()
        assert type(caught.value) is FramingError
        codec.feed(b"more\n")
    codec.feed(b"")
    with pytest.raises(FramingError, match="did not end within 160 bytes"):
        codec.next_frame()


@pytest.mark.parametrize("chunks", [[], [b"one\n"], [b"one\r\n\n"], [b"one", b"\n"]])
def test_end_between_lines(chunks: list[bytes]) -> None:
    codec = NewlineCodec()
    for chunk in chunks:
        codec.feed(chunk)
    codec.feed(b"")
    assert pull(codec) == [*[b"one"][: len(chunks)], "end"]
    assert codec.next_frame() is Signal.END_OF_STREAM
    codec.feed(b"")
    assert codec.next_frame() is Signal.END_OF_STREAM


@pytest.mark.parametrize("rest", [b"{}", b"x", b"\r", b" ", b"x" * 10, b"x" * 10 + b"\r"])
def test_end_inside_a_line(rest: bytes) -> None:
    codec = NewlineCodec(10)
    codec.feed(b"one\n" + rest)
    codec.feed(b"")
    assert codec.next_frame() == b"one"
    for _ in range(3):
        with pytest.raises(FramingError, match=f"ended inside a line of {len(rest)} bytes$") as caught:
            codec.next_frame()
        assert type(caught.value) is FramingError


def test_end_inside_a_refused_line_is_no_second_error() -> None:
    assert read(b"x" * 11, b"") == ["FrameTooLarge", "end"]
    assert read(b"x" * 160, b"") == ["FrameTooLarge", "end"]


@pytest.mark.parametrize("before", [b"", b"one\n", b"half"])
def test_bytes_after_the_end_are_our_mistake(before: bytes) -> None:
    codec = NewlineCodec()
    if before:
        codec.feed(before)
    codec.feed(b"")
    with pytest.raises(LocalProtocolError, match="4 bytes fed after the end"):
        codec.feed(b"late")


@pytest.mark.parametrize("payload", [b"{}", b"\r{}", b"a\rb", b"\xe2\x80\xa8", b" "])
def test_encode(payload: bytes) -> None:
    assert NewlineCodec().encode(payload) == payload + b"\n"


def test_encode_leaves_the_limit_to_the_peer() -> None:
    assert NewlineCodec(1).encode(b"long") == b"long\n"


@pytest.mark.parametrize(
    ("payload", "why"), [(b"", "empty"), (b"a\nb", "newline"), (b"a\n", "newline"), (b"a\r", "CR"), (b"\r", "CR")]
)
def test_encode_refuses_what_the_peer_would_not_get(payload: bytes, why: str) -> None:
    with pytest.raises(LocalProtocolError, match=why):
        NewlineCodec().encode(payload)


def test_few_frames_are_split_ahead() -> None:
    codec = NewlineCodec()
    codec.feed(b"ab\n" * 20_000)
    with traced() as memory:
        assert codec.next_frame() == b"ab"
        assert memory.held() < 64 * 40 + 4 * KIB


def test_lines_are_cut_from_a_large_chunk_without_copying_the_rest() -> None:
    stream = (b"x" * 99 + b"\n") * 20_000
    codec = NewlineCodec()
    codec.feed(stream)
    with traced() as memory:
        for _ in range(20_000):
            codec.next_frame()
        assert memory.peak() < 64 * KIB
    assert codec.next_frame() is Signal.NEED_DATA


def test_used_chunks_are_let_go() -> None:
    codec = NewlineCodec()
    with traced() as memory:
        codec.feed(bytes(1_000_000) + b"\n")
        assert isinstance(codec.next_frame(), bytes)
        assert codec.next_frame() is Signal.NEED_DATA
        assert memory.held() < 16 * KIB


def test_a_refused_line_is_not_stored_first() -> None:
    codec = NewlineCodec(256 * KIB)
    codec.feed(b"a\n" + b"x" * 2_000_000)
    assert codec.next_frame() == b"a"
    with traced() as memory:
        with pytest.raises(FrameTooLarge):
            codec.next_frame()
        assert memory.peak() < 64 * KIB


def test_memory_is_constant_while_a_line_is_dropped() -> None:
    limit = 256 * KIB
    codec = NewlineCodec(limit)
    for _ in range(4):
        codec.feed(b"x" * 64 * KIB)
        assert codec.next_frame() is Signal.NEED_DATA
    with traced() as memory:
        codec.feed(b"xx")
        with pytest.raises(FrameTooLarge):
            codec.next_frame()
        for _ in range(59):
            codec.feed(b"x" * 64 * KIB)
            assert codec.next_frame() is Signal.NEED_DATA
            assert memory.held() < 16 * KIB
        assert memory.peak() < 64 * KIB + 16 * KIB


def test_memory_is_constant_after_an_error_for_good() -> None:
    codec = NewlineCodec(10)
    with traced() as memory:
        codec.feed(b"x" * 1_000_000)
        assert pull(codec) == ["FrameTooLarge", "FramingError"]
        for _ in range(200):
            codec.feed(b"x" * 64 * KIB)
            assert pull(codec) == ["FramingError"]
        assert memory.held() < 16 * KIB


@pytest.mark.parametrize("cuts", [[2000], [1] * 2000, [10, 4500], [4500, 10, 600]])
def test_a_refused_line_shows_its_beginning_however_it_was_cut(cuts: list[int]) -> None:
    codec = NewlineCodec(5000)
    line = bytes(range(48, 123)) * 100
    start = 0

    def feed_and_look() -> None:
        nonlocal start
        for size in [*cuts, len(line)]:
            codec.feed(line[start : start + size])
            start += size
            codec.next_frame()

    with pytest.raises(FrameTooLarge) as caught:
        feed_and_look()
    assert caught.value.beginning == line[:1024]


@pytest.mark.parametrize("empty", [b"\n", b"\r\n", b"\n\r\n", b"\r\n\n"])
@pytest.mark.parametrize("limit", [1, 100])
def test_a_flood_of_empty_lines_leaves_what_is_between_them(empty: bytes, limit: int) -> None:
    codec = NewlineCodec(limit)
    flood = empty * 20_000
    codec.feed(flood + b"a\n" + flood + b"\r\r\n" + flood + b"b")
    frames = [codec.next_frame(), codec.next_frame(), codec.next_frame()]
    assert frames == [b"a", b"\r", Signal.NEED_DATA]
    codec.feed(b"\n" + empty)
    assert [codec.next_frame(), codec.next_frame()] == [b"b", Signal.NEED_DATA]
