"""What holds for every frame codec, as functions over a `CodecCase` and given bytes; `check_codec` calls them all.

Three properties (round trip, chunking, garbage) are what one writes first, and they let half of a set of seeded bugs
live; truncation at every byte, the exact limit and the sticky error catch the rest.  This file must never know one
codec from another, and must never draw anything: its callers choose the bytes.  Every complaint is an `AssertionError`
that begins with the name of the property.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, count, pairwise

import attrs

from ..abc import FrameCodec
from ..errors import FrameTooLarge, FramingError, LocalProtocolError
from ..wire.signals import Signal

__all__ = [
    "CodecCase",
    "Event",
    "Failure",
    "check_both_ways",
    "check_chunking",
    "check_early_refusal",
    "check_fresh",
    "check_garbage",
    "check_json_end",
    "check_limit",
    "check_round_trip",
    "check_truncation",
    "cut_at",
    "frames_of",
    "outcome",
]


@attrs.frozen
class Failure:
    """An error as an event: two runs agree when they fail alike, with the same words."""

    type: type[FramingError]
    text: str


Event = bytes | Failure | Signal
"""One answer of `FrameCodec.next_frame`, but for "need data"."""


@attrs.frozen
class CodecCase:
    """One codec under test, at one limit.

    Attributes:
        make: Builds a fresh codec with the given limit of payload bytes: the reader.
        limit: The limit it is tested at.
        peer: Builds a codec of the other side with the given limit: the writer.
        payload_of: Builds a payload of exactly so many bytes; called with sizes around and over the limit.
    """

    make: Callable[[int], FrameCodec]
    limit: int
    peer: Callable[[int], FrameCodec] = attrs.Factory(lambda self: self.make, takes_self=True)
    payload_of: Callable[[int], bytes] = b"p".__mul__

    @property
    def resumes(self) -> bool:
        """Whether the codec says that the frames after `FrameTooLarge` are served."""
        return bool(getattr(self.make(self.limit), "resynchronises", False))


def cut_at(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut ``data`` at the given places, each from 0 to its length; no chunk is empty."""
    places = sorted({0, *cuts, len(data)})
    return [data[start:stop] for start, stop in pairwise(places)]


