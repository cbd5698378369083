"""Length-prefix and server-side WebSocket frames for the raw limits: as little as answers a well-behaved client.

No limits, no checks, no control frames but a Close, at which serving ends. It must never grow a feature that costs
something per message.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from raw_server import Reply, Result, Text, answer_other, decode_call, encode

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
TEXT, CLOSE = 0x81, 0x88  # opcodes with FIN, the only ones expected
LARGE = 4096  # bytes from which translating every fourth byte is cheaper than one large integer
TABLES = [bytes(byte ^ key for byte in range(256)) for key in range(256)]

Payload = bytes | bytearray


class Closed(Exception):
    """The peer sent a Close."""


def answer(payload: Payload) -> bytes | None:
    """Answer one message, without a framing; None when it asks for nothing."""
    try:
        call = decode_call(payload)
    except ValueError:  # msgspec.ValidationError is one
        line = answer_other(bytes(payload))
        return line and line[:-1]
    return encode(Reply(call.id, Result((Text(call.params.arguments.text),))))


class Frames:
    """Cuts chunks into payloads by `take`; the pieces of an unfinished frame are joined once."""

    def __init__(self, take: Callable[[bytes, list[Payload]], tuple[int, int]]) -> None:
        self._take = take
        self._pieces: list[bytes] = []
        self._held = 0
        self._wanted = 0

    def cut(self, chunk: bytes) -> list[Payload]:
        """Take a chunk and return the payloads it completes."""
        if self._held:
            self._pieces.append(chunk)
            self._held += len(chunk)
            if self._held < self._wanted:
                return []
            chunk = b"".join(self._pieces)
        payloads: list[Payload] = []
        start, self._wanted = self._take(chunk, payloads)
        self._held = len(chunk) - start
        self._pieces = [chunk[start:]] if self._held else []
        return payloads


def take_prefixed(data: bytes, payloads: list[Payload]) -> tuple[int, int]:
    """Append the complete payloads; return where the next frame starts and how many bytes it needs at least."""
    start, held = 0, len(data)
    while held - start >= 4:
        stop = start + 4 + int.from_bytes(data[start : start + 4], "big")
        if stop > held:
            return start, stop - start
        payloads.append(data[start + 4 : stop])
        start = stop
    return start, 4


def unmask(masked: bytes, key: bytes) -> Payload:
    """Return a payload without its mask."""
    size = len(masked)
    if size < LARGE:
        mask = int.from_bytes((key * (size // 4 + 1))[:size], "big")
        return (int.from_bytes(masked, "big") ^ mask).to_bytes(size, "big")
    payload = bytearray(masked)
    for start in range(4):
        payload[start::4] = masked[start::4].translate(TABLES[key[start]])
    return payload


def take_masked(data: bytes, payloads: list[Payload]) -> tuple[int, int]:
    """Do the same for masked text frames.

    Raises:
        Closed: The peer sent a Close.
    """
    start, held = 0, len(data)
    while held - start >= 6:
        if data[start] == CLOSE:
            raise Closed
        size, body = data[start + 1] & 0x7F, start + 2
        if size > 125:
            body += 2 if size == 126 else 8
            if body > held:
                return start, body - start
            size = int.from_bytes(data[start + 2 : body], "big")
        stop = body + 4 + size
        if stop > held:
            return start, stop - start
        payloads.append(unmask(data[body + 4 : stop], data[body : body + 4]))
        start = stop
    return start, 6


def prefix(payload: bytes) -> bytes:
    """Return the four bytes in front of a payload."""
    return len(payload).to_bytes(4, "big")


def text_header(payload: bytes) -> bytes:
    """Return the header of an unmasked text frame."""
    size = len(payload)
    if size < 126:
        return bytes((TEXT, size))
    if size < 1 << 16:
        return bytes((TEXT, 126, size >> 8, size & 0xFF))
    return bytes((TEXT, 127)) + size.to_bytes(8, "big")


def accept_upgrade(request: bytes) -> bytes:
    """Return the response to an upgrade request, whatever else the request says."""
    head = request.lower()
    at = head.index(b"sec-websocket-key:") + len(b"sec-websocket-key:")
    key = request[at : head.index(b"\r\n", at)].strip()
    digest = hashlib.sha1(key + GUID, usedforsecurity=False).digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: mcp\r\n\r\n" % base64.b64encode(digest)
    )
