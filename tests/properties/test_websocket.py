"""The WebSocket codec in both roles: the properties of every codec, and a leisurely reading of the same stream."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.websocket_streams import (
    KEY,
    ROLES,
    Answer,
    End,
    Role,
    answers,
    close,
    frame,
    leisurely,
    masked,
    near_misses,
    other,
    text,
)
from trio_mcp_transport.errors import LocalProtocolError
from trio_mcp_transport.testing.check_codec import check_codec
from trio_mcp_transport.testing.strategies import chunkings
from trio_mcp_transport.wire.signals import Signal
from trio_mcp_transport.wire.websocket import WebSocketCodec

LIMITS = (1, 2, 7, 100, 126, 200)
BOTH = pytest.mark.parametrize("role", ROLES)


def texts(limit: int) -> st.SearchStrategy[bytes]:
    """Payloads of text up to a limit in bytes."""
    drawn = st.text(max_size=limit).map(str.encode)
    return drawn.filter(lambda payload: len(payload) <= limit)


@BOTH
@pytest.mark.parametrize("limit", LIMITS)
def test_every_property_of_a_codec(role: Role, limit: int) -> None:
    check_codec(
        partial(WebSocketCodec, role),
        peer=partial(WebSocketCodec, other(role)),
        payloads=texts,
        near_misses=partial(near_misses, role),
        limits=[limit],
    )


@BOTH
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@given(data=st.data(), limit=st.sampled_from(LIMITS))
def test_same_as_at_leisure(role: Role, binary: bool, data: st.DataObject, limit: int) -> None:
    stream = data.draw(near_misses(role, limit))
    chunks = data.draw(chunkings(stream))
    codec = WebSocketCodec(role, limit, accept_binary=binary)
    assert answers(codec, chunks) == list(leisurely(stream, role, limit, binary=binary))


@BOTH
@given(data=st.data())
def test_fragments_and_control_frames_in_between(role: Role, data: st.DataObject) -> None:
    # Cut inside characters too, and whatever comes in between, the message is the one that was sent.
    messages = data.draw(st.lists(st.text(min_size=1, max_size=40).map(str.encode), max_size=4))
    stream, pings, pongs = b"", [], []
    for message in messages:
        pieces = data.draw(chunkings(message))
        for index, piece in enumerate(pieces):
            first = (0x80 if index == len(pieces) - 1 else 0) | (0 if index else 1)
            stream += frame(first, piece, to=role)
            between = data.draw(st.sampled_from(["", "", "ping", "pong", "empty"]))
            if between == "ping":
                pings.append(b"%d" % len(pings))
                stream += frame(0x89, pings[-1], to=role)
            elif between == "pong":
                pongs.append(b"%d" % len(pongs))
                stream += frame(0x8A, pongs[-1], to=role)
            elif between == "empty" and not first & 0x80:
                stream += frame(0x00, to=role)
    codec = WebSocketCodec(role, 1000)
    found: list[bytes | Signal] = []
    for chunk in data.draw(chunkings(stream)):
        codec.feed(chunk)
        while (event := codec.next_frame()) is not Signal.NEED_DATA:
            found.append(event)
    assert found == messages
    assert codec.pong_count == len(pongs)
    assert codec.last_pong == (pongs[-1] if pongs else b"")
    owed = codec.bytes_to_send()
    assert codec.bytes_to_send() == b""
    if not pings:
        assert owed == b""
    elif role == "server":
        assert owed == frame(0x8A, pings[-1], to="client")
    else:
        assert owed == frame(0x8A, pings[-1], to="server", key=owed[2:6])


@BOTH
@given(code=st.sampled_from([None, 1000, 1001, 1011, 3000, 4999]), reason=st.text(max_size=30), data=st.data())
def test_a_close_ends_the_stream_and_is_answered_in_kind(
    role: Role, code: int | None, reason: str, data: st.DataObject
) -> None:
    said = "" if code is None else reason
    stream = text(b"last", role) + close(code, said.encode(), role) + data.draw(st.binary(max_size=20))
    codec = WebSocketCodec(role)
    found: list[Answer] = answers(codec, data.draw(chunkings(stream)))
    assert found == [b"last", End(Signal.END_OF_STREAM, code or 1005)]
    assert (codec.close_code, codec.close_reason) == (code or 1005, said)
    assert codec.close_sent


@given(payload=st.binary(max_size=5000), key=st.binary(min_size=4, max_size=4))
def test_a_mask_comes_off_as_the_standard_says(payload: bytes, key: bytes) -> None:
    codec = WebSocketCodec("server", accept_binary=True)
    codec.feed(frame(0x82, payload, key=key))
    assert codec.next_frame() == (payload or Signal.NEED_DATA)


@given(payload=st.text(min_size=1, max_size=3000).map(str.encode))
def test_a_client_masks(payload: bytes) -> None:
    sent = WebSocketCodec("client").encode(payload)
    start = 2 if len(payload) < 126 else 4
    assert sent == frame(0x81, payload, key=sent[start : start + 4])
    assert masked(sent[start + 4 :], sent[start : start + 4]) == payload


@BOTH
@given(payload=st.binary(max_size=8))
def test_encode_refuses_what_would_not_arrive(role: Role, payload: bytes) -> None:
    reader = WebSocketCodec(other(role))
    try:
        sent = WebSocketCodec(role).encode(payload)
    except LocalProtocolError:
        assert answers(reader, [text(payload, other(role))])[0] != payload
    else:
        assert answers(reader, [sent]) == [payload, End(Signal.END_OF_STREAM, None)]


def test_the_key_of_these_tests_masks() -> None:
    assert masked(b"abcdefgh", KEY) != b"abcdefgh"
    assert masked(masked(b"abcdefgh")) == b"abcdefgh"
