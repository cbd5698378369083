"""WebSocket frames built by hand, streams of them that are nearly right, and a reading of a whole stream at leisure.

Written from RFC 6455 and nothing else: neither the codec nor a library of the trade has a hand in it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import cycle
from typing import Literal

import attrs
from hypothesis import strategies as st

from trio_mcp_transport.errors import FrameTooLarge, FramingError
from trio_mcp_transport.wire.signals import Signal
from trio_mcp_transport.wire.websocket import WebSocketCodec

Role = Literal["server", "client"]
ROLES: tuple[Role, ...] = ("server", "client")
KEY = b"\x1f\x8b\x00\xff"


def other(role: Role) -> Role:
    return "client" if role == "server" else "server"


def frame(first: int, payload: bytes = b"", *, to: Role = "server", key: bytes = KEY, wide: int = 0) -> bytes:
    """One frame, masked when it goes to a server.

    Args:
        first: The first byte.
        payload: What it carries.
        to: Who reads it.
        key: The mask.
        wide: 2 or 8 for a longer form of the length than needed.
    """
    size = len(payload)
    mask = 0x80 if to == "server" else 0
    if wide == 8 or size > 0xFFFF:
        header = struct.pack("!BBQ", first, mask | 127, size)
    elif wide == 2 or size > 125:
        header = struct.pack("!BBH", first, mask | 126, size)
    else:
        header = struct.pack("!BB", first, mask | size)
    return header + (key + masked(payload, key) if mask else payload)


def masked(payload: bytes, key: bytes = KEY) -> bytes:
    return bytes(byte ^ mask for byte, mask in zip(payload, cycle(key), strict=False))


def text(payload: bytes, to: Role = "server") -> bytes:
    return frame(0x81, payload, to=to)


def close(code: int | None = None, reason: bytes = b"", to: Role = "server") -> bytes:
    return frame(0x88, b"" if code is None else struct.pack("!H", code) + reason, to=to)


@attrs.frozen
class End:
    """How a stream ends: the signal or the error, and the code of the Close that the peer gets (None for none)."""

    how: Signal | type[FramingError]
    code: int | None


Answer = bytes | End


def answers(codec: WebSocketCodec, chunks: list[bytes]) -> list[Answer]:
    """What a codec says to chunks and the end of the stream, and the code of the Close that it owes in the end.

    An error that owes none has the code 1006.
    """
    found: list[Answer] = []
    for chunk in [*chunks, b""]:
        codec.feed(chunk)
        while True:
            try:
                event = codec.next_frame()
            except FramingError as error:
                if (_owed_code(codec) or 1006) != error.close_code:
                    raise AssertionError("the error and the Close disagree") from error
                return [*found, End(type(error), error.close_code)]
            if event is Signal.NEED_DATA:
                break
            if isinstance(event, Signal):
                return [*found, End(event, _owed_code(codec))]
            found.append(event)
    raise AssertionError("the end of the stream was not seen")


def _owed_code(codec: WebSocketCodec) -> int | None:
    """The code of the Close at the end of what is owed; 1005 for one without a code."""
    owed = codec.bytes_to_send()
    if owed[:1] != b"\x88":
        return None  # nothing, or a pong
    plain = masked(owed[6:], owed[2:6]) if owed[1] & 0x80 else owed[2:]
    code: int = struct.unpack("!H", plain[:2])[0] if plain else 1005
    return code


def leisurely(stream: bytes, role: Role, limit: int, *, binary: bool = False) -> Iterator[Answer]:
    """Say what a codec has to answer, with the whole stream at hand and no thought for time."""
    message, opcode = b"", 0
    while stream:
        header = _header(stream, role)
        if header is None:
            yield End(FramingError, 1006)
            return
        if isinstance(header, End):
            yield header
            return
        first, size, body, key = header
        kind = first & 0x0F
        problem = _problem(first, size, bool(opcode), binary)
        if problem is not None:
            yield End(FramingError, problem)
            return
        if kind < 8 and len(message) + size > limit:
            yield End(FrameTooLarge, 1009)
            return
        if body < 0 or body + size > len(stream):
            yield End(FramingError, 1006)
            return
        payload = masked(stream[body : body + size], key) if key else stream[body : body + size]
        stream = stream[body + size :]
        if kind == 8:
            code = _close_code(payload)
            yield End(FramingError, -code) if code < 0 else End(Signal.END_OF_STREAM, code)
            return
        if kind >= 8:
            continue
        opcode = kind or opcode
        message += payload
        if first & 0x80:
            if opcode == 1 and not _decodes(message):
                yield End(FramingError, 1007)
                return
            if message:
                yield message
            message, opcode = b"", 0
    yield End(FramingError, 1006) if opcode else End(Signal.END_OF_STREAM, None)


def _header(stream: bytes, role: Role) -> tuple[int, int, int, bytes] | End | None:
    """First byte, size, start of the payload (-1: not there yet) and key; or what is wrong; or None: more is needed."""
    if len(stream) < 2:
        return None
    first, second = stream[:2]
    size = second & 0x7F
    start = 2
    if first & 0x70 or bool(second & 0x80) != (role == "server") or (first & 0x08 and size > 125):
        return End(FramingError, 1002)
    if _problem(first, 0, True, True) == 1002 and _problem(first, 0, False, True) == 1002:
        return End(FramingError, 1002)
    if size >= 126:
        start = 4 if size == 126 else 10
        if len(stream) < start:
            # What the first byte alone gets wrong is known before the length is.
            return (first, 0, -1, b"") if first & 0x0F < 3 else None
        (size,) = struct.unpack("!H" if start == 4 else "!Q", stream[2:start])
        if size < (126 if start == 4 else 0x10000) or size >= 1 << 63:
            return End(FramingError, 1002)
    key = stream[start : start + 4] if role == "server" else b""
    if role == "server":
        start = start + 4 if len(key) == 4 else -1
    return first, size, start, key


def _problem(first: int, size: int, open_message: bool, binary: bool) -> int | None:
    """The close code for a header that is refused whatever follows, or None."""
    kind, final = first & 0x0F, first & 0x80
    if first & 0x70 or kind in range(3, 8) or kind > 10:
        return 1002
    if kind >= 8:
        return None if final and size <= 125 else 1002
    if open_message != (kind == 0):
        return 1002
    return 1003 if kind == 2 and not binary else None


def _close_code(payload: bytes) -> int:
    """The code to answer a Close with; negative when the Close itself is wrong."""
    if not payload:
        return 1005
    if len(payload) == 1:
        return -1002
    (code,) = struct.unpack("!H", payload[:2])
    if code not in {1000, 1001, 1002, 1003, *range(1007, 1014), *range(3000, 5000)}:
        return -1002
    return code if _decodes(payload[2:]) else -1007


def _decodes(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


CODES = st.sampled_from(
    [None, 0, 999, 1000, 1001, 1003, 1004, 1005, 1006, 1007, 1013, 1015, 1016, 2999, 3000, 4999, 5000]
)
PIECES = st.sampled_from(
    [b"", b"a", b"bc", b"\xc3", b"\xa4", b"\xc3\xa4", b"\xf0\x9f\x98\x80", b"\xff", b"\xed\xa0\x80"]
)


@st.composite
def near_misses(draw: st.DrawFn, role: Role, limit: int, *, wide: bool = True, cut: bool = True) -> bytes:
    """Frames a little off: lengths around every boundary, masks, bits, orders and closes that are almost right.

    Args:
        draw: Hypothesis'.
        role: Who reads them.
        limit: Of a message.
        wide: Write some lengths longer than they need to be.
        cut: Leave some of the last bytes out.
    """
    sizes = st.sampled_from([0, 1, 2, limit - 1, limit, limit + 1, 125, 126, 127])
    payloads = st.one_of(PIECES, PIECES, sizes.map(b"x".__mul__))
    starts = st.sampled_from([0x81, 0x81, 0x01, 0x00, 0x00, 0x80, 0x80, 0x89, 0x8A, 0x82, 0x02])
    wrong = st.sampled_from([0xC1, 0xA1, 0x91, 0x83, 0x87, 0x8B, 0x8F, 0x08, 0x09, 0x0A, 0x40, 0x10])
    stream = b""
    for _ in range(draw(st.integers(0, 8))):
        what = draw(st.integers(0, 11))
        if what == 0:
            reason = draw(st.sampled_from([b"", b"bye", b"\xff"]))
            stream += close(draw(CODES), reason, to=role)
        elif what == 1:
            first = draw(st.one_of(starts, wrong))
            stream += frame(first, draw(payloads), to=draw(st.sampled_from([role, other(role)])))
        elif what == 2 and wide:
            stream += frame(draw(starts), draw(payloads), to=role, wide=draw(st.sampled_from([2, 8])))
        elif what == 3:
            stream += frame(0x88, draw(payloads), to=role)
        else:
            stream += frame(draw(starts), draw(payloads), to=role, key=draw(st.binary(min_size=4, max_size=4)))
    return stream[: len(stream) - (draw(st.sampled_from([0, 0, 0, 1, 2, 5])) if cut else 0)]
