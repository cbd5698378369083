"""The frames of a WebSocket connection, cut from the bytes of the peer: first byte and payload, one after the other.

Must never know what a frame means for the connection: `wire.websocket` says which first bytes may come next, and what
follows from a frame.  A header that is not exactly one of those is handed back as it is, to be judged there.

Operations: store bytes; cut the next frame; tell whether one was begun; drop everything.

Goals: linear in the bytes, whatever the chunks; a payload is kept only after its header was found good and its length
short enough.

Plan: a frame that lies in one chunk is cut from it.  Any other is collected in a `PieceBuffer`, and its mask comes off
once it is complete, because a mask taken off piece by piece costs a one-byte piece a hundred times its size.  Header
and lengths: RFC 6455 section 5.2.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable
from typing import Final

from ..errors import FrameTooLarge
from .buffers import PieceBuffer

__all__ = ["FrameReader", "UnexpectedHeader", "data_header", "is_utf8", "text_frames"]

FIN: Final = 0x80
OPCODE: Final = 0x0F
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A
WHOLE_TEXT: Final = FIN | TEXT
_CONTROL: Final = frozenset({CLOSE, PING, PONG})
CONTINUATIONS: Final = _CONTROL | {0x00, FIN}
"""First bytes that may come inside a fragmented message."""
TEXT_STARTS: Final = _CONTROL | {TEXT, WHOLE_TEXT}
"""First bytes that may come elsewhere, where only text is accepted."""
ANY_STARTS: Final = TEXT_STARTS | {BINARY, FIN | BINARY}
"""The same, where binary is accepted too."""
MASKED: Final = 0x80
"""The bit of a header's second byte."""

LONGEST_CONTROL: Final = 125
"""Bytes of payload of a control frame (section 5.5)."""

_TWO_BYTES: Final = 126
_EIGHT_BYTES: Final = 127
_KEY: Final = 4
_WINDOW: Final = 64 * 1024
"""Bytes decoded at once to check UTF-8: as a string, a message may take four times its size."""


class UnexpectedHeader(Exception):
    """A header is none of the expected ones.

    Attributes:
        header: Its bytes as far as they are at fault: two, or all before the key.
    """

    def __init__(self, header: bytes) -> None:
        super().__init__(header.hex())
        self.header = header


