"""The WebSocket codec case by case: what is refused and how, who closes, what is owed, memory and time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.properties.websocket_streams import (
    ROLES,
    End,
    Role,
    answers,
    close,
    frame,
    masked,
    other,
    text,
)
from trio_mcp_transport.abc import FrameCodec
from trio_mcp_transport.errors import ConfigError, FrameTooLarge, FramingError, LocalProtocolError
from trio_mcp_transport.wire.signals import Signal
from trio_mcp_transport.wire.websocket import WebSocketCodec

KIB = 1024
MIB = KIB * KIB
BOTH = pytest.mark.parametrize("role", ROLES)
CLEAN = End(Signal.END_OF_STREAM, None)


def refused(code: int) -> End:
    return End(FramingError, code)


def read(role: Role, *chunks: bytes, limit: int = 10, binary: bool = False) -> list[bytes | End]:
    return answers(WebSocketCodec(role, limit, accept_binary=binary), list(chunks))


@contextmanager
def peak_below(size: int) -> Iterator[None]:
    """Fail when more than so many bytes are allocated at any moment of the block."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


@BOTH
def test_it_is_a_frame_codec(role: Role) -> None:
    codec: FrameCodec = WebSocketCodec(role)
    assert codec.next_frame() is Signal.NEED_DATA
    assert codec.bytes_to_send() == b""
    assert WebSocketCodec.resynchronises is False


@BOTH
def test_a_new_codec_has_heard_and_said_nothing(role: Role) -> None:
    codec = WebSocketCodec(role)
    assert (codec.close_code, codec.close_reason, codec.close_sent) == (None, "", False)
    assert (codec.pong_count, codec.last_pong) == (0, b"")


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(ConfigError, match=f"not {limit}"):
        WebSocketCodec("server", limit)


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ConfigError, match="'proxy'"):
        WebSocketCodec("proxy")  # type: ignore[arg-type]  # what a configuration may say


