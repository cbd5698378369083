"""What holds for every frame codec, as functions over a `CodecCase` and drawn bytes.

Three properties (round trip, chunking, garbage) are what one writes first, and they let half of a set of seeded bugs
live; truncation at every byte, the exact limit and the sticky error catch the rest.  This file must never know one
codec from another: what differs stands in the case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise

import attrs
from hypothesis import strategies as st

from trio_mcp_transport.abc import FrameCodec
from trio_mcp_transport.errors import FrameTooLarge, FramingError, LocalProtocolError
from trio_mcp_transport.wire.signals import Signal


@attrs.frozen
class Failure:
    """An error as an event: two codecs agree when they fail alike, with the same words."""

    type: type[FramingError]
    text: str


Event = bytes | Failure | Signal


@attrs.frozen
class CodecCase:
    """One codec under test."""

    make: Callable[[], FrameCodec]
    """Build a fresh codec with the limit below."""
    limit: int
    """The longest payload that codec accepts, in bytes."""
    payloads: st.SearchStrategy[bytes]
    """Payloads that it can frame, none over the limit."""
    payload_of: Callable[[int], bytes]
    """Build a payload of exactly so many bytes; called with the limit and its neighbours."""
    resumes: bool = False
    """Whether the frames after `FrameTooLarge` are served, as newline framing does."""


def cuts_of(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """Draw a way to cut ``data`` into chunks, none empty."""
    return st.lists(st.integers(0, len(data)), max_size=12).map(lambda cuts: cut_at(data, cuts))


def cut_at(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut ``data`` at the given places."""
    places = sorted({0, *cuts, len(data)})
    return [data[start:stop] for start, stop in pairwise(places)]


def outcome(case: CodecCase, chunks: Sequence[bytes], *, eager: bool = True, end: bool = True) -> list[Event]:
    """Return all that a fresh codec gives for the chunks; checks on the way that a final answer stays the answer.

    Args:
        case: The codec.
        chunks: What to feed, piece by piece.
        eager: Pull all frames after each chunk, not only after the last.
        end: Feed the end of the stream after the last chunk.
    """
    codec = case.make()
    events: list[Event] = []
    for chunk in chunks:
        codec.feed(chunk)
        if eager and _pull(case, codec, events):
            _check_final(codec, events[-1])
            return events
    if end:
        codec.feed(b"")
    if _pull(case, codec, events):
        _check_final(codec, events[-1])
    else:
        assert not end, "an ended stream asks for more bytes"
    return events


def _pull(case: CodecCase, codec: FrameCodec, events: list[Event]) -> bool:
    """Append what the codec has; return whether its last answer is final."""
    while True:
        event = _next(codec)
        if event is Signal.NEED_DATA:
            assert codec.next_frame() is Signal.NEED_DATA
            return False
        events.append(event)
        if event is Signal.END_OF_STREAM:
            return True
        if isinstance(event, Failure) and not (case.resumes and event.type is FrameTooLarge):
            return True


def _next(codec: FrameCodec) -> Event:
    try:
        frame = codec.next_frame()
    except FramingError as error:
        return Failure(type(error), str(error))
    assert type(frame) is bytes or isinstance(frame, Signal)
    return frame


def _check_final(codec: FrameCodec, last: Event) -> None:
    for _ in range(3):
        assert _next(codec) == last, "the final answer changed"
        try:
            codec.feed(b"late\n")
        except LocalProtocolError:
            assert _next(codec) == last, "the final answer changed"
    codec.feed(b"")
    assert _next(codec) == last, "the final answer changed"


def check_round_trip(case: CodecCase, payloads: Sequence[bytes], data: st.DataObject) -> None:
    """What one side encodes the other side reads, however it is cut."""
    codec = case.make()
    stream = b"".join(map(codec.encode, payloads))
    assert codec.bytes_to_send() == b""
    assert outcome(case, data.draw(cuts_of(stream))) == [*payloads, Signal.END_OF_STREAM]


def check_chunking(case: CodecCase, stream: bytes, chunks: Sequence[bytes]) -> None:
    """Neither the cuts between chunks nor the moments of pulling change the outcome, errors included."""
    whole = outcome(case, [stream] if stream else [])
    assert outcome(case, chunks) == whole
    assert outcome(case, chunks, eager=False) == whole
    assert outcome(case, [stream[i : i + 1] for i in range(len(stream))]) == whole


def check_truncation(case: CodecCase, payloads: Sequence[bytes]) -> None:
    """A stream that ends anywhere gives the frames that were complete, and an error unless it ended between two."""
    codec = case.make()
    frames = [codec.encode(payload) for payload in payloads]
    stream = b"".join(frames)
    ends = list(accumulate(map(len, frames), initial=0))
    for length in range(len(stream) + 1):
        *delivered, last = outcome(case, [stream[:length]] if length else [])
        complete = sum(end <= length for end in ends[1:])
        assert delivered == list(payloads[:complete]), f"cut at byte {length}"
        if length in ends:
            assert last is Signal.END_OF_STREAM, f"cut at byte {length}"
        else:
            assert isinstance(last, Failure) and last.type is FramingError, f"cut at byte {length}"


def check_limit(case: CodecCase, frame_of: Callable[[bytes], bytes], around: bytes) -> None:
    """One below the limit and the limit itself pass, one above is refused in order; at every single cut.

    Args:
        case: The codec.
        frame_of: Frames a payload of any size; a parameter because a codec may refuse to encode one over its limit.
        around: A legal payload sent before and after.
    """
    for size in (case.limit - 1, case.limit, case.limit + 1):
        if not size:
            continue
        payload = case.payload_of(size)
        stream = frame_of(around) + frame_of(payload) + frame_of(around)
        for place in range(len(stream) + 1):
            events = outcome(case, cut_at(stream, [place]))
            if size <= case.limit:
                assert events == [around, payload, around, Signal.END_OF_STREAM], (size, place)
                continue
            first, refused, *rest = events
            assert first == around, (size, place)
            assert isinstance(refused, Failure) and refused.type is FrameTooLarge, (size, place)
            assert rest == ([around, Signal.END_OF_STREAM] if case.resumes else []), (size, place)


def check_garbage(case: CodecCase, chunks: Sequence[bytes]) -> None:
    """Whatever arrives, only the codec's own errors leave it, and no frame is empty or over the limit."""
    events = outcome(case, chunks)
    assert len(events) <= sum(map(len, chunks)) + 2
    for event in events:
        if isinstance(event, bytes):
            assert 0 < len(event) <= case.limit
