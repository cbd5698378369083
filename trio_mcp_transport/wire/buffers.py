"""The bytes of one unfinished frame, collected until the frame is complete.

Operations:

- append one piece at the end;
- tell how many bytes are held;
- take everything as one `bytes` object.

Goals: linear in the bytes appended, whatever the size of the pieces; memory close to the bytes held.

Plan: a large piece is kept as it is and joined once, in `take`.  Small pieces are merged into a bytearray first,
because a list entry (8 bytes) and an object header (33 bytes) per piece would cost forty times a one-byte piece.

Warning: nothing here searches or limits.  The codec that owns the buffer must decide that a piece is welcome before
it appends it, and must never join in order to look.
"""

from __future__ import annotations

__all__ = ["PieceBuffer"]

_SMALL = 4 * 1024
"""Bytes; below, copying a piece is cheaper than keeping it."""


class PieceBuffer:
    """Collect the pieces of one unfinished frame and join them once."""

    __slots__ = ("_pieces", "_size", "_small")

    def __init__(self) -> None:
        self._pieces: list[bytes | bytearray] = []
        self._small = bytearray()
        self._size = 0

    def __len__(self) -> int:
        """Return the number of bytes held."""
        return self._size

    def append(self, piece: bytes) -> None:
        """Add ``piece`` at the end; an empty piece changes nothing."""
        size = len(piece)
        self._size += size
        if size < _SMALL:
            self._small += piece
            return
        if self._small:
            self._pieces.append(self._small)
            self._small = bytearray()
        self._pieces.append(piece)

    def take(self) -> bytes:
        """Return everything held as one object and become empty; copies each byte once, a single large piece never."""
        pieces = self._pieces
        taken = b"".join([*pieces, self._small]) if self._small else b"".join(pieces)
        self.clear()
        return taken

    def peek(self, count: int) -> bytes:
        """Return the first ``count`` bytes held, or all where there are fewer; they stay."""
        beginning = bytearray()
        for piece in (*self._pieces, self._small):
            beginning += piece[: count - len(beginning)]
        return bytes(beginning)

    def clear(self) -> None:
        """Let go of everything held."""
        self._pieces = []
        self._small = bytearray()
        self._size = 0
