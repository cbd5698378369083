"""Frames that end in a newline: one JSON text per line, as MCP sends them over stdio, TCP and Unix sockets.

Rules, as data flows through this file:

- A line ends at byte 0x0A and nowhere else; U+2028, U+0085 and a lone CR are payload.  Exactly one CR before the
  newline belongs to the delimiter.  Empty lines are skipped.
- The limit counts payload.  A line is refused as soon as its bytes show that no continuation can make it legal, and
  from then on nothing of it is kept: its bytes are dropped up to the next newline, and the lines after it are served.
- A line the stream ended in is never delivered: half a message that happens to parse is worse than an error.

This file must never look inside a payload, and must never let the cuts between two ``feed`` calls show in what
``next_frame`` returns or raises.

Plan: ``feed`` puts bytes aside.  ``next_frame`` cuts a small window from them and splits it in one call, which costs a
quarter of a search per line; a line that does not end inside its window goes the slow way, piece by piece.  The offset
of what was looked at is remembered, so every byte is looked at a bounded number of times.
"""

from __future__ import annotations

import re
from typing import ClassVar

from trio_mcp_transport.errors import ConfigError, FrameTooLarge, FramingError, LocalProtocolError
from trio_mcp_transport.wire.buffers import PieceBuffer
from trio_mcp_transport.wire.signals import Signal

__all__ = ["NewlineCodec"]

_DEFAULT_LIMIT = 16 * 1024 * 1024
"""Bytes of payload; four times gRPC's default of 4 MiB, because pipes carry tool results with inline images."""

_WINDOW = 8 * 1024
"""Bytes cut for one split: about 64 lines of 100 bytes, so that hardly anything is cut twice."""

_LONG = 1024
"""Bytes from which lines are found one by one: ``find`` is a memchr, ``split`` looks at every byte by itself."""

_SPLIT = 64
"""Frames split ahead of the consumer; the reader of a pipe passes a checkpoint after as many."""

_PATIENCE = 16
"""Times the limit that one refused line may go on before the peer no longer counts as sending lines."""

_LF = 0x0A
_CR = 0x0D
_LINE_END = b"\r\n"
_EMPTY_LINES = re.compile(rb"(?:\r?\n)*+").match
"""Takes a flood of empty lines at once, a fifth of what one by one costs; possessive, so that it never looks back."""


