"""The client's side of every framing the driver speaks: payloads in, bytes out, and the reverse.

Pure, hand-written and small, because the driver must never wait for itself. It checks no more than it takes to notice
that a contender does not speak the framing at all.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Protocol

KEY = bytes(range(0x51, 0x61))
"""What the driver puts, in base64, into `Sec-WebSocket-Key`."""

MASK = b"\x9c\x21\x5e\xe7"
"""One masking key for all frames: a server cannot tell, and the driver saves the work of making new ones."""

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
TEXT, BINARY, CLOSE = 1, 2, 8
FINAL, MASKED = 0x80, 0x80


class FramingBroken(Exception):
    """A contender wrote something that is not this framing."""


class Framing(Protocol):
    """Both directions of one connection's framing."""

    def wrap(self, payloads: Iterable[bytes]) -> bytes:
        """Return the bytes that carry these messages."""
        ...

    def cut(self, chunk: bytes) -> list[bytes]:
        """Take what was read and return the messages it completes.

        Raises:
            FramingBroken: It is not this framing.
        """
        ...


class Newline:
    """One message per line."""

    def __init__(self) -> None:
        self._tail: list[bytes] = []

    def wrap(self, payloads: Iterable[bytes]) -> bytes:
        """Return the lines."""
        return b"\n".join([*payloads, b""])

    def cut(self, chunk: bytes) -> list[bytes]:
        """Return the complete lines, empty ones left out."""
        lines = chunk.split(b"\n")
        if len(lines) == 1:
            self._tail.append(chunk)
            return []
        lines[0] = b"".join([*self._tail, lines[0]])
        self._tail = [lines.pop()]
        return [line for line in lines if line]


class _Announced:
    """Frames that begin with their size: what is left of a chunk waits until the frame can be complete."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held = 0
        self._wanted = 0

    def cut(self, chunk: bytes) -> list[bytes]:
        """Return the payloads that are complete."""
        self._pieces.append(chunk)
        self._held += len(chunk)
        if self._held < self._wanted:
            return []
        data = b"".join(self._pieces) if len(self._pieces) > 1 else chunk
        payloads: list[bytes] = []
        start, self._wanted = self._take(data, payloads)
        self._pieces = [data[start:]] if start < len(data) else []
        self._held = len(data) - start
        return payloads

    def _take(self, data: bytes, payloads: list[bytes]) -> tuple[int, int]:
        """Append the complete payloads; return where the next frame starts and how many bytes it needs at least."""
        raise NotImplementedError


class LengthPrefix(_Announced):
    """Four bytes of length, big endian, and the payload."""

    def wrap(self, payloads: Iterable[bytes]) -> bytes:
        """Return the frames."""
        return b"".join([len(payload).to_bytes(4, "big") + payload for payload in payloads])

    def _take(self, data: bytes, payloads: list[bytes]) -> tuple[int, int]:
        start, size = 0, len(data)
        while size - start >= 4:
            stop = start + 4 + int.from_bytes(data[start : start + 4], "big")
            if stop > size:
                return start, stop - start
            payloads.append(data[start + 4 : stop])
            start = stop
        return start, 4


class WebSocketText(_Announced):
    """The client's side of RFC 6455 after the handshake: masked text frames out, whole messages in.

    Pings stay unanswered: no contender gives a peer up within the seconds that a measurement takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fragments: list[bytes] = []
        self._masks: dict[int, int] = {}

    def wrap(self, payloads: Iterable[bytes]) -> bytes:
        """Return one masked text frame per message."""
        return b"".join([self._frame(payload) for payload in payloads])

    def _frame(self, payload: bytes) -> bytes:
        size = len(payload)
        mask = self._masks.get(size)
        if mask is None:
            self._masks[size] = mask = int.from_bytes((MASK * (size // 4 + 1))[:size], "big")
        masked = (int.from_bytes(payload, "big") ^ mask).to_bytes(size, "big")
        if size < 126:
            head = bytes((FINAL | TEXT, MASKED | size))
        elif size < 1 << 16:
            head = bytes((FINAL | TEXT, MASKED | 126, size >> 8, size & 0xFF))
        else:
            head = bytes((FINAL | TEXT, MASKED | 127)) + size.to_bytes(8, "big")
        return head + MASK + masked

    def _take(self, data: bytes, payloads: list[bytes]) -> tuple[int, int]:
        start, held = 0, len(data)
        while held - start >= 2:
            first, size, body = data[start], data[start + 1], start + 2
            if size > 125:
                body += 2 if size == 126 else 8
                if body > held:
                    return start, body - start
                size = int.from_bytes(data[start + 2 : body], "big")
            stop = body + size
            if stop > held:
                return start, stop - start
            self._accept(first, data[body:stop], payloads)
            start = stop
        return start, 2

    def _accept(self, first: int, payload: bytes, payloads: list[bytes]) -> None:
        opcode = first & 0x0F
        if opcode == CLOSE:
            raise FramingBroken(f"closed with {int.from_bytes(payload[:2], 'big')}: {payload[2:]!r}")
        if opcode > CLOSE:
            return
        if first & 0x70 or opcode > BINARY or (opcode == 0) != bool(self._fragments):
            raise FramingBroken(f"a frame that begins with {first:#04x}")
        self._fragments.append(payload)
        if first & FINAL:
            payloads.append(payload if len(self._fragments) == 1 else b"".join(self._fragments))
            self._fragments.clear()


FRAMINGS: dict[str, type[Newline] | type[LengthPrefix] | type[WebSocketText]] = {
    "newline": Newline,
    "length-prefix": LengthPrefix,
    "websocket": WebSocketText,
}


def upgrade_request(host: str) -> bytes:
    """Return the client's half of the opening handshake; `host` as in its header."""
    key = base64.b64encode(KEY).decode()
    return (
        f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mcp\r\n\r\n"
    ).encode()


def check_upgrade(response: bytes) -> None:
    """Check the server's half, head only.

    Raises:
        FramingBroken: It refused, or accepted another key.
    """
    digest = hashlib.sha1(base64.b64encode(KEY) + GUID, usedforsecurity=False).digest()
    if not response.startswith(b"HTTP/1.1 101") or base64.b64encode(digest) not in response:
        raise FramingBroken(f"no upgrade: {response[:300]!r}")
