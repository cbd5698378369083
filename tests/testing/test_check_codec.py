"""The kit that certifies codecs: right ones pass, and for each property a wrong one does not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.testing.toy_codec import ToyCodec
from trio_mcp_transport.errors import ConfigError, FrameTooLarge, FramingError, LocalProtocolError
from trio_mcp_transport.testing import check_codec
from trio_mcp_transport.wire.content_length import ContentLengthCodec
from trio_mcp_transport.wire.length_prefix import LengthPrefixCodec
from trio_mcp_transport.wire.newline import NewlineCodec
from trio_mcp_transport.wire.signals import Signal


def near_misses(limit: int) -> st.SearchStrategy[bytes]:
    """Lengths a little off, before a payload that is long enough for the right ones."""
    over = b"0%d" % (limit + 1)
    lengths = st.sampled_from(
        [over, b"", b"+1", b"-1", b" 1", b"1 ", b"01", b"1_0", b"0x1", b"1.0", b"\xd9\xa1", b"999999"]
    )
    return st.lists(lengths.map(lambda length: length + b":" + b"p" * (limit + 1)), max_size=3).map(b"".join)


class StartsAtTheEnd(ToyCodec):
    def wait(self, inside: bool) -> bytes | Signal:
        return super().wait(inside) if inside else Signal.END_OF_STREAM


class Greets(ToyCodec):
    def bytes_to_send(self) -> bytes:
        return b"hello"


class RefusesTheLimit(ToyCodec):
    def encode(self, payload: bytes) -> bytes:
        if len(payload) == self.limit // 2 - 32:  # writers are made with room
            raise LocalProtocolError("too long")
        return super().encode(payload)


class LosesTheFifth(ToyCodec):
    taken = 0

    def take(self, start: int, size: int) -> bytes:
        self.taken += 1
        return super().take(start, size)[: size if self.taken < 5 else 0]


class OtherParts(ToyCodec):
    def encode_parts(self, payload: bytes) -> tuple[bytes, ...]:
        return b"%d:" % (len(payload) + 1), payload


class EncodesABuffer(ToyCodec):
    def encode(self, payload: bytes) -> bytes:
        return bytearray(super().encode(payload))  # type: ignore[return-value]


class GivesABuffer(ToyCodec):
    def take(self, start: int, size: int) -> bytes:
        return bytearray(super().take(start, size))  # type: ignore[return-value]


class OnlyAscii(ToyCodec):
    def encode(self, payload: bytes) -> bytes:
        if not payload.isascii():
            raise LocalProtocolError("no ASCII")
        return super().encode(payload)


class NeedsTheHeaderInOneChunk(ToyCodec):
    def wait(self, inside: bool) -> bytes | Signal:
        if inside and b":" not in self.buffer and not self.ended:
            raise FramingError("no length")
        return super().wait(inside)


class CountsInItsErrors(ToyCodec):
    def check_digits(self, digits: bytes, complete: bool) -> None:
        try:
            super().check_digits(digits, complete)
        except FramingError:
            raise FramingError(f"no length in {len(self.buffer)} bytes") from None


class ForgetsWhenPulledLate(ToyCodec):
    def feed(self, data: bytes) -> None:
        if data and b":" in self.buffer:
            self.buffer = self.buffer[self.buffer.find(b":") + 1 :] if self.buffer.startswith(b"0:") else self.buffer
        super().feed(data)


class DeliversHalf(ToyCodec):
    def wait(self, inside: bool) -> bytes | Signal:
        if self.ended and inside and b":" in self.buffer:
            frame = bytes(self.buffer)
            self.buffer.clear()
            return frame
        return super().wait(inside)


class DropsHalf(ToyCodec):
    def wait(self, inside: bool) -> bytes | Signal:
        return super().wait(inside and b":" in self.buffer)


class WaitsForEver(ToyCodec):
    def wait(self, inside: bool) -> bytes | Signal:
        return Signal.NEED_DATA if inside else super().wait(inside)


class EndsTooLarge(ToyCodec):
    def wait(self, inside: bool) -> bytes | Signal:
        if self.ended and inside:
            raise FrameTooLarge("half", limit=self.limit)
        return super().wait(inside)


class OneTooMany(ToyCodec):
    def check_size(self, size: int) -> None:
        super().check_size(size - 1)


class OneTooFew(ToyCodec):
    def check_size(self, size: int) -> None:
        super().check_size(size + 1)


class NoLimit(ToyCodec):
    def check_size(self, size: int) -> None:
        return


class LimitAfterStoring(ToyCodec):
    def check_size(self, size: int) -> None:
        if len(self.buffer) > size + len(str(size)):
            super().check_size(size)


class WrongError(ToyCodec):
    def check_size(self, size: int) -> None:
        if size > self.limit:
            raise FramingError("too large")


class ClaimsToGoOn(ToyCodec):
    resynchronises = True


class ClaimsToGoOnAndEnds(ClaimsToGoOn):
    def again(self, failure: FramingError) -> bytes | Signal:
        return Signal.END_OF_STREAM if self.ended else Signal.NEED_DATA


class GoesOn(ToyCodec):
    """Serves the next frame after an error that it says is final."""

    def again(self, failure: FramingError) -> bytes | Signal:
        return Signal.NEED_DATA


class EndsAfterItsError(ToyCodec):
    def again(self, failure: FramingError) -> bytes | Signal:
        if self.ended:
            return Signal.END_OF_STREAM
        raise failure.twin()


class ChangesItsError(ToyCodec):
    def again(self, failure: FramingError) -> bytes | Signal:
        raise FramingError("closed")


class ReopensAfterTheEnd(ToyCodec):
    def feed(self, data: bytes) -> None:
        if data and self.failure is None:
            self.buffer += data
        else:
            self.ended = True


class AnswersTwice(ToyCodec):
    """Has a frame after it asked for data."""

    asked = False

    def parse(self) -> bytes | Signal:
        if not self.asked and len(self.buffer) > 3:
            self.asked = True
            return Signal.NEED_DATA
        return super().parse()


class TrustsInt(ToyCodec):
    def check_digits(self, digits: bytes, complete: bool) -> None:
        if len(digits) > 6:
            raise FramingError("no length")


class ParsesInFeed(ToyCodec):
    def feed(self, data: bytes) -> None:
        super().feed(data)
        if b"x" in data:
            raise FramingError("no length")


class NeverMovesOn(ToyCodec):
    def take(self, start: int, size: int) -> bytes:
        return bytes(self.buffer[start : start + size])


class LimitForgottenBehindZeros(ToyCodec):
    def check_size(self, size: int) -> None:
        if not self.buffer.startswith(b"0"):
            super().check_size(size)


class WritingForgetsWhatIsHalfRead(ToyCodec):
    def encode(self, payload: bytes) -> bytes:
        self.buffer.clear()
        return super().encode(payload)


class ReadingSpoilsWhatIsWritten(ToyCodec):
    def encode(self, payload: bytes) -> bytes:
        return super().encode(payload[1:] if self.buffer else payload)


class OwesForEver(ToyCodec):
    def bytes_to_send(self) -> bytes:
        return b"pong" if self.buffer else b""


class OwesABuffer(ToyCodec):
    def bytes_to_send(self) -> bytes:
        return bytearray(b"pong" if self.buffer else b"")  # type: ignore[return-value]


class OwesOnce(ToyCodec):
    """A right one: it has something to say about each first byte, once."""

    owed = b""

    def feed(self, data: bytes) -> None:
        super().feed(data)
        self.owed = b"pong" if data else b""

    def bytes_to_send(self) -> bytes:
        owed, self.owed = self.owed, b""
        return owed


class InheritsAnEnd(NewlineCodec):
    """Its frames are others than those of its base, and a connection would not notice."""

    def encode_parts(self, payload: bytes) -> tuple[bytes, ...]:
        return (*super().encode_parts(payload)[:-1], b"\r\n")


class BadSum(FramingError):
    """An error of the codec's own."""


