"""Draw the examples of `check_codec` with Hypothesis, and run every check of `codec_checks` on them.

Importing this module imports Hypothesis; only `check_codec` does.  Must never judge a codec by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..abc import FrameCodec
from ..wire.messages import Message, encode
from . import codec_checks
from .codec_checks import CodecCase, frames_of
from .strategies import chunkings, damaged, garbage, messages

__all__ = ["run_checks"]

_ROOM = 16 * 1024
"""Bytes; a limit that every drawn message is far below, and that a codec with a length of two bytes can have."""

_SHORT = 20
"""Bytes of a payload that is cut at every byte, for that takes quadratic time."""


def run_checks(
    make: Callable[[int], FrameCodec],
    *,
    peer: Callable[[int], FrameCodec],
    payloads: Callable[[int], st.SearchStrategy[bytes]] | None,
    payload_of: Callable[[int], bytes],
    near_misses: Callable[[int], st.SearchStrategy[bytes]] | None,
    limits: Sequence[int],
    max_examples: int | None,
) -> None:
    """Run all checks; the arguments are those of `check_codec`.

    Raises:
        AssertionError: A property does not hold.
    """
    quiet = settings(
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    if max_examples is not None:
        quiet = settings(quiet, max_examples=max_examples)
    for limit in limits:
        case = CodecCase(make, limit, peer, payload_of)
        codec_checks.check_fresh(case)
        codec_checks.check_limit(case)
        codec_checks.check_early_refusal(case)
        drawn = payloads(limit) if payloads is not None else garbage(limit)
        _check_frames(case, drawn, quiet)
        _check_streams(case, drawn, near_misses(limit) if near_misses is not None else st.nothing(), quiet)
    _check_messages(CodecCase(make, _ROOM, peer, payload_of), quiet)


def _check_frames(case: CodecCase, payloads: st.SearchStrategy[bytes], quiet: settings) -> None:
    """Frames as the writer makes them."""
    payloads = payloads.filter(lambda payload: len(payload) <= case.limit)

    @quiet
    @given(st.lists(payloads, max_size=8), st.data())
    def round_trip(drawn: list[bytes], data: st.DataObject) -> None:
        taken, frames = frames_of(case, drawn)
        chunks = data.draw(chunkings(b"".join(frames)), "chunks")
        codec_checks.check_round_trip(case, taken, chunks)
        codec_checks.check_both_ways(case, taken, chunks)

    @quiet
    @given(st.lists(payloads.filter(lambda payload: len(payload) <= _SHORT), min_size=1, max_size=4))
    def truncation(drawn: list[bytes]) -> None:
        codec_checks.check_truncation(case, *frames_of(case, drawn))

    round_trip()
    truncation()


def _check_streams(
    case: CodecCase, payloads: st.SearchStrategy[bytes], near_misses: st.SearchStrategy[bytes], quiet: settings
) -> None:
    """Streams that nobody framed, or not quite."""
    framed = st.lists(payloads, max_size=4).map(lambda drawn: b"".join(frames_of(case, drawn)[1]))

    @quiet
    @given(near_misses | framed.flatmap(damaged) | garbage(), st.data())
    def chunking(stream: bytes, data: st.DataObject) -> None:
        chunks = data.draw(chunkings(stream), "chunks")
        codec_checks.check_garbage(case, chunks)
        codec_checks.check_chunking(case, stream, chunks)

    chunking()


def _check_messages(case: CodecCase, quiet: settings) -> None:
    """What connections send in earnest, none of which a codec may refuse."""

    @quiet
    @given(st.lists(messages(), max_size=4), st.data())
    def round_trip(drawn: list[Message], data: st.DataObject) -> None:
        texts = list(map(encode, drawn))
        taken, frames = frames_of(case, texts)
        if taken != texts:
            raise AssertionError("round trip: encode refuses a JSON-RPC message")
        for text in texts:
            codec_checks.check_json_end(case, text)
        codec_checks.check_round_trip(case, texts, data.draw(chunkings(b"".join(frames)), "chunks"))

    round_trip()
