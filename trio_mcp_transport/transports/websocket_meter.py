"""The size of WebSocket messages in bytes and frames, told from headers before the library sees a payload.

trio-websocket counts the characters of a text message, and only after it has them; it counts no fragments, of which
each costs it memory even when it is empty; and all frames of a chunk cost it one turn of the loop, at 40 us each.  Must
never judge a frame otherwise: whatever breaks the protocol is for the library to find.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MessageMeter"]

FRAGMENTS: Final = 64 * 1024
"""Frames of one message: at 84 bytes each for three of payload, 5 MiB beside the message (ws: 131,072 in 8.21.0)."""

FRAMES_AT_ONCE: Final = 64
"""Frames handed to the library in one turn: 3 ms, after which other connections have theirs."""

_CONTROL = 0x08
_OPCODE = 0x0F
_LENGTH = 0x7F
_TWO_BYTES = 126
_EIGHT_BYTES = 127


class MessageMeter:
    """Adds up the payloads of each message of a byte stream (RFC 6455 section 5.2).

    Attributes:
        excess: What is too large, once something was; nothing is to be measured behind it.
    """

    def __init__(self, limit: int, *, masked: bool) -> None:
        """Begin between two frames.

        Args:
            limit: The largest message, in bytes, all fragments together.
            masked: Whether the sender masks, as clients do: four bytes more per header.
        """
        self.excess: str | None = None
        self._limit = limit
        self._masked = masked
        self._key_size = 4 if masked else 0
        self._skip = 0  # bytes of the frame under way still to come
        self._partial = b""  # the beginning of a header
        self._size = 0  # of the message under way
        self._fragments = 0  # of the same
        self._lost = False  # behind a frame that is masked and must not be, or the reverse

    def measure(self, chunk: bytes) -> int | None:
        """Look at the next bytes.

        Returns:
            None when all of them may go to the library; else how many may, as what follows is the header of a frame
            for which there is an ``excess``, or for the next turn and to be measured again then.
        """
        if self._lost:
            return None
        partial = len(self._partial)
        if partial:
            chunk = self._partial + chunk
        end = len(chunk)
        at = self._skip
        frames = 0
        while at + 2 <= end:
            first, second = chunk[at], chunk[at + 1]
            if (second > _LENGTH) is not self._masked:
                self._lost = True  # the library refuses this frame, whatever its length
                return None
            length = second & _LENGTH
            body = at + 2
            if length >= _TWO_BYTES:
                body += 8 if length == _EIGHT_BYTES else 2
                if body > end:
                    break
                length = int.from_bytes(chunk[at + 2 : body], "big")
            if frames == FRAMES_AT_ONCE:
                self._skip = 0
                self._partial = b""
                return at - partial
            if not first & _CONTROL and self._too_much(first, length):
                return max(0, at - partial)
            at = body + self._key_size + length
            frames += 1
        self._skip = max(0, at - end)
        self._partial = chunk[at:]
        return None

    def _too_much(self, first: int, length: int) -> bool:
        """Add a data frame to its message; tell whether that is over a limit."""
        if first & _OPCODE:
            self._size = self._fragments = 0
        self._size += length
        self._fragments += 1
        if self._size > self._limit:
            self.excess = f"a message is over the limit of {self._limit} bytes"
        elif self._fragments > FRAGMENTS:
            self.excess = f"a message has more than {FRAGMENTS} fragments"
        return self.excess is not None
