"""The size of WebSocket messages in bytes, told from the headers of their frames before a payload is kept.

trio-websocket counts the characters of a text message, and only after it has them.  Must never judge a frame otherwise:
whatever breaks the protocol is for the library to find.
"""

from __future__ import annotations

__all__ = ["MessageMeter"]

_CONTROL = 0x08
_OPCODE = 0x0F
_LENGTH = 0x7F
_TWO_BYTES = 126
_EIGHT_BYTES = 127


class MessageMeter:
    """Adds up the payloads of each message of a byte stream (RFC 6455 section 5.2)."""

    def __init__(self, limit: int, *, masked: bool) -> None:
        """Begin between two frames.

        Args:
            limit: The largest message, in bytes, all fragments together.
            masked: Whether the sender masks, as clients do: four bytes more per header.
        """
        self._limit = limit
        self._key_size = 4 if masked else 0
        self._skip = 0  # bytes of the frame under way still to come
        self._partial = b""  # the beginning of a header
        self._size = 0  # of the message under way

    def measure(self, chunk: bytes) -> int | None:
        """Look at the next bytes.

        Returns:
            None when no message is over the limit; else how many bytes of the chunk came before the header of the
            frame that is.
        """
        partial = len(self._partial)
        if partial:
            chunk = self._partial + chunk
        end = len(chunk)
        at = self._skip
        while at + 2 <= end:
            first = chunk[at]
            length = chunk[at + 1] & _LENGTH
            body = at + 2
            if length >= _TWO_BYTES:
                body += 8 if length == _EIGHT_BYTES else 2
                if body > end:
                    break
                length = int.from_bytes(chunk[at + 2 : body], "big")
            if not first & _CONTROL:
                self._size = length + (0 if first & _OPCODE else self._size)
                if self._size > self._limit:
                    return max(0, at - partial)
            at = body + self._key_size + length
        self._skip = max(0, at - end)
        self._partial = chunk[at:]
        return None
