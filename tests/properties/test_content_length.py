"""The Content-Length codec under the properties of every codec, and against a naive reading of the whole input."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hypothesis import example, given
from hypothesis import strategies as st

from trio_mcp_transport.errors import FrameTooLarge, FramingError
from trio_mcp_transport.testing import check_codec
from trio_mcp_transport.testing.codec_checks import CodecCase, Failure, outcome
from trio_mcp_transport.testing.strategies import chunkings
from trio_mcp_transport.wire.content_length import ContentLengthCodec
from trio_mcp_transport.wire.signals import Signal

HEADER = 8192
GOOD_FIELDS = (
    b"Content-Type: application/vscode-jsonrpc; charset=utf-8",
    b"content-type:application/vscode-jsonrpc;charset=utf8",
    b'CONTENT-TYPE: text/plain ; x=y ; Charset = "UTF-8"',
    b"X-Unknown: 1",
    b"x:",
    b"X-Long: " + b"v" * 3000,
)
BAD_FIELDS = (
    b"",
    b" folded: 1",
    b"\tfolded: 1",
    b"no colon",
    b"space before : 1",
    b": no name",
    b"null: \x00",
    b"cr: a\rb",
    b"latin: \xe9",
    b"Transfer-Encoding: chunked",
    b"Content-Encoding: gzip",
    b"Content-Type: text/plain; charset=latin-1",
    b"GET / HTTP/1.1",
    b"POST http://localhost:80/ HTTP/1.1",
    b"HTTP/1.1 200 OK",
    b"X-Long: " + b"v" * 8200,
    b"\r",
)
NAMES = (b"Content-Length: ", b"content-length:", b"CONTENT-LENGTH: \t ", b"Content-length:  ")
BAD_NAMES = (b"Content-Length : ", b"Content Length: ", b"Content-Lengt: ", b"Content-Length", b" Content-Length: ")
ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r")


@st.composite
def lengths(draw: st.DrawFn, size: int, limit: int) -> bytes:
    """The right length, mostly; or one that another reader could take for a length."""
    right = b"%d" % size
    wrong = [b"", b"+" + right, b"-" + right, b"0" + right, b"0" * 19 + right, right + b" " + right, right + b","]
    wrong += [right + b", " + right, right + b".0", b"0x" + right, b"1_0", b"1e1", "\u0661".encode(), b"\xb2"]
    wrong += [b"%d" % (limit + 1), b"9" * 19, b"1" + b"0" * 19, b"9" * 5000, right + b"\x00", right + b"\x0b"]
    return draw(st.just(right) | st.sampled_from(wrong)) + draw(st.sampled_from([b"", b"", b" ", b"\t "]))


@st.composite
def near_misses(draw: st.DrawFn, limit: int) -> bytes:
    """Frames whose headers are as real peers send them, or a little off."""
    stream = b""
    for _ in range(draw(st.integers(0, 3))):
        payload = draw(st.sampled_from([b"", b"p", b"p" * limit, b"\r\n" * (limit // 2), b"p" * (limit + 1)]))
        names = st.sampled_from(NAMES) | st.sampled_from(NAMES + BAD_NAMES)
        fields = [
            draw(names) + draw(lengths(len(payload), limit)) for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2])))
        ]
        fields += draw(st.lists(st.sampled_from(GOOD_FIELDS), max_size=2))
        fields += draw(st.lists(st.sampled_from(GOOD_FIELDS + BAD_FIELDS), max_size=1))
        for field in draw(st.permutations(fields)):
            stream += field + draw(st.sampled_from(ENDS) if draw(st.booleans()) else st.just(b"\r\n"))
        stream += draw(st.sampled_from([b"\r\n"] * 5 + [b"\r\r\n", b"\n"])) + payload
    return stream


def naive(data: bytes, limit: int) -> Iterator[bytes | type[FramingError] | Signal]:
    """Say what the codec must answer, with all of the input at hand and no thought for memory."""
    while data:
        header, ended, rest = data.partition(b"\r\n\r\n")
        if not ended or len(header) + 4 > HEADER or data.startswith(b"\r\n"):
            yield FramingError
            return
        size = length_of(header)
        if size is None:
            yield FramingError
            return
        if size > limit:
            yield FrameTooLarge
            return
        if len(rest) < size:
            yield FramingError
            return
        if size:
            yield rest[:size]
        data = rest[size:]
    yield Signal.END_OF_STREAM


def length_of(header: bytes) -> int | None:
    """The length that a header says, or None for a header that must be refused."""
    found: list[tuple[bytes, bytes]] = []
    for line in header.split(b"\r\n"):
        match = re.fullmatch(rb"([\w!#$%&'*+.^`|~-]+):([\x20-\x7e\t]*)", line)
        if match is None:
            return None
        found.append((match[1].lower(), match[2].strip(b" \t")))
    names = [name for name, _ in found]
    if len(names) > 100 or any(names.count(name) > 1 for name in (b"content-length", b"content-type")):
        return None
    if b"content-length" not in names or b"transfer-encoding" in names or b"content-encoding" in names:
        return None
    charset = re.search(rb'charset *= *"?([^;" ]*)', dict(found).get(b"content-type", b""), re.IGNORECASE)
    if charset is not None and charset[1].lower() not in (b"utf-8", b"utf8"):
        return None
    length = dict(found)[b"content-length"]
    return int(length) if re.fullmatch(rb"[0-9]{1,19}", length) else None


def test_it_is_a_right_codec() -> None:
    check_codec(ContentLengthCodec, near_misses=near_misses, limits=[1, 7, 100])


@given(limit=st.sampled_from([1, 2, 7, 100, 20_000]), data=st.data())
def test_same_as_naive(limit: int, data: st.DataObject) -> None:
    stream = data.draw(near_misses(limit))
    events = outcome(CodecCase(ContentLengthCodec, limit), data.draw(chunkings(stream)))
    kinds = [event.type if isinstance(event, Failure) else event for event in events]
    assert kinds == list(naive(stream, limit))


@given(size=st.integers(8100, 8200), cut=st.integers(0, 8200))
@example(size=8192, cut=8191)
@example(size=8193, cut=8192)
def test_the_bound_of_a_header_wherever_it_is_cut(size: int, cut: int) -> None:
    header = b"Content-Length: 1\r\nx: " + b"v" * (size - 26) + b"\r\n\r\n"
    assert len(header) == size
    stream = header + b"p"
    events = outcome(CodecCase(ContentLengthCodec, 1), [part for part in (stream[:cut], stream[cut:]) if part])
    if size <= HEADER:
        assert events == [b"p", Signal.END_OF_STREAM]
    else:
        assert events == [Failure(FramingError, "a header did not end within 8192 bytes")]
