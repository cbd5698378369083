"""Frames behind their length: four bytes, big endian, unsigned, and then that many bytes of payload.

The length counts the payload alone.  Everything but the four bytes is in `sized`; this file must never know more of a
frame than them.
"""

from __future__ import annotations

from typing import Final

from trio_mcp_transport.errors import ConfigError, FramingError, LocalProtocolError
from trio_mcp_transport.wire.sized import DEFAULT_LIMIT, SizedCodec

__all__ = ["LengthPrefixCodec"]

_PREFIX = 4

_LONGEST = 2**32 - 1
"""Bytes that four bytes can announce."""

_LARGEST_LIMIT = 1024 * 1024 * 1024
"""Bytes; below 0x41000000, where a length reads as text and the first line of another protocol could pass for one."""

_HTTP: Final = frozenset({b"GET ", b"HEAD", b"POST", b"PUT ", b"PATC", b"DELE", b"OPTI", b"CONN", b"TRAC", b"PRI "})
"""How a web page that posts to a local port begins, read as a length (RFC 9110 section 9, RFC 9113 section 3.4)."""


class LengthPrefixCodec(SizedCodec):
    """Cut a byte stream at 4-byte big-endian lengths, and put them before payloads (a `FrameCodec`).

    Feed it what arrives, then pull frames until it answers with a signal::

        codec.feed(data)
        while not isinstance(frame := codec.next_frame(), Signal):
            ...

    There is no negative length: 0xFFFFFFFF announces 4 GiB, and is refused for that.  A length of 0 is skipped.

    Args:
        max_frame_size: The longest payload accepted from the peer, in bytes, from 1 to 1 GiB; the length itself does
            not count.

    Raises:
        ConfigError: ``max_frame_size`` is out of range.
    """

    __slots__ = ("_prefix",)

    def __init__(self, max_frame_size: int = DEFAULT_LIMIT) -> None:
        super().__init__(max_frame_size)
        if max_frame_size > _LARGEST_LIMIT:
            raise ConfigError(f"max_frame_size must be at most {_LARGEST_LIMIT} bytes, not {max_frame_size}")
        self._prefix = b""  # the beginning of a length that continues in the next chunk

    def _take_header(self) -> None:
        start = self._offset
        prefix = self._prefix + self._chunk[start : start + _PREFIX - len(self._prefix)]
        self._offset = start + len(prefix) - len(self._prefix)
        if len(prefix) < _PREFIX:
            self._prefix = prefix
            self._header_size = len(prefix)
            return
        self._prefix = b""
        size = int.from_bytes(prefix, "big")
        if size > self._limit and prefix in _HTTP:
            raise FramingError(f"the peer speaks HTTP: a length reads {prefix!r}")
        self._expect(size)

    def _header_for(self, size: int) -> bytes:
        if size > _LONGEST:
            raise LocalProtocolError(f"a payload of {size} bytes is too long for a length of four bytes")
        return size.to_bytes(_PREFIX, "big")
