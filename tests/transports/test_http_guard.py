"""What a web page can make a browser say to a raw port is recognised, however it is cut, and nothing else is."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from trio_mcp_transport.errors import RemoteProtocolError
from trio_mcp_transport.transports.framings import FRAMINGS, codec_factory
from trio_mcp_transport.transports.http_guard import LONGEST_METHOD, ForeignProtocolGuard, foreign_protocol

HTTP = [
    b"GET / HTTP/1.1\r\n",
    b"POST /x HTTP/1.1\r\nHost: localhost\r\n\r\n{}",
    b"OPTIONS * HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"X" * LONGEST_METHOD + b" / HTTP/1.1\r\n",
    b"GET\t/\r\n",
]


@pytest.mark.parametrize("beginning", HTTP)
def test_requests_are_recognised_however_they_are_cut(beginning: bytes) -> None:
    assert foreign_protocol(beginning) == "HTTP"
    word = len(beginning.split()[0])
    for cut in range(word + 1):
        assert foreign_protocol(beginning[:cut]) is None
    assert foreign_protocol(beginning[: word + 1]) == "HTTP"


def test_tls_is_recognised() -> None:
    assert foreign_protocol(b"\x16") is None
    assert foreign_protocol(b"\x16\x03\x01\x02\x00\x01") == "TLS"
    assert foreign_protocol(b"\x16\x04") == ""


@pytest.mark.parametrize(
    "beginning",
    [b"{", b"[", b"\n", b" {", b"\xef\xbb\xbf{", b"Content-Length: 5", b"CONTENT-LENGTH: 5", b"get /", b"N{"],
)
def test_beginnings_of_ours_are_not(beginning: bytes) -> None:
    assert foreign_protocol(beginning) == ""


def test_one_capital_more_than_any_method_has_is_nothing() -> None:
    assert foreign_protocol(b"X" * LONGEST_METHOD) is None
    assert foreign_protocol(b"X" * (LONGEST_METHOD + 1)) == ""


@given(payload=st.binary(min_size=1, max_size=60).map(lambda data: b"{" + data.replace(b"\n", b"") + b"}"))
def test_no_frame_of_any_framing_is_taken_for_another_protocol(payload: bytes) -> None:
    for framing in FRAMINGS:
        frame = codec_factory(framing)(1000).encode(payload)
        for cut in range(1, len(frame)):
            assert not foreign_protocol(frame[:cut])


async def guarded(chunks: list[bytes]) -> list[bytes]:
    """Return what comes through the guard, one chunk at a time."""
    near, far = trio.testing.memory_stream_pair()
    guard = ForeignProtocolGuard(far)
    received = []
    for chunk in chunks:
        await near.send_all(chunk)
        received.append(bytes(await guard.receive_some()))
    return received


async def test_a_request_is_stopped_in_the_chunk_that_tells() -> None:
    with pytest.raises(RemoteProtocolError, match="does not speak HTTP"):
        await guarded([b"POST / HTTP/1.1\r\n\r\n" + b'{"jsonrpc": "2.0"}\n'])
    near, far = trio.testing.memory_stream_pair()
    guard = ForeignProtocolGuard(far)
    for letter in (b"P", b"O", b"S", b"T"):
        await near.send_all(letter)
        assert await guard.receive_some() == letter
    await near.send_all(b" ")
    with pytest.raises(RemoteProtocolError, match="does not speak HTTP"):
        await guard.receive_some()


async def test_after_the_beginning_everything_passes() -> None:
    chunks = [b"{", b'"a": 1}\n', b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"X" * 1000]
    assert await guarded(chunks) == chunks


async def test_the_end_passes() -> None:
    near, far = trio.testing.memory_stream_pair()
    await near.send_eof()
    assert await ForeignProtocolGuard(far).receive_some() == b""