def frames_of(case: CodecCase, payloads: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Encode payloads one after the other, leaving out those that the codec refuses.

    Every other one goes through ``encode_parts`` where the codec has it, for that is what a connection calls.

    Returns:
        The payloads that were encoded, and their frames.
    """
    codec = case.peer(2 * case.limit + 64)  # the limit is the reader's to enforce
    taken: list[bytes] = []
    frames: list[bytes] = []
    for payload in payloads:
        frame = _encoded(codec, payload, parts=bool(len(frames) % 2))
        if frame is not None:
            taken.append(payload)
            frames.append(frame)
    return taken, frames


def outcome(case: CodecCase, chunks: Sequence[bytes], *, pulls: int | None = None, end: bool = True) -> list[Event]:
    """Return all that a fresh codec gives for the chunks; checks on the way that a final answer stays the answer.

    Args:
        case: The codec.
        chunks: What to feed, piece by piece.
        pulls: Frames to pull after each chunk but the last, after which all are; None for all.
        end: Feed the end of the stream after the last chunk.

    Raises:
        AssertionError: ``feed`` failed, an answer is none, a final answer changed, there is no end of answers, or
            bytes are owed to the peer for ever.
    """
    codec = case.make(case.limit)
    resumes = case.resumes
    most = 2 * sum(map(len, chunks)) + 16
    events: list[Event] = []
    for chunk in chunks:
        _feed(codec, chunk)
        if _pull(codec, events, resumes, most, pulls):
            _check_final(codec, events[-1])
            return events
        _check_owed(codec)
    if end:
        _feed(codec, b"")
    if _pull(codec, events, resumes, most):
        _check_final(codec, events[-1])
    else:
        _require(not end, "truncation", "an ended stream asks for more bytes")
    return events


def check_fresh(case: CodecCase) -> None:
    """A new codec needs data, owes nothing, and takes the end of an empty stream for what it is."""
    codec = case.make(case.limit)
    _require(codec.next_frame() is Signal.NEED_DATA, "fresh", "a new codec does not ask for data")
    _require(codec.bytes_to_send() == b"", "fresh", "a new codec owes the peer bytes")
    events = outcome(case, [])
    _require(events == [Signal.END_OF_STREAM], "fresh", f"an empty stream gives {events}")
    for size in {1, case.limit}:
        payload = case.payload_of(size)
        _require(len(payload) == size, "fresh", f"payload_of({size}) has {len(payload)} bytes")
        _require(frames_of(case, [payload])[0] == [payload], "fresh", f"encode refuses payload_of({size})")


def check_round_trip(case: CodecCase, payloads: Sequence[bytes], chunks: Sequence[bytes]) -> None:
    """What one side encodes the other side reads, however it is cut.

    Args:
        case: The codec.
        payloads: What was encoded, none over the limit.
        chunks: Its frames, cut anywhere.
    """
    events = outcome(case, chunks)
    expected = [*payloads, Signal.END_OF_STREAM]
    _require(events == expected, "round trip", f"{list(chunks)!r} gives {events}, not {expected}")


def check_both_ways(case: CodecCase, payloads: Sequence[bytes], chunks: Sequence[bytes]) -> None:
    """One codec serves both directions of a connection: what it writes between two chunks and what it reads differ not.

    Args:
        case: The codec.
        payloads: What the other side encoded, none over the limit.
        chunks: Its frames, cut anywhere.
    """
    codec = case.make(case.limit)
    events: list[Event] = []
    wanted: list[bytes] = []
    written: list[bytes] = []
    for place, chunk in enumerate(chunks):
        _feed(codec, chunk)
        for payload in payloads[place : place + 1]:
            frame = _encoded(codec, payload, parts=bool(place % 2))
            if frame is not None:
                wanted.append(payload)
                written.append(frame)
        _pull(codec, events, case.resumes, 2 * sum(map(len, chunks)) + 16)
    _require(events == list(payloads), "both ways", f"{list(chunks)!r}, read while writing, gives {events}")
    other = case.peer(2 * case.limit + 64)
    answers: list[Event] = []
    for frame in written:
        _feed(other, frame)
        _pull(other, answers, case.resumes, 2 * sum(map(len, written)) + 16)
    _require(answers == wanted, "both ways", f"{wanted!r}, written while reading, arrives as {answers}")


def check_json_end(case: CodecCase, text: bytes) -> None:
    """A codec with ``json_end`` is not asked to encode JSON: a connection appends that, so both must be the same."""
    codec = case.make(case.limit)
    end: bytes | None = getattr(codec, "json_end", None)
    if end is not None:
        frame = codec.encode(text)
        _require(text + end == frame, "round trip", f"encode makes {frame!r} of {text!r}, but json_end is {end!r}")


def check_chunking(case: CodecCase, stream: bytes, chunks: Sequence[bytes]) -> None:
    """Neither the cuts between chunks nor the moments of pulling change the outcome, errors included."""
    whole = outcome(case, [stream] if stream else [])
    single = [stream[place : place + 1] for place in range(len(stream))]
    for way, events in (
        (f"as {list(chunks)!r}", outcome(case, chunks)),
        (f"as {list(chunks)!r}, pulled at the end", outcome(case, chunks, pulls=0)),
        (f"as {list(chunks)!r}, pulled one by one", outcome(case, chunks, pulls=1)),
        ("byte by byte", outcome(case, single)),
    ):
        _require(events == whole, "chunking", f"{stream!r} gives {whole} at once and {events} {way}")


def check_truncation(case: CodecCase, payloads: Sequence[bytes], frames: Sequence[bytes]) -> None:
    """A stream that ends anywhere gives the frames that were complete, and an error unless it ended between two."""
    stream = b"".join(frames)
    ends = list(accumulate(map(len, frames), initial=0))
    for length in range(len(stream) + 1):
        *delivered, last = outcome(case, [stream[:length]] if length else [])
        complete = list(payloads[: sum(end <= length for end in ends[1:])])
        _require(delivered == complete, "truncation", f"{stream[:length]!r} gives {delivered}, not {complete}")
        if length in ends:
            _require(last is Signal.END_OF_STREAM, "truncation", f"{stream[:length]!r} ends with {last!r}")
        else:
            broken = isinstance(last, Failure) and not issubclass(last.type, FrameTooLarge)
            _require(broken, "truncation", f"{stream[:length]!r} ends with {last!r}, not a FramingError")


def check_limit(case: CodecCase, frame_of: Callable[[bytes], bytes] | None = None) -> None:
    """One below the limit and the limit itself pass, one above is refused in order; at every single cut.

    Args:
        case: The codec.
        frame_of: Frames a payload of any size; by default the writer does.
    """
    around = case.payload_of(1)
    for size in range(max(1, case.limit - 1), case.limit + 2):
        payload = case.payload_of(size)
        payloads = [around, payload, around]
        frames = frames_of(case, payloads)[1] if frame_of is None else list(map(frame_of, payloads))
        _require(len(frames) == len(payloads), "limit", f"the writer refuses a payload of {size} bytes")
        stream = b"".join(frames)
        for place in range(len(stream) + 1):
            events = outcome(case, cut_at(stream, [place]))
            where = f"a payload of {size} bytes at the limit {case.limit}, cut at byte {place},"
            if size <= case.limit:
                _require(events == [*payloads, Signal.END_OF_STREAM], "limit", f"{where} gives {events}")
                continue
            first, *rest = events
            _require(first == around and _is_too_large(rest[:1]), "limit", f"{where} gives {events}")
            expected = [around, Signal.END_OF_STREAM] if case.resumes else []
            _require(rest[1:] == expected, "limit", f"{where} is followed by {rest[1:]}, not {expected}")


def check_early_refusal(case: CodecCase) -> None:
    """A frame over the limit is refused before it is complete, or a peer that never ends it would fill the memory."""
    _, frames = frames_of(case, [case.payload_of(2 * case.limit + 2)])
    _require(len(frames) == 1, "limit", "the writer refuses a payload of twice the limit")
    beginning = frames[0][:-1]
    for chunks in ([beginning], [beginning[place : place + 1] for place in range(len(beginning))]):
        events = outcome(case, chunks, end=False)
        _require(_is_too_large(events), "limit", f"{len(beginning)} bytes of a longer frame give {events}")


def check_garbage(case: CodecCase, chunks: Sequence[bytes]) -> None:
    """Whatever arrives, only the codec's own errors leave it, and no frame is over the limit."""
    for event in outcome(case, chunks):
        if isinstance(event, bytes):
            _require(len(event) <= case.limit, "garbage", f"{list(chunks)!r} gives {event!r}, over {case.limit} bytes")


def _require(true: bool, check: str, complaint: str) -> None:
    if not true:
        raise AssertionError(f"{check}: {complaint}")


def _is_too_large(events: Sequence[Event]) -> bool:
    return bool(events) and isinstance(events[0], Failure) and issubclass(events[0].type, FrameTooLarge)


def _encoded(codec: FrameCodec, payload: bytes, *, parts: bool) -> bytes | None:
    """Encode a payload, with ``encode_parts`` if told so and the codec has it; None where the codec refuses it."""
    encode_parts: Callable[[bytes], tuple[bytes, ...]] | None = getattr(codec, "encode_parts", None)
    try:
        frame = b"".join(encode_parts(payload)) if parts and encode_parts is not None else codec.encode(payload)
    except LocalProtocolError:
        return None
    _require(type(frame) is bytes, "round trip", f"encode returned {type(frame).__name__}, not bytes")
    return frame


def _feed(codec: FrameCodec, data: bytes) -> None:
    try:
        codec.feed(data)
    except Exception as error:
        error.add_note(f"garbage: feed({data!r}) raised it, but feed only stores")
        raise


def _pull(codec: FrameCodec, events: list[Event], resumes: bool, most: int, pulls: int | None = None) -> bool:
    """Append what the codec has, or so many of it; return whether its last answer is final."""
    for _ in count() if pulls is None else range(pulls):
        event = _next(codec)
        if event is Signal.NEED_DATA:
            _require(_next(codec) is Signal.NEED_DATA, "sticky", "asked twice, the codec has a frame after all")
            return False
        events.append(event)
        _require(len(events) <= most, "garbage", f"more answers than bytes: {events[:4]} and so on")
        if event is Signal.END_OF_STREAM:
            return True
        if isinstance(event, Failure) and not (resumes and issubclass(event.type, FrameTooLarge)):
            return True
    return False


def _next(codec: FrameCodec) -> Event:
    try:
        frame = codec.next_frame()
    except FramingError as error:
        return Failure(type(error), str(error))
    except Exception as error:
        error.add_note("garbage: next_frame raised it, and may raise nothing but FramingError")
        raise
    _require(
        type(frame) is bytes or isinstance(frame, Signal),
        "round trip",
        f"next_frame returned {type(frame).__name__}, neither bytes nor a Signal",
    )
    return frame


def _check_owed(codec: FrameCodec) -> None:
    """What the peer is owed is handed out once, or a connection would write it after every chunk."""
    owed = codec.bytes_to_send()
    _require(type(owed) is bytes, "owed", f"bytes_to_send returned {type(owed).__name__}, not bytes")
    again = codec.bytes_to_send()
    _require(again == b"", "owed", f"bytes_to_send gives {owed!r} and then, with nothing read in between, {again!r}")


def _check_final(codec: FrameCodec, last: Event) -> None:
    """Feeding more after the end is refused or ignored; the answer stays."""
    _check_owed(codec)
    for late in (b"late\n", b"\x00\x00\x00\x01x", b""):
        answer = _next(codec)
        _require(answer == last, "sticky", f"after {last!r} comes {answer!r}")
        try:
            _feed(codec, late)
        except LocalProtocolError:
            continue
    answer = _next(codec)
    _require(answer == last, "sticky", f"after {last!r} and more bytes comes {answer!r}")
