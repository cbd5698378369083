"""The head of one HTTP/1.1 message: start line and fields, read strictly and within bounds.

A small parser of our own instead of h11, because every tolerance of a general one is a question here: a folded line, a
bare newline, a second ``Host``, a byte beyond ASCII.  All of them are refused, as an answer and never as an exception
of somebody else's.

This file must never read a body, and must never keep more than its limit and one chunk.

Sources: RFC 9112 sections 2 to 5, RFC 9110 section 5.
"""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["Head", "HeadError", "HeadReader", "is_field_text", "is_token"]

_MAX_HEAD: Final = 16 * 1024
"""Bytes (h11 and node: 16 KiB; nginx: four buffers of 8 KiB)."""

_MAX_FIELDS: Final = 100
"""Fields (Apache, hyper: 100)."""

_TEXT: Final = bytes(range(0x20, 0x7F)) + b"\t"
_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class HeadError(Exception):
    """The head is refused.

    Attributes:
        status: The HTTP status to answer with.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@attrs.frozen
class Head:
    """A head that was read.

    Attributes:
        start: The start line.
        fields: Names in lower case with their values, in order.
        leftover: The bytes behind the head.
    """

    start: str
    fields: tuple[tuple[str, str], ...]
    leftover: bytes

    def values(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for key, value in self.fields if key == name]

    def single(self, name: str) -> str | None:
        """Return the value of a field that stands there at most once, or None.

        Raises:
            HeadError: It stands there twice.
        """
        values = self.values(name)
        if len(values) > 1:
            raise HeadError(400, f"more than one {name} field")
        return values[0] if values else None

    def tokens(self, name: str) -> list[str]:
        """Return the elements of a comma-separated field, of all its lines."""
        elements = [element.strip(" \t") for value in self.values(name) for element in value.split(",")]
        return [element for element in elements if element]

    def mapping(self) -> dict[str, str]:
        """Return the fields by name, the values of repeated ones joined by a comma (RFC 9110 section 5.3)."""
        return {name: ", ".join(self.values(name)) for name, _ in self.fields}


class HeadReader:
    """Read one head.

    Args:
        max_size: Bytes of the head, its last empty line included.
        max_fields: Number of fields.
    """

    def __init__(self, max_size: int = _MAX_HEAD, max_fields: int = _MAX_FIELDS) -> None:
        self._max_size = max_size
        self._max_fields = max_fields
        self._buffer = bytearray()
        self._line = 0  # where the current line begins
        self._searched = 0
        self._start: str | None = None
        self._fields: list[tuple[str, str]] = []

    def feed(self, data: bytes) -> Head | None:
        """Take bytes; return the head once it is complete, and nothing more is to be fed.

        Raises:
            HeadError: It is malformed or over a limit; how it was cut into chunks makes no difference.
        """
        buffer = self._buffer
        buffer += data
        while (end := buffer.find(b"\n", self._searched, self._max_size)) >= 0:
            line = bytes(buffer[self._line : end + 1])
            self._line = self._searched = end + 1
            if line == b"\r\n" and self._start is not None:
                return Head(self._start, tuple(self._fields), bytes(buffer[end + 1 :]))
            self._take_line(line)
        self._searched = len(buffer)
        if len(buffer) >= self._max_size:
            raise HeadError(431, f"the head is over {self._max_size} bytes")
        return None

    def _take_line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n") or line[:-2].translate(None, _TEXT):
            raise HeadError(400, "a line of the head is not printable ASCII with CRLF at its end")
        text = line[:-2].decode("ascii")
        if self._start is None:
            self._start = text
            return
        if len(self._fields) == self._max_fields:
            raise HeadError(431, f"the head has more than {self._max_fields} fields")
        name, colon, value = text.partition(":")
        if not colon or not is_token(name):  # a folded line begins with a space, which is in no token
            raise HeadError(400, "a line of the head is no field")
        self._fields.append((name.lower(), value.strip(" \t")))


def is_token(text: str) -> bool:
    """Tell whether a text is a token (RFC 9110 section 5.6.2)."""
    return bool(text) and _TOKEN.issuperset(text)


def is_field_text(text: str) -> bool:
    """Tell whether a text may stand in a field or a start line: printable ASCII and tabs, so never a line end."""
    return text.isascii() and not text.encode("ascii").translate(None, _TEXT)