def test_the_examples_of_the_standard() -> None:
    # RFC 6455 section 5.7.
    assert read("client", b"\x81\x05Hello") == [b"Hello", CLEAN]
    assert read("server", b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58") == [b"Hello", CLEAN]
    assert read("client", b"\x01\x03Hel", b"\x80\x02lo") == [b"Hello", CLEAN]
    codec = WebSocketCodec("server")
    codec.feed(b"\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58")
    assert codec.next_frame() is Signal.NEED_DATA
    assert codec.bytes_to_send() == b"\x8a\x05Hello"
    large = WebSocketCodec("client", accept_binary=True)
    large.feed(b"\x82\x7e\x01\x00" + bytes(256))
    assert large.next_frame() == bytes(256)
    large.feed(b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + bytes(65536))
    assert large.next_frame() == bytes(65536)


@pytest.mark.parametrize("size", [1, 125, 126, 127, 0xFFFF, 0x10000])
@BOTH
def test_every_form_of_the_length(role: Role, size: int) -> None:
    payload = b"x" * size
    sent = WebSocketCodec(other(role)).encode(payload)
    key = sent[-size - 4 : -size] if role == "server" else b""
    assert sent == (frame(0x81, payload, to=role, key=key) if key else frame(0x81, payload, to=role))
    assert read(role, sent, limit=size) == [payload, CLEAN]
    assert b"".join(WebSocketCodec(other(role)).encode_parts(payload))[:2] == sent[:2]


def test_a_key_is_fresh() -> None:
    codec = WebSocketCodec("client")
    assert len({codec.encode(b"same") for _ in range(50)}) == 50


def test_a_large_payload_of_a_server_is_not_copied() -> None:
    payload = b"x" * MIB
    assert WebSocketCodec("server").encode_parts(payload)[1] is payload


@BOTH
@pytest.mark.parametrize(("payload", "why"), [(b"", "empty"), (b"\xff", "UTF-8"), (b"\xed\xa0\x80", "UTF-8")])
def test_encode_refuses_what_the_peer_would_not_take(role: Role, payload: bytes, why: str) -> None:
    with pytest.raises(LocalProtocolError, match=why):
        WebSocketCodec(role).encode(payload)


def test_encode_leaves_the_limit_to_the_peer() -> None:
    assert WebSocketCodec("server", 1).encode(b"long") == b"\x81\x04long"


@BOTH
@pytest.mark.parametrize(
    ("first", "payload", "code"),
    [
        (0xC1, b"x", 1002),
        (0xA1, b"x", 1002),
        (0x91, b"x", 1002),
        (0xF1, b"x", 1002),
        (0x83, b"x", 1002),
        (0x87, b"x", 1002),
        (0x8B, b"x", 1002),
        (0x8F, b"x", 1002),
        (0x00, b"x", 1002),
        (0x80, b"x", 1002),
        (0x08, b"", 1002),
        (0x09, b"x", 1002),
        (0x0A, b"x", 1002),
        (0xC9, b"x", 1002),
        (0x89, b"x" * 126, 1002),
        (0x8A, b"x" * 126, 1002),
        (0x88, b"x" * 126, 1002),
        (0x82, b"x", 1003),
        (0x02, b"x", 1003),
        (0x81, b"\xff", 1007),
        (0x81, b"\xc3", 1007),
        (0x81, b"\xed\xa0\x80", 1007),
        (0x81, b"\xf4\x90\x80\x80", 1007),
        (0x81, b"x" * 11, 1009),
        (0x01, b"x" * 11, 1009),
    ],
)
def test_what_is_refused(role: Role, first: int, payload: bytes, code: int) -> None:
    ends = {1009: End(FrameTooLarge, 1009)}
    stream = text(b"ok", role) + frame(first, payload, to=role)
    expected = [b"ok", ends.get(code, refused(code))]
    assert read(role, stream) == expected
    for place in range(1, len(stream)):
        assert read(role, stream[:place], stream[place:]) == expected


@BOTH
def test_the_wrong_mask_is_refused(role: Role) -> None:
    assert read(role, text(b"x", other(role))) == [refused(1002)]
    assert read(role, text(b"x" * 300, other(role))) == [refused(1002)]


@BOTH
@pytest.mark.parametrize(("size", "wide"), [(0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (0xFFFF, 8)])
def test_a_length_longer_than_it_needs_to_be_is_refused(role: Role, size: int, wide: int) -> None:
    stream = frame(0x81, b"x" * size, to=role, wide=wide)
    assert read(role, stream, limit=MIB) == [refused(1002)]


def test_a_length_with_the_highest_bit_is_a_wrong_one_and_not_only_too_large() -> None:
    assert read("client", b"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00") == [refused(1002)]
    assert read("client", b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff") == [End(FrameTooLarge, 1009)]


@BOTH
@pytest.mark.parametrize("first", [0x81, 0x01])
def test_a_message_inside_a_fragmented_one_is_refused(role: Role, first: int) -> None:
    assert read(role, frame(0x01, b"a", to=role) + frame(first, b"b", to=role)) == [refused(1002)]


@BOTH
def test_a_refusal_comes_before_the_payload(role: Role) -> None:
    for header in (frame(0x81, b"x" * 11, to=role)[:2], frame(0x82, b"x", to=role)[:2], b"\xff\xff"):
        codec = WebSocketCodec(role, 10)
        codec.feed(header)
        with pytest.raises(FramingError):
            codec.next_frame()


@BOTH
def test_the_limit_counts_all_fragments(role: Role) -> None:
    def fragments(*sizes: int) -> bytes:
        *most, last = sizes
        middle = [frame(0x00 if index else 0x01, b"x" * size, to=role) for index, size in enumerate(most)]
        return b"".join(middle) + frame(0x80, b"x" * last, to=role)

    assert read(role, fragments(4, 6, 0)) == [b"x" * 10, CLEAN]
    assert read(role, fragments(4, 0, 6)) == [b"x" * 10, CLEAN]
    assert read(role, fragments(4, 7, 0)) == [End(FrameTooLarge, 1009)]
    assert read(role, fragments(4, 6, 1)) == [End(FrameTooLarge, 1009)]
    # What one message used is free for the next; a control frame uses nothing.
    assert read(role, fragments(4, 6) + fragments(9, 1)) == [b"x" * 10, b"x" * 10, CLEAN]
    ping = frame(0x89, b"p" * 125, to=role)
    assert read(role, frame(0x01, b"x" * 9, to=role) + ping + frame(0x80, b"y", to=role)) == [b"x" * 9 + b"y", CLEAN]


@BOTH
def test_text_is_judged_across_fragments(role: Role) -> None:
    letter = "ä".encode()
    first, last = frame(0x01, letter[:1], to=role), frame(0x80, letter[1:], to=role)
    assert read(role, first + last) == [letter, CLEAN]
    assert read(role, first + frame(0x80, b"", to=role)) == [refused(1007)]
    assert read(role, first + frame(0x80, b"x", to=role)) == [refused(1007)]
    assert read(role, text(letter, role)) == [letter, CLEAN]


def test_long_text_is_judged_across_windows() -> None:
    letters = "äöü€😀".encode()
    for shift in range(len(letters)):
        payload = b"x" * shift + letters * (200 * KIB // len(letters))
        assert read("client", text(payload, "client"), limit=MIB) == [payload, CLEAN]
        broken = payload[:-1]
        assert read("client", text(broken, "client"), limit=MIB) == [refused(1007)]


@BOTH
def test_binary_where_it_is_accepted(role: Role) -> None:
    stream = frame(0x82, b"\xff", to=role) + frame(0x02, b"\xfe", to=role) + frame(0x80, b"\xfd", to=role)
    assert read(role, stream + text(b"t", role), binary=True) == [b"\xff", b"\xfe\xfd", b"t", CLEAN]
    # The kind of a fragmented message is that of its first frame, and is forgotten with it.
    assert read(role, stream + text(b"\xff", role), binary=True)[-1] == refused(1007)


@BOTH
def test_empty_messages_are_skipped(role: Role) -> None:
    empty = text(b"", role) + frame(0x01, b"", to=role) + frame(0x00, b"", to=role) + frame(0x80, b"", to=role)
    assert read(role, empty + text(b"x", role) + empty) == [b"x", CLEAN]


@BOTH
@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_frames_are_bytes_of_their_own(role: Role, kind: type[bytearray] | type[memoryview]) -> None:
    source = bytearray(text(b"one", role))
    codec = WebSocketCodec(role)
    codec.feed(kind(source))  # type: ignore[arg-type]  # what a reader with a reused buffer passes by mistake
    source[:] = bytes(len(source))
    frame_read = codec.next_frame()
    assert type(frame_read) is bytes
    assert frame_read == b"one"


@BOTH
def test_what_is_fed_before_pulling_keeps_its_order(role: Role) -> None:
    codec = WebSocketCodec(role)
    stream = b"".join(text(b"%d" % number, role) for number in range(30))
    codec.feed(stream[:10])
    codec.feed(stream[10:13])
    codec.feed(stream[13:])
    assert [codec.next_frame() for _ in range(31)] == [*(b"%d" % number for number in range(30)), Signal.NEED_DATA]


@BOTH
def test_an_error_is_the_answer_from_then_on(role: Role) -> None:
    codec = WebSocketCodec(role, 10)
    codec.feed(text(b"x" * 11, role) + text(b"later", role))
    caught = []
    for _ in range(3):
        with pytest.raises(FrameTooLarge, match="over the limit of 10 bytes") as info:
            codec.next_frame()
        caught.append(info.value)
        codec.feed(text(b"more", role))
    codec.feed(b"")
    with pytest.raises(FrameTooLarge):
        codec.next_frame()
    assert caught[0].limit == 10
    assert caught[0].close_code == 1009
    assert len(set(map(id, caught))) == 3  # each raised with a traceback of its own


@BOTH
def test_an_error_owes_one_close_with_its_reason(role: Role) -> None:
    codec = WebSocketCodec(role)
    codec.feed(frame(0x89, b"ping", to=role) + frame(0x82, b"x", to=role))
    with pytest.raises(FramingError) as info:
        codec.next_frame()
    assert info.value.close_code == 1003
    assert codec.close_sent
    owed = codec.bytes_to_send()
    plain = masked(owed[6:], owed[2:6]) if role == "client" else owed[2:]
    assert owed[0] == 0x88  # and no pong in front of it
    assert plain == b"\x03\xeb" + str(info.value).encode()
    with pytest.raises(FramingError):
        codec.next_frame()
    assert codec.bytes_to_send() == b""
    assert codec.close_code is None


@BOTH
@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"", 1005, ""),
        (b"\x03\xe8", 1000, ""),
        (b"\x03\xe8bye", 1000, "bye"),
        (b"\x03\xe9" + "é".encode(), 1001, "é"),
        (b"\x0b\xb8", 3000, ""),
        (b"\x13\x87" + b"r" * 123, 4999, "r" * 123),
    ],
)
def test_a_close_of_the_peer(role: Role, payload: bytes, code: int, reason: str) -> None:
    codec = WebSocketCodec(role)
    codec.feed(text(b"last", role) + frame(0x88, payload, to=role) + text(b"late", role) + b"\xff\xff")
    assert codec.next_frame() == b"last"
    for _ in range(3):
        assert codec.next_frame() is Signal.END_OF_STREAM
    assert (codec.close_code, codec.close_reason, codec.close_sent) == (code, reason, True)
    owed = codec.bytes_to_send()
    key = owed[2:6] if role == "client" else b"0000"
    assert owed == frame(0x88, payload[:2], to=other(role), key=key)
    codec.feed(text(b"later", role))
    codec.feed(b"")
    assert codec.next_frame() is Signal.END_OF_STREAM
    assert codec.close_code == code
    assert codec.bytes_to_send() == b""


@BOTH
@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_a_close_with_a_code_that_nobody_may_send(role: Role, code: int) -> None:
    assert read(role, close(code, to=role)) == [refused(1002)]


@BOTH
@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xe8\xff", b"\x03\xe8\xc3"])
def test_a_close_that_is_malformed(role: Role, payload: bytes) -> None:
    assert read(role, frame(0x88, payload, to=role)) == [refused(1002 if len(payload) == 1 else 1007)]


@BOTH
def test_a_close_inside_a_fragmented_message(role: Role) -> None:
    stream = frame(0x01, b"half", to=role) + close(1000, to=role)
    assert read(role, stream) == [End(Signal.END_OF_STREAM, 1000)]


@BOTH
def test_we_close_first(role: Role) -> None:
    codec = WebSocketCodec(role)
    codec.ping(b"before")
    codec.close(1001, "going away")
    codec.close(1011, "too late")
    codec.ping(b"after")
    assert codec.close_sent
    owed = codec.bytes_to_send()
    heard = WebSocketCodec(other(role))
    heard.feed(owed)
    assert heard.next_frame() is Signal.END_OF_STREAM
    assert (heard.close_code, heard.close_reason) == (1001, "going away")
    # Messages that were under way are still heard, pings no longer answered, the reply not answered.
    codec.feed(text(b"under way", role) + frame(0x89, b"ping", to=role) + close(1001, to=role))
    assert codec.next_frame() == b"under way"
    assert codec.next_frame() is Signal.END_OF_STREAM
    assert codec.close_code == 1001
    assert codec.bytes_to_send() == b""


@BOTH
def test_nothing_goes_behind_our_close(role: Role) -> None:
    codec = WebSocketCodec(role)
    codec.close()
    assert codec.bytes_to_send()
    codec.ping(b"ours")
    codec.feed(frame(0x89, b"theirs", to=role))
    assert codec.next_frame() is Signal.NEED_DATA
    codec.close()
    assert codec.bytes_to_send() == b""


@BOTH
def test_a_pong_that_is_owed_goes_before_our_close(role: Role) -> None:
    codec = WebSocketCodec(role)
    codec.feed(frame(0x89, b"ping", to=role))
    assert codec.next_frame() is Signal.NEED_DATA
    codec.close()
    owed = codec.bytes_to_send()
    heard = WebSocketCodec(other(role))
    heard.feed(owed)
    assert heard.next_frame() is Signal.END_OF_STREAM
    assert (heard.last_pong, heard.close_code) == (b"ping", 1000)


@BOTH
def test_an_error_after_our_close_owes_no_second_one(role: Role) -> None:
    codec = WebSocketCodec(role)
    codec.close()
    assert codec.bytes_to_send()
    codec.feed(b"\xff\xff")
    with pytest.raises(FramingError):
        codec.next_frame()
    assert codec.bytes_to_send() == b""


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
def test_codes_that_we_may_not_send(code: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"close code {code}"):
        WebSocketCodec("server").close(code)


def test_a_long_reason_is_cut_between_characters() -> None:
    codec, heard = WebSocketCodec("server"), WebSocketCodec("client")
    codec.close(1000, "x" + "€" * 100)
    heard.feed(codec.bytes_to_send())
    assert heard.next_frame() is Signal.END_OF_STREAM
    assert heard.close_reason == "x" + "€" * 40  # 121 of 123 bytes
    codec = WebSocketCodec("server")
    codec.close(1000, "\ud800")
    assert codec.bytes_to_send() == b"\x88\x03\x03\xe8?"


@BOTH
def test_the_end_without_a_close(role: Role) -> None:
    codec = WebSocketCodec(role)
    codec.feed(text(b"one", role))
    codec.feed(b"")
    assert codec.next_frame() == b"one"
    for _ in range(2):
        assert codec.next_frame() is Signal.END_OF_STREAM
    assert codec.close_code == 1006
    assert not codec.close_sent
    assert codec.bytes_to_send() == b""


@BOTH
def test_the_end_inside_a_message(role: Role) -> None:
    whole = frame(0x01, b"a", to=role) + frame(0x89, b"p", to=role) + frame(0x80, b"b" * 130, to=role)
    for length in range(1, len(whole)):
        codec = WebSocketCodec(role, 200)
        codec.feed(whole[:length])
        codec.feed(b"")
        for _ in range(2):
            with pytest.raises(FramingError, match="ended inside a message") as info:
                codec.next_frame()
        assert type(info.value) is FramingError
        assert info.value.close_code == 1006
        assert not codec.close_sent
    assert read(role, whole, limit=200) == [b"a" + b"b" * 130, CLEAN]


@pytest.mark.parametrize("before", [b"", b"\x81\x01x", b"\x81"])
def test_bytes_after_the_end_are_our_mistake(before: bytes) -> None:
    codec = WebSocketCodec("client")
    if before:
        codec.feed(before)
    codec.feed(b"")
    with pytest.raises(LocalProtocolError, match="4 bytes fed after the end"):
        codec.feed(b"late")


@BOTH
def test_pongs_are_counted(role: Role) -> None:
    codec = WebSocketCodec(role)
    codec.feed(frame(0x8A, b"1", to=role) + frame(0x8A, b"2", to=role))
    assert codec.next_frame() is Signal.NEED_DATA
    assert (codec.pong_count, codec.last_pong) == (2, b"2")
    assert codec.bytes_to_send() == b""


def test_a_ping_of_ours() -> None:
    codec = WebSocketCodec("server")
    codec.ping()
    codec.ping(b"x" * 125)
    assert codec.bytes_to_send() == b"\x89\x00" + b"\x89\x7d" + b"x" * 125
    assert codec.bytes_to_send() == b""
    with pytest.raises(LocalProtocolError, match="125"):
        codec.ping(b"x" * 126)


@BOTH
def test_an_empty_ping_is_answered(role: Role) -> None:
    codec = WebSocketCodec(role)
    codec.feed(frame(0x89, to=role))
    assert codec.next_frame() is Signal.NEED_DATA
    assert codec.bytes_to_send()[0] == 0x8A


def test_a_flood_of_pings_owes_the_latest_pong_only() -> None:
    codec = WebSocketCodec("server")
    flood = b"".join(frame(0x89, b"%d" % number) for number in range(5000))
    with peak_below(200 * KIB):
        for start in range(0, len(flood), 4096):
            codec.feed(flood[start : start + 4096])
            assert codec.next_frame() is Signal.NEED_DATA
    assert codec.bytes_to_send() == frame(0x8A, b"4999", to="client")


def test_endless_empty_fragments_cost_no_memory() -> None:
    codec = WebSocketCodec("server", 10)
    codec.feed(frame(0x01, b"x"))
    chunk = frame(0x00) * 5000
    with peak_below(64 * KIB):
        for _ in range(10):
            codec.feed(chunk)
            assert codec.next_frame() is Signal.NEED_DATA
    codec.feed(frame(0x80, b"y"))
    assert codec.next_frame() == b"xy"


def test_fragments_of_one_byte_cost_no_more_than_their_bytes() -> None:
    codec = WebSocketCodec("server", MIB)
    chunk = frame(0x00, b"x") * 1000
    codec.feed(frame(0x01, b"x"))
    with peak_below(200 * KIB):
        for _ in range(20):
            codec.feed(chunk)
            assert codec.next_frame() is Signal.NEED_DATA


def test_an_oversize_message_is_not_stored_first() -> None:
    codec = WebSocketCodec("server", 256 * KIB)
    codec.feed(text(b"x" * 2_000_000)[:MIB])
    with peak_below(64 * KIB):
        with pytest.raises(FrameTooLarge):
            codec.next_frame()
        for _ in range(50):
            codec.feed(b"x" * 32 * KIB)


def test_used_chunks_are_let_go() -> None:
    codec = WebSocketCodec("client", 4 * MIB)
    tracemalloc.start()
    try:
        codec.feed(text(b"x" * MIB, "client") + b"\x81")
        assert isinstance(codec.next_frame(), bytes)
        assert codec.next_frame() is Signal.NEED_DATA
        codec.feed(b"\x01")
        assert codec.next_frame() is Signal.NEED_DATA
        assert tracemalloc.get_traced_memory()[0] < 16 * KIB
    finally:
        tracemalloc.stop()


@BOTH
def test_a_large_message_in_small_chunks_is_one_payload(role: Role) -> None:
    payload = bytes(range(32, 127)) * 2000
    stream = text(payload, role)
    codec = WebSocketCodec(role)
    for start in range(0, len(stream), 7):
        assert codec.next_frame() is Signal.NEED_DATA
        codec.feed(stream[start : start + 7])
    assert codec.next_frame() == payload


def test_it_pauses_only_for_a_caller_that_wants_it() -> None:
    flood = frame(0x8A) * 3 + frame(0x81) * 3 + text(b"x")
    codec = WebSocketCodec("server", 10)
    codec.feed(flood)
    assert codec.next_frame() == b"x" and not codec.paused
    codec = WebSocketCodec("server", 10)
    codec.pause_after = 3
    codec.feed(flood)
    for _ in range(2):
        assert codec.next_frame() is Signal.NEED_DATA and codec.paused
    assert codec.next_frame() == b"x"
    assert codec.next_frame() is Signal.NEED_DATA and not codec.paused
