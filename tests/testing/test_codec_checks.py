"""The checks one by one, on bytes of the test's choice; drawn ones are in `test_check_codec`."""

from __future__ import annotations

import pytest

from tests.testing.toy_codec import ToyCodec
from trio_mcp_transport.errors import FrameTooLarge, FramingError, LocalProtocolError
from trio_mcp_transport.testing.codec_checks import (
    CodecCase,
    Failure,
    check_both_ways,
    check_chunking,
    check_early_refusal,
    check_fresh,
    check_garbage,
    check_json_end,
    check_limit,
    check_round_trip,
    check_truncation,
    cut_at,
    frames_of,
    outcome,
)
from trio_mcp_transport.wire.newline import NewlineCodec
from trio_mcp_transport.wire.signals import Signal

TOY = CodecCase(ToyCodec, 5)


def test_cut_at() -> None:
    assert cut_at(b"abcdef", [2, 4, 4, 0, 6]) == [b"ab", b"cd", b"ef"]
    assert cut_at(b"", []) == []


def test_a_case() -> None:
    assert TOY.peer is ToyCodec
    assert TOY.payload_of(3) == b"ppp"
    assert not TOY.resumes
    assert CodecCase(NewlineCodec, 5).resumes


def test_frames_of_leaves_out_what_is_refused() -> None:
    case = CodecCase(NewlineCodec, 5)
    assert frames_of(case, [b"a", b"\n", b"b", b"", b"c"]) == ([b"a", b"b", b"c"], [b"a\n", b"b\n", b"c\n"])


def test_outcome() -> None:
    assert outcome(TOY, [b"1:a2", b":bc"]) == [b"a", b"bc", Signal.END_OF_STREAM]
    assert outcome(TOY, [b"1:a2", b":bc"], end=False) == [b"a", b"bc"]
    assert outcome(TOY, [b"1:a1:b1:c", b"1:d"], pulls=0) == [b"a", b"b", b"c", b"d", Signal.END_OF_STREAM]
    assert outcome(TOY, [b"1:a1:b1:c", b"1:d"], pulls=1) == [b"a", b"b", b"c", b"d", Signal.END_OF_STREAM]
    assert outcome(TOY, [b"1:a6:bcdefg1:c"]) == [b"a", Failure(FrameTooLarge, "6 bytes")]
    assert outcome(TOY, [b"1:a3:b"]) == [b"a", Failure(FramingError, "the stream ended inside a frame")]
    late = outcome(CodecCase(NewlineCodec, 2), [b"aaa\nb\n"])
    assert late == [Failure(FrameTooLarge, "a line is over the limit of 2 bytes"), b"b", Signal.END_OF_STREAM]


def test_a_right_codec_has_no_complaints() -> None:
    check_fresh(TOY)
    check_limit(TOY)
    check_early_refusal(TOY)
    check_round_trip(TOY, [b"a", b""], [b"1", b":a0:"])
    check_both_ways(TOY, [b"a", b""], [b"1", b":a0:"])
    check_truncation(TOY, [b"a", b"bcd"], [b"1:a", b"3:bcd"])
    check_chunking(TOY, b"1:axx", [b"1:a", b"xx"])
    check_garbage(TOY, [b"\xff", b"\x00"])


def test_an_end_for_json_has_to_be_what_encode_appends() -> None:
    class Spaced(NewlineCodec):
        def encode(self, payload: bytes) -> bytes:
            return payload + b" \n"

    check_json_end(TOY, b"{}")
    check_json_end(CodecCase(NewlineCodec, 5), b"{}")
    with pytest.raises(AssertionError, match=r"^round trip: encode makes .* but json_end is"):
        check_json_end(CodecCase(Spaced, 5), b"{}")


def test_complaints_show_the_bytes() -> None:
    with pytest.raises(AssertionError, match=r"^round trip: \[b'1:a'\] gives \[b'a', .*\], not \[b'b'"):
        check_round_trip(TOY, [b"b"], [b"1:a"])
    with pytest.raises(AssertionError, match=r"^truncation: b'1:a' gives \[b'a'\], not \[b'b'\]"):
        check_truncation(TOY, [b"b"], [b"1:a"])
    with pytest.raises(AssertionError, match=r"^limit: a payload of 4 bytes at the limit 5, cut at byte 0, gives"):
        check_limit(TOY, lambda payload: payload + b"\n")


def test_a_writer_that_refuses_is_named() -> None:
    class Shy(ToyCodec):
        def encode(self, payload: bytes) -> bytes:
            if len(payload) > 5:
                raise LocalProtocolError("too long")
            return super().encode(payload)

    with pytest.raises(AssertionError, match=r"^limit: the writer refuses a payload of 6 bytes$"):
        check_limit(CodecCase(Shy, 5))
    with pytest.raises(AssertionError, match=r"^limit: the writer refuses a payload of twice the limit$"):
        check_early_refusal(CodecCase(Shy, 5))
