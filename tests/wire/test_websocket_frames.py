"""The reader of WebSocket frames by itself: what it hands back, and what it keeps."""

from __future__ import annotations

import pytest

from trio_mcp_transport.errors import FrameTooLarge
from trio_mcp_transport.wire.websocket_frames import (
    ANY_STARTS,
    CONTINUATIONS,
    TEXT_STARTS,
    FrameReader,
    UnexpectedHeader,
    data_header,
    is_utf8,
    text_frames,
)


def reader_of(*, masked: bool = False, limit: int = 10) -> FrameReader:
    return FrameReader(masked=masked, limit=limit, expected=TEXT_STARTS, unmask=lambda payload, key: key + payload)


def test_frames_one_after_the_other() -> None:
    reader = reader_of()
    assert reader.read() is None
    reader.feed(b"\x81\x02hi\x89\x00\x01\x01")
    assert (reader.read(), reader.first) == (b"hi", 0x81)
    assert (reader.read(), reader.first) == (b"", 0x89)
    assert reader.read() is None
    reader.feed(b"x")
    assert (reader.read(), reader.first) == (b"x", 0x01)


def test_the_key_is_passed_on() -> None:
    reader = reader_of(masked=True)
    reader.feed(b"\x81\x82keyshi")
    assert reader.read() == b"keyshi"


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (b"\x80\x00", b"\x80\x00"),
        (b"\x82\x7e\x01\x00", b"\x82\x7e"),
        (b"\x81\x80", b"\x81\x80"),
        (b"\x89\x7e", b"\x89\x7e"),
        (b"\x81\x7e\x00\x7d", b"\x81\x7e\x00\x7d"),
        (b"\x81\x7f" + bytes(6) + b"\xff\xff", b"\x81\x7f" + bytes(6) + b"\xff\xff"),
        (b"\x81\x7f\x80" + bytes(7), b"\x81\x7f\x80" + bytes(7)),
    ],
)
def test_an_unexpected_header_is_handed_back(header: bytes, fault: bytes) -> None:
    reader = reader_of()
    reader.feed(header)
    with pytest.raises(UnexpectedHeader) as info:
        reader.read()
    assert info.value.header == fault


def test_what_is_held_counts() -> None:
    reader = reader_of()
    reader.held = 8
    reader.feed(b"\x81\x02hi\x89\x05hello")
    assert reader.read() == b"hi"
    assert reader.read() == b"hello"
    reader.held = 9
    reader.feed(b"\x81\x02")
    with pytest.raises(FrameTooLarge) as info:
        reader.read()
    assert info.value.limit == 10


def test_whether_a_frame_was_begun() -> None:
    reader = reader_of()
    for byte in b"\x81\x02h":
        reader.feed(bytes([byte]))
        assert reader.read() is None
        assert reader.begun
    reader.feed(b"i")
    assert reader.read() == b"hi"
    assert reader.read() is None
    assert not reader.begun


def test_clearing_forgets_everything() -> None:
    reader = reader_of()
    reader.feed(b"\x81\x05he")
    assert reader.read() is None
    reader.feed(b"l")
    reader.held = 3
    reader.clear()
    assert (reader.begun, reader.held) == (False, 0)
    reader.feed(b"\x81\x02hi")
    assert reader.read() == b"hi"


def test_what_may_come_when() -> None:
    controls = {0x88, 0x89, 0x8A}
    assert controls | {0x00, 0x80} == CONTINUATIONS
    assert controls | {0x01, 0x81} == TEXT_STARTS
    assert controls | {0x01, 0x81, 0x02, 0x82} == ANY_STARTS


@pytest.mark.parametrize(
    ("size", "masked", "header"),
    [
        (0, False, b"\x81\x00"),
        (125, True, b"\x81\xfd"),
        (126, False, b"\x81\x7e\x00\x7e"),
        (0x1234, True, b"\x81\xfe\x12\x34"),
        (0xFFFF, False, b"\x81\x7e\xff\xff"),
        (0x10000, False, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        (0x0123456789, True, b"\x81\xff\x00\x00\x00\x01\x23\x45\x67\x89"),
    ],
)
def test_headers(size: int, masked: bool, header: bytes) -> None:
    assert data_header(0x81, size, masked=masked) == header


@pytest.mark.parametrize("window", [64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1])
def test_utf8_across_windows(window: int) -> None:
    assert is_utf8(b"x" * window)
    assert is_utf8(b"x" * (window - 1) + "ä".encode() + b"y" * window)
    assert not is_utf8(b"x" * (window - 1) + b"\xc3")
    assert not is_utf8(b"x" * (window - 1) + b"\xc3" + b"y" * window)
    assert not is_utf8("ä".encode() * window + b"\xff")


def test_text_frames_of_a_server_one_behind_the_other() -> None:
    assert text_frames([]) == b""
    assert text_frames([b"a", b"x" * 126]) == b"\x81\x01a" + b"\x81\x7e\x00\x7e" + b"x" * 126