class NewlineCodec:
    """Cut a byte stream into lines, and payloads into the bytes of a line (a `FrameCodec`).

    Feed it what arrives, then pull frames until it answers with a signal::

        codec.feed(data)
        while not isinstance(frame := codec.next_frame(), Signal):
            ...

    Specification: MCP 2025-11-25 and 2026-07-28, "stdio": messages are delimited by newlines and must not contain any.

    Args:
        max_message_size: The longest payload accepted from the peer, in bytes, at least 1; the newline and a CR
            before it do not count.

    Raises:
        ConfigError: ``max_message_size`` is below 1.
    """

    resynchronises: ClassVar[bool] = True
    """`FrameTooLarge` is not final: the next line is served."""
    json_end: ClassVar[bytes] = b"\n"
    """What makes a line of a JSON text that `jsontext.encode` wrote: it is never empty, and ends in no line end."""

    __slots__ = (
        "_chunk",
        "_dropped",
        "_dropping",
        "_ended",
        "_failure",
        "_incoming",
        "_limit",
        "_lines",
        "_long",
        "_offset",
        "_pieces",
    )

    def __init__(self, max_message_size: int = _DEFAULT_LIMIT) -> None:
        if max_message_size < 1:
            raise ConfigError(f"max_message_size must be at least 1 byte, not {max_message_size}")
        self._limit = max_message_size
        self._lines: list[bytes] = []  # split, without CR, last one first; may hold empty ones
        self._chunk = b""  # what is being split, from _offset on
        self._offset = 0
        self._incoming = PieceBuffer()  # fed while _chunk was not used up
        self._pieces = PieceBuffer()  # the beginning of the line that continues in _chunk
        self._dropping = False  # inside a refused line ...
        self._dropped = 0  # ... of which this many bytes are gone
        self._long = False  # whether the last lines were long
        self._ended = False
        self._failure = ""  # why no frame will ever follow

    def feed(self, data: bytes) -> None:
        """Store ``data``, the next bytes of the peer; ``b""`` says that the peer ended the stream.

        Bytes after a final `FramingError` are let go at once: the error stays the answer.

        Raises:
            LocalProtocolError: Bytes after the end of the stream (a second ``b""`` is harmless).
        """
        if not data:
            self._ended = True
        elif self._ended:
            raise LocalProtocolError(f"{len(data)} bytes fed after the end of the stream")
        elif not self._failure:
            if type(data) is not bytes:
                data = bytes(memoryview(data))  # a frame cut from a bytearray would change under its reader
            if self._chunk:
                self._incoming.append(data)
            else:
                self._chunk = data

    def next_frame(self) -> bytes | Signal:
        """Return the next payload, never empty, or the signal that says why there is none.

        Raises:
            FrameTooLarge: The next line is over the limit; raised once for that line, and the lines after it follow.
            FramingError: The stream ended inside a line, or a refused line went on beyond 16 times the limit.  Final:
                every later call raises the same.
        """
        lines = self._lines
        while True:
            while lines:
                line = lines.pop()
                if line:
                    return line
            if self._failure:
                raise FramingError(self._failure)
            if self._offset == len(self._chunk) and not self._load():
                return self._nothing_stored()
            if self._dropping:
                self._drop()
            elif self._pieces or self._long or not self._split_window():
                self._take_line()

    def encode(self, payload: bytes) -> bytes:
        """Return ``payload`` as a line; the limit is the peer's to enforce, not ours.

        Raises:
            LocalProtocolError: The peer would not receive this payload: it is empty, contains a newline, or ends in
                a CR, which counts as part of the delimiter.
        """
        return b"".join(self.encode_parts(payload))

    def encode_parts(self, payload: bytes) -> tuple[bytes, ...]:
        """Return the pieces of the line, for a caller that joins several anyway; otherwise as `encode`.

        Raises:
            LocalProtocolError: As `encode`.
        """
        if not payload:
            raise LocalProtocolError("an empty payload is no line: the peer would skip it")
        if _LF in payload:
            raise LocalProtocolError("a newline inside the payload would cut it in two")
        if payload[-1] == _CR:
            raise LocalProtocolError("the peer would lose the CR at the end of the payload")
        return payload, b"\n"

    def bytes_to_send(self) -> bytes:
        """Return ``b""``: a line owes the peer nothing."""
        return b""

    def _load(self) -> bool:
        """Replace the used-up chunk by what was fed since; return whether there is any."""
        self._chunk = self._incoming.take() if self._incoming else b""
        self._offset = 0
        return bool(self._chunk)

    def _nothing_stored(self) -> Signal:
        if not self._ended:
            return Signal.NEED_DATA
        if self._pieces:
            self._fail(f"the stream ended inside a line of {len(self._pieces)} bytes")
        # Also after a refused line: its error was raised, and nothing else is missing.
        return Signal.END_OF_STREAM

    def _split_window(self) -> bool:
        """Split what one window holds; return False, with no line taken, when its first line needs `_take_line`."""
        start = self._offset
        if self._chunk[start] in _LINE_END:
            empty = _EMPTY_LINES(self._chunk, start)
            start = self._offset = empty.end() if empty is not None else start
        window = self._chunk[start : start + _WINDOW]
        lines = window.split(b"\n", _SPLIT)
        used = len(window) - len(lines.pop())
        if len(window) > self._limit or _CR in window:
            used = self._check_lines(lines)
        if not lines:
            return start == len(self._chunk)
        self._offset = start + used
        lines.reverse()
        self._lines += lines
        return True

    def _check_lines(self, lines: list[bytes]) -> int:
        """Take the CR off each line and drop the first one over the limit and all after it.

        Returns:
            How many bytes of the window the lines that are left came from.
        """
        used = 0
        for index, line in enumerate(lines):
            size = len(line)
            if line.endswith(b"\r"):
                lines[index] = line = line[:-1]
            if len(line) > self._limit:
                del lines[index:]
                break
            used += size + 1
        return used

    def _take_line(self) -> None:
        """Take one line, or the part of it that is here, after making sure that it may still become a legal one."""
        chunk, start = self._chunk, self._offset
        room = self._limit + 1 - len(self._pieces)  # with the CR that may follow the payload
        end = chunk.find(b"\n", start, start + room + 1)
        stop = end if end >= 0 else len(chunk)
        size = stop - start
        if size > room or (size == room > 0 and chunk[stop - 1] != _CR):
            kept = min(self._limit, 1024)
            beginning = (self._pieces.peek(kept) + chunk[start : start + kept])[:kept]
            self._dropping = True
            self._dropped = len(self._pieces)
            self._pieces.clear()
            why = f"a line is over the limit of {self._limit} bytes"
            raise FrameTooLarge(why, limit=self._limit, beginning=beginning)
        line = chunk[start:stop]
        self._long = size > _LONG
        if end < 0:
            self._offset = stop
            self._pieces.append(line)
            return
        self._offset = end + 1
        if self._pieces:
            self._pieces.append(line)
            line = self._pieces.take()
        self._lines.append(line[:-1] if line.endswith(b"\r") else line)

    def _drop(self) -> None:
        """Drop the refused line up to its newline, or as much of it as is here."""
        chunk, start = self._chunk, self._offset
        room = _PATIENCE * self._limit - self._dropped
        end = chunk.find(b"\n", start, start + room + 1)
        stop = end if end >= 0 else len(chunk)
        if stop - start > room:
            self._fail(f"a line refused at {self._limit} bytes did not end within {_PATIENCE * self._limit} bytes")
        self._dropped += stop - start
        self._dropping = end < 0
        self._offset = stop if end < 0 else end + 1

    def _fail(self, reason: str) -> None:
        """Let go of all that is stored and raise ``reason``, now and for good."""
        self._failure = reason
        self._chunk = b""
        self._offset = 0
        self._incoming.clear()
        self._pieces.clear()
        raise FramingError(reason)
