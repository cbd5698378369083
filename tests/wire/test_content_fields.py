"""One header's fields: what real peers send is read, what two readers could read differently is refused."""

from __future__ import annotations

import pytest

from trio_mcp_transport.errors import FramingError
from trio_mcp_transport.wire.content_fields import ContentFields


def length_of(*lines: bytes) -> int:
    fields = ContentFields()
    for line in lines:
        fields.add(line)
    return fields.length()


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 25"],
        [b"content-length: 25"],
        [b"CONTENT-LENGTH: 25"],
        [b"Content-length: 25"],
        [b"Content-Length:25"],
        [b"Content-Length:    25"],
        [b"Content-Length:\t25 \t"],
        [b"Content-Length: 0025"],
        [b"Content-Length: 0000000000000000025"],
        [b"Content-Length: 25", b"Content-Type: application/vscode-jsonrpc; charset=utf-8"],
        [b"Content-Type: application/vscode-jsonrpc; charset=utf8", b"Content-Length: 25"],
        [b"Content-Type:application/json;charset=UTF-8", b"Content-Length: 25"],
        [b'content-type: x; a="b"; CHARSET = "Utf-8" ; c', b"Content-Length: 25"],
        [b"Content-Type: application/vscode-jsonrpc", b"Content-Length: 25"],
        [b"Content-Type:", b"Content-Length: 25"],
        [b"X-Request-Id: a:b", b"Content-Length: 25", b"Server: ~x~ {}", b"X-Request-Id: again", b"Empty:"],
    ],
)
def test_what_real_peers_send(lines: list[bytes]) -> None:
    assert length_of(*lines) == 25


@pytest.mark.parametrize(
    "value",
    [
        *[
            b"",
            b"+5",
            b"-5",
            b"-0",
            b"5 5",
            b"5,5",
            b"5, 5",
            b"5;",
            b"0x5",
            b"5.0",
            b"5e0",
            b"1_0",
            b"5L",
            b'"5"',
            b"five",
        ],
        *[b"0" * 19 + b"5", b"9" * 20, b"9" * 5000],
    ],
)
def test_lengths_that_are_none(value: bytes) -> None:
    with pytest.raises(FramingError, match="a Content-Length is no decimal number of up to 19 digits"):
        length_of(b"Content-Length: " + value)


@pytest.mark.parametrize(
    "value", ["\u0665", "\u00b2", "\uff15", "\x005", "5\x00", "5\r", "5\n", "\x0b5", "5\x0c", "\xa05"]
)
def test_lengths_in_other_scripts_and_control_characters(value: str) -> None:
    with pytest.raises(FramingError, match="a header line is no field"):
        length_of(b"Content-Length: " + value.encode())


def test_the_longest_length() -> None:
    assert length_of(b"Content-Length: " + b"9" * 19) == 10**19 - 1


@pytest.mark.parametrize("second", [b"Content-Length: 5", b"Content-Length: 6", b"content-length:5"])
def test_two_lengths_even_equal_ones(second: bytes) -> None:
    with pytest.raises(FramingError, match="two Content-Lengths"):
        length_of(b"Content-Length: 5", second)
    with pytest.raises(FramingError, match="two Content-Lengths"):
        length_of(b"Content-Length: 0", second)


def test_two_types() -> None:
    with pytest.raises(FramingError, match="two Content-Types"):
        length_of(b"Content-Type: a", b"content-type: a")


@pytest.mark.parametrize("lines", [[], [b"Content-Type: x"], [b"Content-Lengths: 5"], [b"X-Content-Length: 5"]])
def test_no_length(lines: list[bytes]) -> None:
    with pytest.raises(FramingError, match="no Content-Length"):
        length_of(*lines)


@pytest.mark.parametrize(
    "line",
    [
        *[b"Content-Length 5", b"Content-Length", b"Content-Length : 5", b"Content-Length\t: 5", b"Content Length: 5"],
        *[b": 5", b" Content-Length: 5", b"\tfolded", b"x\x00: 5", b"x: \x00", b"x: a\rb", b"x: a\nb", b"x: \x7f"],
        *[b"x: \xe9", b"\xe9: x", b"x(y): z", b"", b'{"jsonrpc":"2.0"}'],
    ],
)
def test_lines_that_are_no_fields(line: bytes) -> None:
    with pytest.raises(FramingError, match=r"^a header line is no field"):
        length_of(line)


@pytest.mark.parametrize(
    "line",
    [
        *[
            b"GET / HTTP/1.1",
            b"POST /mcp HTTP/1.0",
            b"OPTIONS * HTTP/1.1",
            b"PRI * HTTP/2.0",
            b"CONNECT [::1]:80 HTTP/1.1",
        ],
        *[b"GET http://localhost:80/a HTTP/1.1", b"HTTP/1.1 200 OK", b"HTTP/2 200"],
    ],
)
def test_a_peer_that_speaks_http_is_told_apart(line: bytes) -> None:
    with pytest.raises(FramingError, match=r"^the peer speaks HTTP"):
        length_of(line)


@pytest.mark.parametrize("name", [b"Transfer-Encoding", b"transfer-encoding", b"Content-Encoding"])
def test_codings_are_refused(name: bytes) -> None:
    with pytest.raises(FramingError, match=name.decode().lower()):
        length_of(b"Content-Length: 5", name + b": chunked")


@pytest.mark.parametrize("charset", [b"utf-16", b"latin-1", b"", b"utf-8x", b"ascii"])
def test_other_charsets_are_refused(charset: bytes) -> None:
    with pytest.raises(FramingError, match="another charset than UTF-8"):
        length_of(b"Content-Type: application/vscode-jsonrpc; charset=" + charset)
    with pytest.raises(FramingError, match="another charset than UTF-8"):
        length_of(b"Content-Type: x; charset=utf-8; CharSet=" + charset)


def test_a_hundred_fields() -> None:
    assert length_of(*[b"x: y"] * 99, b"Content-Length: 5") == 5
    with pytest.raises(FramingError, match="more than 100 fields"):
        length_of(b"Content-Length: 5", *[b"x: y"] * 100)


def test_errors_show_little_of_the_line_and_nothing_raw() -> None:
    with pytest.raises(FramingError) as caught:
        length_of(b"\x1b[31m" + b"v" * 8000)
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize("byte", b"aZ09-_~!\r")
def test_bytes_that_a_line_begins_with(byte: int) -> None:
    ContentFields.check_beginning(byte)


@pytest.mark.parametrize("byte", b'{[" \t\n:\x00\x16\x80\xff(/@')
def test_bytes_that_no_line_begins_with(byte: int) -> None:
    with pytest.raises(FramingError, match=f"begins with byte 0x{byte:02x}"):
        ContentFields.check_beginning(byte)
