"""Reading the head of an HTTP message: the grammar at its strictest, both limits, every cut."""

from __future__ import annotations

import pytest

from trio_mcp_transport.wire.http_head import Head, HeadError, HeadReader, is_field_text, is_token


def read(*chunks: bytes, size: int = 200, fields: int = 5) -> Head | int | None:
    """The head, None when it is not complete, or the status of its refusal."""
    reader = HeadReader(size, fields)
    head = None
    try:
        for chunk in chunks:
            head = reader.feed(chunk)
    except HeadError as error:
        return error.status
    return head


HEAD = b"GET / HTTP/1.1\r\nHost: x\r\nA-b:\t1, 2 \t\r\na-B:3\r\nEmpty:\r\n\r\n"
FIELDS = (("host", "x"), ("a-b", "1, 2"), ("a-b", "3"), ("empty", ""))


def test_a_head_however_it_is_cut() -> None:
    expected = Head("GET / HTTP/1.1", FIELDS, b"")
    assert read(HEAD) == expected
    for first in range(len(HEAD)):
        assert read(HEAD[:first]) is None
        for second in range(first, len(HEAD)):
            assert read(HEAD[:first], HEAD[first:second], HEAD[second:]) == expected


def test_what_follows_is_left_over() -> None:
    head = read(HEAD + b"\r\n\r\n\xff")
    assert isinstance(head, Head)
    assert head.leftover == b"\r\n\r\n\xff"


def test_asking_for_fields() -> None:
    head = Head("", FIELDS, b"")
    assert head.values("a-b") == ["1, 2", "3"]
    assert head.tokens("a-b") == ["1", "2", "3"]
    assert head.tokens("empty") == head.tokens("none") == []
    assert head.single("host") == "x"
    assert head.single("none") is None
    assert head.mapping() == {"host": "x", "a-b": "1, 2, 3", "empty": ""}
    with pytest.raises(HeadError, match="more than one a-b") as info:
        head.single("a-b")
    assert info.value.status == 400


@pytest.mark.parametrize(
    "line",
    [
        b"Host x",
        b": x",
        b" folded: x",
        b"\tfolded",
        b"Host : x",
        b"Ho st: x",
        b"Ho(st: x",
        b"Host: \xff",
        b"H\xf6st: x",
        b"Host: \x00",
        b"Host: \x7f",
        b"Host: a\rb",
        b"Host: a\x0bb",
    ],
)
def test_what_is_no_field(line: bytes) -> None:
    stream = b"GET / HTTP/1.1\r\n" + line + b"\r\n"
    assert read(stream) == 400
    assert read(*(stream[place : place + 1] for place in range(len(stream)))) == 400


@pytest.mark.parametrize(
    "stream", [b"GET /\n", b"GET / HTTP/1.1\r\nHost: x\n", b"GET / HTTP/1.1\r\n\n", b"\xff\r\n", b"\x16\x03\x01\n"]
)
def test_what_ends_no_line(stream: bytes) -> None:
    assert read(stream) == 400


def test_the_limit_of_bytes() -> None:
    size = len(HEAD)
    assert isinstance(read(HEAD + b"more", size=size), Head)
    for place in range(1, size):
        assert read(HEAD[:place], HEAD[place:], size=size - 1) == 431
    assert read(HEAD[:-1], size=size - 1) == 431
    assert read(HEAD[:-2], size=size - 1) is None
    assert read(b"x" * 199) is None
    assert read(b"x" * 200) == 431


def test_the_limit_of_fields() -> None:
    assert isinstance(read(HEAD, fields=4), Head)
    assert read(HEAD, fields=3) == 431


def test_the_limits_of_reliability() -> None:
    reader = HeadReader()
    assert reader.feed(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100) is None
    with pytest.raises(HeadError, match="100 fields"):
        reader.feed(b"a: b\r\n")
    with pytest.raises(HeadError, match="16384 bytes"):
        HeadReader().feed(b"x" * 16 * 1024)


@pytest.mark.parametrize(
    ("text", "answer"), [("", False), ("a", True), ("a-b!~", True), ("a b", False), ("a:", False), ("ä", False)]
)
def test_tokens(text: str, answer: bool) -> None:
    assert is_token(text) is answer


@pytest.mark.parametrize(
    ("text", "answer"), [("", True), ("a b\t~", True), ("a\r", False), ("a\n", False), ("\x00", False), ("ä", False)]
)
def test_field_text(text: str, answer: bool) -> None:
    assert is_field_text(text) is answer
