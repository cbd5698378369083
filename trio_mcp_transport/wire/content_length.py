r"""Frames behind a header that says their length: ``Content-Length: 2\r\n\r\n{}``, as language servers send them.

Rules, as data flows through this file:

- Header lines end in CR LF, nothing else; an empty one ends the header.
- A line is judged as soon as it is complete, its first byte at once: a peer that speaks another protocol and waits for
  an answer is told.
- The header is bounded in bytes and fields, whatever is in it.

What a field may say is in `content_fields`, what follows the header in `sized`; this file must never interpret either.

Plan: a header that holds nothing but the length, which is what most peers send, is read by one match.  Any other one
goes the slow way, line by line; both must judge alike.
"""

from __future__ import annotations

import re
from typing import Final

from trio_mcp_transport.errors import FramingError
from trio_mcp_transport.wire.content_fields import ContentFields
from trio_mcp_transport.wire.sized import DEFAULT_LIMIT, SizedCodec

__all__ = ["ContentLengthCodec"]

_HEADER = 8 * 1024
"""Bytes of one header with its line ends; nginx takes 8 KiB for all fields, Apache 8,190 bytes for one."""

# Every repetition is bounded, for the peer chose the bytes; what is written differently goes the slow way.
_PLAIN: Final = re.compile(rb"(?i:content-length): ?([0-9]{1,19})\r\n\r\n")


class ContentLengthCodec(SizedCodec):
    """Cut a byte stream at Content-Length headers, and put them before payloads (a `FrameCodec`).

    Feed it what arrives, then pull frames until it answers with a signal::

        codec.feed(data)
        while not isinstance(frame := codec.next_frame(), Signal):
            ...

    Specification: Language Server Protocol 3.17, "Base Protocol"; what is accepted beyond it is in `content_fields`.
    A length of 0 is skipped.

    Args:
        max_frame_size: The longest payload accepted from the peer, in bytes, at least 1; the header does not count.

    Raises:
        ConfigError: ``max_frame_size`` is below 1.
    """

    __slots__ = ("_fields", "_line")

    def __init__(self, max_frame_size: int = DEFAULT_LIMIT) -> None:
        super().__init__(max_frame_size)
        self._line = bytearray()  # the beginning of a header line that continues in the next chunk
        self._fields = ContentFields()

    def _take_header(self) -> None:
        if not self._header_size:
            plain = _PLAIN.match(self._chunk, self._offset)
            if plain is not None:
                self._offset = plain.end()
                self._expect(int(plain[1]))
                return
        line = self._take_line()
        if line is None:
            return
        if line != b"\r\n":
            if not line.endswith(b"\r\n"):
                raise FramingError("a header line ends in a newline without CR")
            self._fields.add(line[:-2])
            self._check_room()
            return
        length = self._fields.length()
        self._fields = ContentFields()
        self._expect(length)

    def _take_line(self) -> bytes | None:
        """Return the next line up to and with its newline, or None, with what is here of it put aside."""
        chunk, start = self._chunk, self._offset
        if not self._line:
            self._fields.check_beginning(chunk[start])
        last = start + _HEADER - self._header_size
        end = chunk.find(b"\n", start, last)
        stop = end + 1 if end >= 0 else min(len(chunk), last)
        self._line += chunk[start:stop]
        self._offset = stop
        self._header_size += stop - start
        if end < 0:
            self._check_room()
            return None
        line = bytes(self._line)
        self._line.clear()
        return line

    def _check_room(self) -> None:
        """Refuse a header that has used up its bytes and did not end."""
        if self._header_size == _HEADER:
            raise FramingError(f"a header did not end within {_HEADER} bytes")

    def _header_for(self, size: int) -> bytes:
        return b"Content-Length: %d\r\n\r\n" % size