class HasItsOwnErrors(ToyCodec):
    def next_frame(self) -> bytes | Signal:
        try:
            return super().next_frame()
        except FrameTooLarge:
            raise
        except FramingError as error:
            raise BadSum(str(error)) from error


class TwoBytesOfLength(LengthPrefixCodec):
    def __init__(self, limit: int) -> None:
        if limit > 65535:
            raise ConfigError("two bytes hold 65,535 at most")
        super().__init__(limit)


@pytest.mark.parametrize(
    "codec",
    [
        ToyCodec,
        NewlineCodec,
        LengthPrefixCodec,
        ContentLengthCodec,
        OwesOnce,
        HasItsOwnErrors,
        TwoBytesOfLength,
    ],
)
def test_right_codecs_pass(codec: Any) -> None:
    check_codec(codec, max_examples=30)


async def test_in_an_async_test() -> None:
    check_codec(ToyCodec, max_examples=5)


def test_near_misses_that_are_refused_pass() -> None:
    check_codec(ToyCodec, near_misses=near_misses)


@pytest.mark.parametrize(
    ("codec", "complaint"),
    [
        (StartsAtTheEnd, "^fresh: a new codec does not ask"),
        (Greets, "^fresh: a new codec owes"),
        (RefusesTheLimit, "^fresh: encode refuses payload_of"),
        (LosesTheFifth, "^round trip: .* gives"),
        (OtherParts, "^(round trip|limit): "),
        (EncodesABuffer, "^round trip: encode returned bytearray"),
        (GivesABuffer, "^round trip: next_frame returned bytearray"),
        (OnlyAscii, "^round trip: encode refuses a JSON-RPC message"),
        (NeedsTheHeaderInOneChunk, "^(round trip|limit): "),
        (CountsInItsErrors, "^chunking: "),
        (ForgetsWhenPulledLate, "^chunking: .*pulled at the end"),
        (DeliversHalf, "^truncation: .* gives"),
        (DropsHalf, "^truncation: .* not a FramingError"),
        (WaitsForEver, "^truncation: an ended stream asks for more"),
        (EndsTooLarge, "^truncation: .* not a FramingError"),
        (OneTooMany, "^limit: "),
        (OneTooFew, "^limit: "),
        (NoLimit, "^limit: "),
        (LimitAfterStoring, "^limit: .* of a longer frame"),
        (WrongError, "^limit: "),
        (ClaimsToGoOn, "^garbage: more answers than bytes"),
        (ClaimsToGoOnAndEnds, "^limit: .* is followed by"),
        (GoesOn, "^sticky: "),
        (EndsAfterItsError, "^sticky: "),
        (ChangesItsError, "^sticky: "),
        (ReopensAfterTheEnd, "^sticky: "),
        (AnswersTwice, "^sticky: asked twice"),
        (NeverMovesOn, "^garbage: more answers than bytes"),
        (WritingForgetsWhatIsHalfRead, "^both ways: .* read while writing"),
        (ReadingSpoilsWhatIsWritten, "^both ways: .* written while reading"),
        (InheritsAnEnd, "^round trip: encode makes .* but json_end is"),
        (OwesForEver, "^owed: bytes_to_send gives b'pong' and then"),
        (OwesABuffer, "^(owed: bytes_to_send returned bytearray|fresh: )"),
    ],
)
def test_a_wrong_codec_fails(codec: Any, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_codec(codec)


def test_foreign_exceptions_leave_with_a_note() -> None:
    with pytest.raises(ValueError, match="invalid literal") as caught:
        check_codec(TrustsInt, near_misses=near_misses)
    assert "garbage: next_frame raised it, and may raise nothing but FramingError" in caught.value.__notes__


def test_a_limit_forgotten_off_the_beaten_track() -> None:
    with pytest.raises(AssertionError, match=r"^garbage: .* over . bytes"):
        check_codec(LimitForgottenBehindZeros, near_misses=near_misses)


def test_feed_only_stores() -> None:
    with pytest.raises(FramingError) as caught:
        check_codec(ParsesInFeed)
    assert any("feed only stores" in note for note in caught.value.__notes__)


class AcceptsSigns(ToyCodec):
    """Wrong only where its grammar ends, and only when a chunk ends there too."""

    def check_digits(self, digits: bytes, complete: bool) -> None:
        super().check_digits(digits.removeprefix(b"+") if complete else digits, complete)


def test_near_misses_find_what_damage_does_not() -> None:
    check_codec(
        AcceptsSigns, payload_of=b"p".__mul__, payloads=lambda limit: st.just(b"p"), limits=[1], max_examples=10
    )
    with pytest.raises(AssertionError, match=r"^chunking: "):
        check_codec(AcceptsSigns, near_misses=near_misses)


class Reader(ToyCodec):
    def encode(self, payload: bytes) -> bytes:
        raise LocalProtocolError("the reader writes nothing")


def test_the_two_sides_may_differ() -> None:
    check_codec(Reader, peer=ToyCodec, max_examples=10)


class HexCodec(ToyCodec):
    """Takes lower-case hexadecimal digits only."""

    def encode(self, payload: bytes) -> bytes:
        if payload.strip(b"0123456789abcdef"):
            raise LocalProtocolError("no hexadecimal digits")
        return super().encode(payload)


def test_payloads_may_be_the_callers() -> None:
    digits = st.sampled_from(list(b"09af"))
    with pytest.raises(AssertionError, match=r"^fresh: encode refuses payload_of\(1\)"):
        check_codec(HexCodec)
    with pytest.raises(AssertionError, match=r"^round trip: encode refuses a JSON-RPC message"):
        check_codec(
            HexCodec,
            payloads=lambda limit: st.lists(digits, max_size=limit).map(bytes),
            payload_of=b"f".__mul__,
            max_examples=5,
        )


def test_a_payload_builder_is_held_to_its_word() -> None:
    with pytest.raises(AssertionError, match=r"^fresh: payload_of\(1\) has 2 bytes"):
        check_codec(ToyCodec, payload_of=lambda size: b"p" * size * 2)


def test_importing_the_kit_does_not_import_hypothesis() -> None:
    code = (
        "import sys, trio_mcp_transport.testing as kit; print(callable(kit.check_codec), 'hypothesis' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "False"]
