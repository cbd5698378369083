"""The size of a message is known from its headers, wherever the chunks are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.websocket_peer import BINARY, PING, TEXT, frame
from trio_mcp_transport.transports.websocket_meter import FRAGMENTS, FRAMES_AT_ONCE, MessageMeter

LIMIT = 200


def first_over(stream: bytes, cuts: list[int], *, masked: bool = True, limit: int = LIMIT) -> int | None:
    """Return how many bytes pass before the frame that is too large, or None."""
    meter, passed = MessageMeter(limit, masked=masked), 0
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, stop in pairwise(edges):
        good = meter.measure(stream[start:stop])
        if good is not None:
            return passed + good
        passed += stop - start
    return None


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 199, 200])
def test_up_to_the_limit_everything_passes(size: int, masked: bool) -> None:
    stream = frame(TEXT, bytes(size), masked=masked) * 3 + frame(PING, b"x" * 125, masked=masked)
    assert first_over(stream, [], masked=masked) is None


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_one_byte_over_the_limit_does_not(opcode: int, masked: bool) -> None:
    before = frame(TEXT, b"abc", masked=masked)
    stream = before + frame(opcode, bytes(LIMIT + 1), masked=masked)
    assert first_over(stream, [], masked=masked) == len(before)


def test_a_length_is_believed_before_its_payload_comes() -> None:
    assert first_over(frame(TEXT, b"", length=1 << 62)[:10], []) == 0


def test_fragments_count_together_and_pings_between_them_do_not() -> None:
    first = frame(TEXT, bytes(150), fin=False) + frame(PING, bytes(125))
    assert first_over(first + frame(0, bytes(50)) + frame(TEXT, bytes(200)), []) is None
    assert first_over(first + frame(0, bytes(51)), []) == len(first)


@given(st.lists(st.integers(0, 400), max_size=5), st.lists(st.integers(0, 2000), max_size=12))
def test_the_cuts_never_change_the_answer(sizes: list[int], cuts: list[int]) -> None:
    stream = b"".join(frame(TEXT, bytes(size)) for size in sizes)
    whole = first_over(stream, [])
    cut = first_over(stream, cuts)
    # A header that was cut is partly through before it can be judged.
    assert cut == whole or (whole is not None and cut is not None and whole < cut < whole + 14)
    assert first_over(stream, list(range(len(stream)))) is None if whole is None else cut is not None


def test_only_so_many_frames_go_to_the_library_in_one_turn() -> None:
    tiny = frame(PING)
    stream = tiny * (2 * FRAMES_AT_ONCE + 3) + frame(TEXT, bytes(LIMIT + 1))
    meter, turns = MessageMeter(LIMIT, masked=True), []
    meter.measure(tiny[:1])  # half a header of an earlier chunk is no frame of its own
    stream = stream[1:]
    while meter.excess is None:
        good = meter.measure(stream)
        assert good is not None
        turns.append(good)
        stream = stream[good:]
    full = FRAMES_AT_ONCE * len(tiny)
    assert turns == [full - 1, full, 3 * len(tiny)]


@pytest.mark.parametrize("payload", [b"", b"x"])
def test_fragments_are_counted_however_small(payload: bytes) -> None:
    meter = MessageMeter(FRAGMENTS * 2, masked=True)

    def feed(stream: bytes) -> None:
        while (good := meter.measure(stream)) is not None and meter.excess is None:
            stream = stream[good:]

    most = frame(TEXT, payload, fin=False) + frame(0, payload, fin=False) * (FRAGMENTS - 2)
    feed((most + frame(0, payload)) * 2 + most + frame(0, payload, fin=False))
    assert meter.excess is None
    feed(frame(0, payload))
    assert meter.excess is not None and "fragments" in meter.excess


def test_behind_a_wrong_mask_nothing_is_measured() -> None:
    wrong = frame(TEXT, b"", masked=False) + b"\xff" * 20
    assert first_over(wrong, []) is None
    assert first_over(wrong, list(range(20))) is None
