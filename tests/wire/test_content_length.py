"""Content-Length frames: lines and their ends, when a wrong one is refused, and how long a header may be."""

from __future__ import annotations

import pytest

from trio_mcp_transport.errors import FramingError
from trio_mcp_transport.wire.content_length import ContentLengthCodec
from trio_mcp_transport.wire.signals import Signal

HEADER = 8192


def read(*chunks: bytes, limit: int = 100) -> list[bytes | str]:
    """What comes out when the chunks are fed and pulled one after the other; an error by its text, and final."""
    codec = ContentLengthCodec(limit)
    events: list[bytes | str] = []
    for chunk in chunks:
        codec.feed(chunk)
        try:
            while not isinstance(frame := codec.next_frame(), Signal):
                events.append(frame)
        except FramingError as error:
            return [*events, str(error)]
        if frame is Signal.END_OF_STREAM:
            return [*events, "end"]
    return events


def singly(stream: bytes) -> list[bytes]:
    return [stream[place : place + 1] for place in range(len(stream))]


def test_the_wire_form() -> None:
    # pygls reads exactly this and no other spelling, so nothing may be added.
    assert ContentLengthCodec().encode(b"{}") == b"Content-Length: 2\r\n\r\n{}"
    assert ContentLengthCodec().encode_parts(b"x" * 1000) == (b"Content-Length: 1000\r\n\r\n", b"x" * 1000)


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Length: 2",
        b"content-length:2",
        b"CONTENT-LENGTH:  \t2 ",
        b"Content-Length: 2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8",
        b"Content-Type: application/vscode-jsonrpc; charset=utf8\r\nX-Id: 7\r\nContent-Length: 002",
    ],
)
def test_headers_of_real_peers(header: bytes) -> None:
    stream = (header + b"\r\n\r\n{}") * 3 + b"Content-Length: 0\r\n\r\n" + header + b"\r\n\r\n\r\n"
    events = [b"{}", b"{}", b"{}", b"\r\n", "end"]
    assert read(stream, b"") == events
    assert read(*singly(stream), b"") == events
    for place in range(1, len(stream)):
        assert read(stream[:place], stream[place:], b"") == events


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"Content-Length: 2\n\n{}", "a header line ends in a newline without CR"),
        (b"Content-Length: 2\r\n\n{}", "a header line begins with byte 0x0a"),
        (b"Content-Length: 2\n\r\n{}", "a header line ends in a newline without CR"),
        (b"Content-Length: 2\r\r\n\r\n{}", "a header line is no field"),
        (b"Content-Length: 2\r\n\rx\r\n", "a header line is no field"),
        (b"Content-Length: 2\r\nx: y\r\n\r\r\n{}", "a header line is no field"),
        (b"\r\n\r\n", "a header has no Content-Length"),
        (b"\r\nContent-Length: 2\r\n\r\n{}", "a header has no Content-Length"),
        (b"Content-Type: x\r\n\r\n{}", "a header has no Content-Length"),
        (b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "a header has two Content-Lengths"),
        (b"Content-Length: 2\r\nContent-Length: 20\r\n\r\n{}", "a header has two Content-Lengths"),
        (b"Content-Length: 2\r\n Content-Type: x\r\n\r\n{}", "a header line begins with byte 0x20"),
        (b"Content-Length: -2\r\n\r\n{}", "a Content-Length is no decimal number"),
        (b"Content-Length: 2 2\r\n\r\n{}", "a Content-Length is no decimal number"),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}", "a Content-Length is no decimal number"),
        (
            b"Content-Length: " + b"9" * 19 + b"\r\n\r\n{}",
            "a frame of 9999999999999999999 bytes is over the limit of 100",
        ),
        (b"Content-Length: 101\r\n\r\n{}", "a frame of 101 bytes is over the limit of 100"),
        (b"Content-Length: 101\r\nx: y\r\n\r\n{}", "a frame of 101 bytes is over the limit of 100"),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", "a header has a field transfer-encoding"),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", "the peer speaks HTTP"),
        (b'{"jsonrpc":"2.0"}', "a header line begins with byte 0x7b"),
        (b"\x16\x03\x01", "a header line begins with byte 0x16"),
        (b"\x00\x00\x00\x02{}", "a header line begins with byte 0x00"),
    ],
)
def test_what_is_refused(stream: bytes, why: str) -> None:
    good = b"Content-Length: 2\r\n\r\n[]"
    for before, events in ((b"", []), (good, [b"[]"])):
        whole = read(before + stream, b"")
        assert whole[:-1] == events and str(whole[-1]).startswith(why), whole
        assert read(*singly(before + stream), b"") == whole


def test_a_peer_of_another_protocol_is_told_at_once() -> None:
    for beginning in (b"{", b"\x16", b"\x00", b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n"):
        assert len(read(beginning)) == 1, beginning


def test_a_header_is_collected_in_any_pieces() -> None:
    header = b"Content-Type: x\r\nContent-Length: 1\r\n\r\n"
    for place in range(1, len(header)):
        assert read(header[:place], header[place:] + b"p") == [b"p"]
        assert read(header[:place]) == []


@pytest.mark.parametrize("fill", [b"v", b"\r", b":", b" "])
def test_an_endless_line(fill: bytes) -> None:
    stream = b"x: " + fill * 100_000
    why = ["a header did not end within 8192 bytes"]
    assert read(stream) == why
    assert read(*singly(stream[:HEADER])) == why
    assert read(stream[: HEADER - 1]) == []


def test_endless_fields() -> None:
    assert read(b"x: y\r\n" * 1_000_000) == ["a header has more than 100 fields"]
    long = b"x: " + b"v" * 1000 + b"\r\n"
    assert read(long * 1000) == ["a header did not end within 8192 bytes"]
    assert read(*singly(long * 9)) == ["a header did not end within 8192 bytes"]


@pytest.mark.parametrize("size", [HEADER - 1, HEADER, HEADER + 1])
def test_the_longest_header(size: int) -> None:
    line = b"Content-Length: 1\r\n"
    header = line + b"x: " + b"v" * (size - len(line) - 7) + b"\r\n\r\n"
    assert len(header) == size
    events = [b"p", b"p"] if size <= HEADER else ["a header did not end within 8192 bytes"]
    assert read((header + b"p") * 2) == events
    assert read(*singly((header + b"p") * 2)) == events


def test_a_header_that_fills_its_bytes_with_a_line() -> None:
    line = b"x: " + b"v" * (HEADER - 5) + b"\r\n"
    assert read(line) == read(line[:-1], line[-1:]) == ["a header did not end within 8192 bytes"]


def test_each_header_begins_anew() -> None:
    header = b"Content-Type: x\r\nContent-Length: 1\r\n" + b"x: y\r\n" * 98 + b"\r\n"
    assert read((header + b"p") * 20) == [b"p"] * 20
