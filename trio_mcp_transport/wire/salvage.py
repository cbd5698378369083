"""Which request an unreadable frame answers, so that its call fails at once and need not wait for its deadline.

Must never be asked about a frame that can be read, and must never make a message of one that cannot: an unreadable
request stays without id and is answered as what it is, no JSON text (D-06).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

__all__ = ["answered_by", "answered_by_beginning"]


class _Outline(msgspec.Struct, gc=False):
    id: int | str | None = None
    method: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode: Final = msgspec.json.Decoder(_Outline).decode

_BEGINNING: Final = re.compile(
    rb'\s{0,9}\{\s{0,9}(?:"jsonrpc"\s{0,9}:\s{0,9}"2\.0"\s{0,9},\s{0,9})?'
    rb'"id"\s{0,9}:\s{0,9}(-?\d{1,30}|"[^"\\]{0,200}")\s{0,9},\s{0,9}"(?:result|error)"'
)
"""A response as most peers write it, id before result; every repetition is bounded, for the peer chose the text."""


def answered_by(frame: bytes) -> int | str | None:
    """Return the id of a complete frame whose result cannot be decoded; None where it is no response.

    Only what is inside the result is unreadable then: too deep, a number too large, text that is no UTF-8.
    """
    try:
        outline = _decode(frame)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return None
    answers = outline.result is not msgspec.UNSET or outline.error is not msgspec.UNSET
    return outline.id if answers and outline.method is msgspec.UNSET else None


def answered_by_beginning(beginning: bytes) -> int | str | None:
    """Return the id of a response of which only the beginning was kept; None where that does not show it."""
    match = _BEGINNING.match(beginning)
    if match is None:
        return None
    try:
        id_: int | str = msgspec.json.decode(match[1], type=int | str)
    except (msgspec.MsgspecError, ValueError):
        return None
    return id_
