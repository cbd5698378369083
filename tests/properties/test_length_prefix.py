"""The length-prefix codec under the properties of every codec, and against a naive reading of the whole input."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from trio_mcp_transport.errors import FrameTooLarge, FramingError
from trio_mcp_transport.testing import check_codec
from trio_mcp_transport.testing.codec_checks import CodecCase, Failure, outcome
from trio_mcp_transport.testing.strategies import chunkings
from trio_mcp_transport.wire.length_prefix import LengthPrefixCodec
from trio_mcp_transport.wire.signals import Signal

HTTP = (b"GET ", b"HEAD", b"POST", b"PUT ", b"PATC", b"DELE", b"OPTI", b"CONN", b"TRAC", b"PRI ")


@st.composite
def near_misses(draw: st.DrawFn, limit: int) -> bytes:
    """Lengths around every boundary, read with a sign, in the other order or as text, before payloads of some size."""
    sizes = st.sampled_from([0, 1, 2, limit - 1, limit, limit + 1, 256, 2**24, 2**31 - 1, 2**31, 2**32 - 1])
    swapped = sizes.map(lambda size: size.to_bytes(4, "little"))
    lengths = sizes.map(lambda size: size.to_bytes(4, "big")) | swapped | st.sampled_from(HTTP)
    payloads = st.sampled_from([b"", b"p", b"p" * (limit - 1), b"p" * limit, b"\x00" * limit])
    return b"".join(
        draw(st.lists(st.tuples(lengths, payloads), max_size=6).map(lambda parts: [a + b for a, b in parts]))
    )


def naive(data: bytes, limit: int) -> Iterator[bytes | type[FramingError] | Signal]:
    """Say what the codec must answer, with all of the input at hand and no thought for memory."""
    while data:
        size = int.from_bytes(data[:4], "big")
        if len(data) < 4:
            yield FramingError
            return
        if size > limit:
            yield FramingError if data[:4] in HTTP else FrameTooLarge
            return
        if len(data) < 4 + size:
            yield FramingError
            return
        if size:
            yield data[4 : 4 + size]
        data = data[4 + size :]
    yield Signal.END_OF_STREAM


def test_it_is_a_right_codec() -> None:
    check_codec(LengthPrefixCodec, near_misses=near_misses)


@given(limit=st.sampled_from([1, 2, 7, 255, 256, 257, 70_000]), data=st.data())
def test_same_as_naive(limit: int, data: st.DataObject) -> None:
    stream = data.draw(near_misses(limit))
    events = outcome(CodecCase(LengthPrefixCodec, limit), data.draw(chunkings(stream)))
    kinds = [event.type if isinstance(event, Failure) else event for event in events]
    assert kinds == list(naive(stream, limit))
