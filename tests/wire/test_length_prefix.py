"""The four bytes before a frame: their order, their range, and what else could stand there."""

from __future__ import annotations

import pytest

from trio_mcp_transport.errors import ConfigError, FrameTooLarge, FramingError, LocalProtocolError
from trio_mcp_transport.wire.length_prefix import LengthPrefixCodec
from trio_mcp_transport.wire.signals import Signal

GIB = 1024 * 1024 * 1024


def read(stream: bytes, limit: int = 10) -> list[bytes | str]:
    """What comes out of an ended stream; the error at its end by name."""
    codec = LengthPrefixCodec(limit)
    codec.feed(stream)
    codec.feed(b"")
    events: list[bytes | str] = []
    while True:
        try:
            frame = codec.next_frame()
        except FramingError as error:
            return [*events, type(error).__name__]
        if isinstance(frame, Signal):
            return events
        events.append(frame)


class Long(bytes):
    """Bytes that claim to be more than any test wants to hold."""

    def __len__(self) -> int:
        return 2**32 - 1

    def __bool__(self) -> bool:
        return True


class TooLong(Long):
    def __len__(self) -> int:
        # `len` itself takes it, for it fits into a machine word.
        return 2**32


def test_the_wire_form() -> None:
    assert LengthPrefixCodec().encode(b"{}") == b"\x00\x00\x00\x02{}"
    assert LengthPrefixCodec().encode_parts(b"x" * 0x010203)[0] == b"\x00\x01\x02\x03"
    assert LengthPrefixCodec().encode_parts(Long())[0] == b"\xff\xff\xff\xff"


def test_a_payload_that_four_bytes_cannot_announce() -> None:
    with pytest.raises(LocalProtocolError, match="4294967296 bytes is too long"):
        LengthPrefixCodec().encode_parts(TooLong())


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"", []),
        (b"\0\0\0\2{}", [b"{}"]),
        (b"\0\0\0\2{}\0\0\0\x01x", [b"{}", b"x"]),
        (b"\0\0\0\0", []),
        (b"\0\0\0\0\0\0\0\x01x\0\0\0\0", [b"x"]),
        (b"\0\0\0\x0a" + b"x" * 10, [b"x" * 10]),
        (b"\0\0\0\x0b" + b"x" * 11, ["FrameTooLarge"]),
        (b"\0\0\1\0" + b"x" * 256, ["FrameTooLarge"]),
        (b"\x02\0\0\0{}", ["FrameTooLarge"]),  # the other byte order
        (b"\xff\xff\xff\xff", ["FrameTooLarge"]),  # -1 to who reads a sign
        (b"\x80\0\0\0", ["FrameTooLarge"]),
        (b"\x7f\xff\xff\xff", ["FrameTooLarge"]),
        (b"\0", ["FramingError"]),
        (b"\0\0\0", ["FramingError"]),
        (b"\0\0\0\1", ["FramingError"]),
        (b"\0\0\0\2{", ["FramingError"]),
        (b"\0\0\0\2{}\0\0", [b"{}", "FramingError"]),
        (b'{"jsonrpc":"2.0"}\n', ["FrameTooLarge"]),
        (b"Content-Length: 2\r\n\r\n{}", ["FrameTooLarge"]),
        (b"\x16\x03\x01\x02\x00\x01", ["FrameTooLarge"]),  # TLS
    ],
)
def test_what_is_read(stream: bytes, events: list[bytes | str]) -> None:
    assert read(stream) == events


@pytest.mark.parametrize(
    "method", ["GET /", "POST /", "PUT /", "OPTIONS *", "DELETE /", "PATCH /", "CONNECT a", "PRI *"]
)
@pytest.mark.parametrize("limit", [10, GIB])
def test_a_web_page_is_told_apart(method: str, limit: int) -> None:
    codec = LengthPrefixCodec(limit)
    codec.feed(method.encode() + b" HTTP/1.1\r\n")
    with pytest.raises(FramingError, match="the peer speaks HTTP") as caught:
        codec.next_frame()
    assert type(caught.value) is FramingError


def test_the_largest_limit() -> None:
    codec = LengthPrefixCodec(GIB)
    codec.feed(b"\x40\0\0\0x")
    assert codec.next_frame() is Signal.NEED_DATA
    codec = LengthPrefixCodec(GIB)
    codec.feed(b"\x40\0\0\1x")
    with pytest.raises(FrameTooLarge):
        codec.next_frame()
    with pytest.raises(ConfigError, match=f"at most {GIB} bytes, not {GIB + 1}"):
        LengthPrefixCodec(GIB + 1)
