"""The newline codec under the properties of every codec, and against a naive reading of the whole input."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mcp_transport.errors import FrameTooLarge, FramingError, LocalProtocolError
from trio_mcp_transport.testing import check_codec
from trio_mcp_transport.testing.codec_checks import CodecCase, Event, Failure, check_limit, cut_at, outcome
from trio_mcp_transport.testing.strategies import chunkings
from trio_mcp_transport.wire.newline import NewlineCodec
from trio_mcp_transport.wire.signals import Signal

# Bytes that other readers of lines take for a line end, and the ones that really are.
BYTES = st.sampled_from([*b"ab\r\r\n\n\x00\x0b\x0c\x1c\x1d\x1e\x85\xff"])
LINE_ENDS = (b"\n", b"\r\n", b"\r\r\n", b"\n\n", b"\r", b"\n\r", b"\x0b", b"\xe2\x80\xa8", b"\xc2\x85", b"")


LIMITS = (1, 2, 7, 100)
CASES = pytest.mark.parametrize(
    "case", [pytest.param(CodecCase(NewlineCodec, limit), id=f"limit {limit}") for limit in LIMITS]
)


def payloads(limit: int) -> st.SearchStrategy[bytes]:
    """Payloads of which some are refused, because a line end hides in them."""
    return st.binary(max_size=limit) | st.lists(BYTES, max_size=limit).map(bytes)


@st.composite
def near_misses(draw: st.DrawFn, limit: int) -> bytes:
    """Lines a little off: lengths around every boundary, ends that are almost newlines."""
    sizes = [0, 1, 2, limit - 1, limit, limit + 1, limit + 2, 16 * limit - 1, 16 * limit, 16 * limit + 1]
    lines = draw(st.lists(st.tuples(st.sampled_from(sizes), st.sampled_from(LINE_ENDS)), max_size=8))
    return b"".join(b"x" * size + end for size, end in lines)


def naive(data: bytes, limit: int) -> Iterator[bytes | type[FramingError] | Signal]:
    """Say what the codec must answer, with all of the input at hand and no thought for memory."""
    lines = data.split(b"\n")
    for index, line in enumerate(lines, 1):
        size = len(line.removesuffix(b"\r"))
        if size > limit:
            yield FrameTooLarge
            if len(line) > 16 * limit:
                yield FramingError
                return
        elif line and index == len(lines):
            yield FramingError
            return
        elif size:
            yield line[:size]
    yield Signal.END_OF_STREAM


def kinds(events: list[Event]) -> list[bytes | type[FramingError] | Signal]:
    return [event.type if isinstance(event, Failure) else event for event in events]


@pytest.mark.parametrize("limit", LIMITS)
def test_it_is_a_right_codec(limit: int) -> None:
    streams = st.lists(BYTES, max_size=60).map(bytes)
    check_codec(NewlineCodec, payloads=payloads, near_misses=lambda limit: near_misses(limit) | streams, limits=[limit])


@CASES
def test_limit_with_crlf(case: CodecCase) -> None:
    check_limit(case, lambda payload: payload + b"\r\n")


@CASES
@given(data=st.data())
def test_same_as_naive(case: CodecCase, data: st.DataObject) -> None:
    stream = data.draw(near_misses(case.limit) | st.lists(BYTES, max_size=80).map(bytes))
    events = outcome(case, data.draw(chunkings(stream)))
    assert kinds(events) == list(naive(stream, case.limit))
    assert b"" not in events


@given(
    sizes=st.lists(st.sampled_from([0, 1, 2, 60, 125, 127, 128, 129, 4095, 4096, 8190, 8191, 8192, 9000]), max_size=8),
    repeats=st.integers(1, 40),
    end=st.sampled_from([b"\n", b"\r\n"]),
    cut=st.integers(0, 9000),
)
def test_same_as_naive_across_windows(sizes: list[int], repeats: int, end: bytes, cut: int) -> None:
    # Numbered, because lines that look alike hide that one was lost or came twice.
    lines = [b"%d" % index + b"y" * size for index, size in enumerate(sizes * repeats)]
    stream = b"".join(line + end for line in lines) + b"tail"
    for limit in (8191, 16384):
        events = outcome(CodecCase(NewlineCodec, limit), cut_at(stream, [min(cut, len(stream))]))
        assert kinds(events) == list(naive(stream, limit))


@given(payload=st.lists(BYTES, max_size=6).map(bytes))
def test_encode_refuses_what_would_not_arrive(payload: bytes) -> None:
    case = CodecCase(NewlineCodec, 10)
    try:
        line = NewlineCodec(10).encode(payload)
    except LocalProtocolError:
        assert outcome(case, [payload + b"\n"]) != [payload, Signal.END_OF_STREAM]
    else:
        assert outcome(case, [line]) == [payload, Signal.END_OF_STREAM]
