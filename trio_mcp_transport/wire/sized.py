"""Frames that announce their size: what length-prefix and Content-Length framing have in common.

Rules, as data flows through this file:

- A header says how many bytes of payload follow; a subclass reads it, everything else happens here.
- The limit counts payload and is asked when the size is known, before a byte of the payload is stored.  Memory is
  taken for bytes that came, never for bytes that were announced.
- A frame of no bytes is skipped, as an empty line is on newline framing: it is what keep-alives are made of, for
  example in BitTorrent (BEP 3, "keepalives are length zero").
- Every error is final.  After a wrong size nothing tells where the next frame begins, and after a frame over the limit
  only as many bytes as the peer likes would.

This file must never look inside a payload, and must never let the cuts between two ``feed`` calls show in what
``next_frame`` returns or raises.

Plan: one chunk is read from the front by an offset, so that small frames cost one slice each; the payload that goes
on behind the end of a chunk is collected in pieces and joined once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from trio_mcp_transport.errors import ConfigError, FrameTooLarge, FramingError, LocalProtocolError
from trio_mcp_transport.wire.buffers import PieceBuffer
from trio_mcp_transport.wire.signals import Signal

__all__ = ["DEFAULT_LIMIT", "SizedCodec"]

DEFAULT_LIMIT = 16 * 1024 * 1024
"""Bytes of payload, as on newline framing; four times gRPC's default of 4 MiB for the same kind of frame."""


class SizedCodec(ABC):
    """Cut a byte stream into frames of an announced size (a `FrameCodec`); a subclass knows the header.

    Args:
        max_frame_size: The longest payload accepted from the peer, in bytes, at least 1; headers do not count.

    Raises:
        ConfigError: ``max_frame_size`` is below 1.
    """

    resynchronises: ClassVar[bool] = False
    """`FrameTooLarge` is final, like every other error."""

    __slots__ = (
        "_chunk",
        "_ended",
        "_failure",
        "_header_size",
        "_incoming",
        "_limit",
        "_missing",
        "_offset",
        "_pieces",
    )

    def __init__(self, max_frame_size: int = DEFAULT_LIMIT) -> None:
        if max_frame_size < 1:
            raise ConfigError(f"max_frame_size must be at least 1 byte, not {max_frame_size}")
        self._limit = max_frame_size
        self._chunk = b""  # what is being read, from _offset on
        self._offset = 0
        self._incoming = PieceBuffer()  # fed while _chunk was not used up
        self._header_size = 0  # bytes read of a header that is not complete
        self._missing = 0  # bytes of the payload still to come; 0 between frames and in a header
        self._pieces = PieceBuffer()  # the beginning of the payload that continues in _chunk
        self._ended = False
        self._failure: FramingError | None = None  # why no frame will ever follow

    def feed(self, data: bytes) -> None:
        """Store ``data``, the next bytes of the peer; ``b""`` says that the peer ended the stream.

        Bytes after a `FramingError` are let go at once: the error stays the answer.

        Raises:
            LocalProtocolError: Bytes after the end of the stream (a second ``b""`` is harmless).
        """
        if not data:
            self._ended = True
        elif self._ended:
            raise LocalProtocolError(f"{len(data)} bytes fed after the end of the stream")
        elif self._failure is None:
            if type(data) is not bytes:
                data = bytes(memoryview(data))  # a frame cut from a bytearray would change under its reader
            if self._chunk:
                self._incoming.append(data)
            else:
                self._chunk = data

    def next_frame(self) -> bytes | Signal:
        """Return the next payload, never empty, or the signal that says why there is none.

        Raises:
            FrameTooLarge: The next frame is announced with more bytes than the limit.
            FramingError: The header is wrong, or the stream ended inside a frame.  Final, as `FrameTooLarge` is: every
                later call raises the same.
        """
        if self._failure is not None:
            raise self._failure.twin()
        try:
            while True:
                start = self._offset
                if start == len(self._chunk):
                    if not self._load():
                        return self._nothing_stored()
                elif not self._missing:
                    self._take_header()
                elif start + self._missing <= len(self._chunk):
                    return self._take_end(start)
                else:
                    self._offset = len(self._chunk)
                    self._missing -= self._offset - start
                    self._pieces.append(self._chunk[start:])
        except FramingError as error:
            self._give_up(error)
            raise

    def encode(self, payload: bytes) -> bytes:
        """Return ``payload`` as a frame; the limit is the peer's to enforce, not ours.

        Raises:
            LocalProtocolError: The payload is empty (the peer would skip it), or too long for any header.
        """
        return b"".join(self.encode_parts(payload))

    def encode_parts(self, payload: bytes) -> tuple[bytes, ...]:
        """Return header and payload, for a caller that joins several frames anyway; otherwise as `encode`.

        Raises:
            LocalProtocolError: As `encode`.
        """
        if not payload:
            raise LocalProtocolError("an empty payload is no message: the peer would skip it")
        return self._header_for(len(payload)), payload

    def bytes_to_send(self) -> bytes:
        """Return ``b""``: a frame owes the peer nothing."""
        return b""

    @abstractmethod
    def _take_header(self) -> None:
        """Read on in the header from ``_offset`` of the chunk, by at least one byte.

        Counts the bytes of a header that is not complete yet in ``_header_size``; calls `_expect` when it is.
        """

    @abstractmethod
    def _header_for(self, size: int) -> bytes:
        """Return the header of a payload of ``size`` bytes, at least 1."""

    def _expect(self, size: int) -> None:
        """Begin the payload that a complete header announced.

        Raises:
            FrameTooLarge: It is over the limit.
        """
        if size > self._limit:
            # Without its beginning, which would depend on how much of it has come: the connection ends anyway.
            why = f"a frame of {size} bytes is over the limit of {self._limit} bytes"
            raise FrameTooLarge(why, limit=self._limit)
        self._header_size = 0
        self._missing = size

    def _load(self) -> bool:
        """Replace the used-up chunk by what was fed since; return whether there is any."""
        self._chunk = self._incoming.take() if self._incoming else b""
        self._offset = 0
        return bool(self._chunk)

    def _take_end(self, start: int) -> bytes:
        """Take the rest of the payload, which is here, and return all of it."""
        self._offset = stop = start + self._missing
        self._missing = 0
        if not self._pieces:
            return self._chunk[start:stop]
        self._pieces.append(self._chunk[start:stop])
        return self._pieces.take()

    def _nothing_stored(self) -> Signal:
        if not self._ended:
            return Signal.NEED_DATA
        if self._header_size:
            raise FramingError(f"the stream ended inside a header, after {self._header_size} bytes of it")
        if self._missing:
            raise FramingError(f"the stream ended {self._missing} bytes before the end of a frame")
        return Signal.END_OF_STREAM

    def _give_up(self, error: FramingError) -> None:
        """Let go of all that is stored; ``error`` is the answer from now on."""
        self._failure = error.twin()  # without the traceback, which would hold on to this object
        self._chunk = b""
        self._offset = 0
        self._incoming.clear()
        self._pieces.clear()