class FrameReader:
    """Cut frames from a stream.

    Attributes:
        expected: First bytes that may come next.
        held: Payload bytes of earlier fragments, which count towards the limit.
        first: The first byte of the frame that `read` returned last.
    """

    __slots__ = (
        "_chunk",
        "_incoming",
        "_key",
        "_limit",
        "_mask",
        "_missing",
        "_offset",
        "_payload",
        "_unmask",
        "expected",
        "first",
        "held",
    )

    def __init__(
        self, *, masked: bool, limit: int, expected: frozenset[int], unmask: Callable[[bytes, bytes], bytes]
    ) -> None:
        """Begin with the first byte behind the handshake.

        Args:
            masked: Whether the peer has to mask, as clients do; else it must not.
            limit: Bytes of a message, all its fragments together.
            expected: First bytes a first frame may have.
            unmask: Takes a payload and its key.
        """
        self._mask = MASKED if masked else 0
        self._limit = limit
        self._unmask = unmask
        self.expected: frozenset[int] = expected
        self.held: int = 0
        self.first: int = 0
        self._chunk = b""  # what is being cut, from _offset on
        self._offset = 0
        self._incoming = PieceBuffer()  # fed while _chunk was not used up
        self._missing = -1  # payload bytes still to come of the frame that was begun, or -1
        self._key = b""
        self._payload = PieceBuffer()  # what is here of that payload, when it was cut in two

    @property
    def begun(self) -> bool:
        """Whether bytes of an unfinished frame are here, once `read` returned None."""
        return self._missing >= 0 or self._offset < len(self._chunk)

    def feed(self, data: bytes) -> None:
        """Store bytes."""
        if type(data) is not bytes:
            data = bytes(memoryview(data))  # a payload cut from a bytearray would change under its reader
        if self._offset < len(self._chunk):
            self._incoming.append(data)
        else:
            self._chunk = data
            self._offset = 0

    def read(self) -> bytes | None:
        """Return the payload of the next frame, without its mask, or None until more was fed.

        Raises:
            UnexpectedHeader: The next header is not expected, or not well-formed.
            FrameTooLarge: The next frame takes its message over the limit.
        """
        while True:
            payload = self._read_payload() if self._missing >= 0 or self._read_header() else None
            if payload is not None:
                self._missing = -1
                return self._unmask(payload, self._key) if self._mask else payload
            if not self._incoming:
                return None
            # What is left of the chunk is less than a header.
            self._chunk = self._chunk[self._offset :] + self._incoming.take()
            self._offset = 0

    def clear(self) -> None:
        """Let go of everything."""
        self._chunk = b""
        self._offset = self.held = 0
        self._missing = -1
        self._incoming.clear()
        self._payload.clear()

    def _read_header(self) -> bool:
        """Read and judge one header; False while it is not complete."""
        chunk, start = self._chunk, self._offset
        body = start + 2
        if body > len(chunk):
            return False
        first = chunk[start]
        size = chunk[start + 1] ^ self._mask  # over 127 when the mask is there and must not be, or the reverse
        if first not in self.expected or size > _EIGHT_BYTES or (size > LONGEST_CONTROL and first >= CLOSE):
            raise UnexpectedHeader(chunk[start:body])
        if size >= _TWO_BYTES:
            body += 2 if size == _TWO_BYTES else 8
            if body > len(chunk):
                return False
            smallest = _TWO_BYTES if size == _TWO_BYTES else 1 << 16
            size = int.from_bytes(chunk[start + 2 : body], "big")
            if not smallest <= size < 1 << 63:
                raise UnexpectedHeader(chunk[start:body])
        if size + self.held > self._limit and first < CLOSE:
            raise FrameTooLarge(f"a message is over the limit of {self._limit} bytes", limit=self._limit)
        if self._mask:
            body += _KEY
            if body > len(chunk):
                return False
            self._key = chunk[body - _KEY : body]
        self.first = first
        self._missing = size
        self._offset = body
        return True

    def _read_payload(self) -> bytes | None:
        """Return the payload once all of it is here, still masked."""
        chunk, start = self._chunk, self._offset
        stop = start + self._missing
        payload = chunk[start:stop]
        if stop <= len(chunk) and not self._payload:
            self._offset = stop
            return payload
        self._payload.append(payload)
        self._missing -= len(payload)
        self._offset = start + len(payload)
        return None if self._missing else self._payload.take()


def data_header(first: int, size: int, *, masked: bool) -> bytes:
    """Return the header of a frame, without a key; the shortest form of the length is the only legal one."""
    mask = MASKED if masked else 0
    if size < _TWO_BYTES:
        return bytes((first, mask | size))
    if size < 1 << 16:
        return bytes((first, mask | _TWO_BYTES, size >> 8, size & 0xFF))
    return bytes((first, mask | _EIGHT_BYTES)) + size.to_bytes(8, "big")


def text_frames(payloads: Iterable[bytes]) -> bytes:
    """Return each payload as one text frame of a server, unmasked, all joined."""
    parts: list[bytes] = []
    for payload in payloads:
        parts += data_header(WHOLE_TEXT, len(payload), masked=False), payload
    return b"".join(parts)


def is_utf8(payload: bytes) -> bool:
    """Tell whether a whole message is valid UTF-8 (section 8.1), with little memory of its own."""
    if payload.isascii():
        return True
    decoder = getincrementaldecoder("utf-8")()
    view = memoryview(payload)
    try:
        for start in range(0, len(payload), _WINDOW):
            decoder.decode(view[start : start + _WINDOW])
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        return False
    return True
