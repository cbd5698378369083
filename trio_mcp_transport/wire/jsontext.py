"""JSON text to values and back, with every failure of the decoder and encoder mapped to one error type.

Must never let a value through whose meaning would change on the way: NaN is refused where msgspec writes ``null``,
and a frame is decoded whole, so that an outcome never depends on whether a handler looked at ``params``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..errors import LocalProtocolError, MessageError
from .codes import PARSE_ERROR

__all__ = ["DEFAULT_MAX_DEPTH", "decode", "encode", "raw_object"]

DEFAULT_MAX_DEPTH: Final = 128
"""Nesting of arrays and objects accepted.  Precedents: Go's encoding/json 10,000, serde_json 128, .NET 64."""

SHORT_TEXT: Final = 2048
"""Bytes up to which counting brackets is cheaper than finding them one by one."""

LONG_TEXT: Final = 4096
"""Bytes of output from which a walk over few items is tried before the output is searched."""

FEW_ITEMS: Final = 64

_HARMLESS: Final = frozenset({str, int, bool, type(None), bytes, bytearray, memoryview, msgspec.Raw})
"""Types that cannot hold a NaN; looked up by exact type, which is what JSON decoding and most handlers make."""

# As integers: to look for bytes with ``in`` raises and drops an exception inside CPython (`_Py_bytes_contains`), which
# takes longer than the search; `bytes.find` does not.
_NEWLINE: Final = 0x0A
_OPEN_ARRAY: Final = 0x5B

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def decode(text: bytes, *, max_depth: int = DEFAULT_MAX_DEPTH) -> Any:
    """Decode one JSON text completely.

    Args:
        text: UTF-8 bytes of exactly one JSON value; surrounding JSON whitespace is allowed, a byte order mark is not.
        max_depth: Deepest nesting of arrays and objects accepted.

    Raises:
        MessageError: With ``rpc_code`` -32700 for anything that is not such a text: invalid UTF-8, lone surrogates,
            numbers beyond a double (``1e400``), integers of more digits than Python converts, too deep nesting
            (RFC 8259; M-JR-02, M-JR-19).
    """
    try:
        value = _decode(text)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise MessageError(f"not a JSON text: {error}", rpc_code=PARSE_ERROR, frame=text) from None
    except RecursionError:
        raise _too_deep(text, max_depth) from None
    # Two bytes per level of arrays, five per level of objects, `{"":` and `}`: a shorter text cannot be too deep, and
    # an ordinary one pays next to nothing for the check.
    size = len(text)
    if (
        size > 2 * max_depth
        and (size > 5 * max_depth or _OPEN_ARRAY in text)
        and (size > SHORT_TEXT or text.count(b"{") + text.count(b"[") > max_depth)
        and _has_brackets(text, max_depth)
        and _is_deeper(value, max_depth)
    ):
        raise _too_deep(text, max_depth)
    return value


def raw_object(text: bytes, what: str) -> msgspec.Raw:
    """Check that JSON text of this side is one object, in every respect that `decode` checks.

    Args:
        text: Copied into an object of its own.
        what: Names it in the error.

    Raises:
        LocalProtocolError: It is not; msgspec alone lets invalid UTF-8 and ``1e400`` through inside a Raw.
    """
    try:
        if type(decode(text)) is not dict:
            raise LocalProtocolError(f"{what} must be a JSON object")
    except MessageError as error:
        raise LocalProtocolError(f"{what}: {error}") from None
    return msgspec.Raw(text)


def encode(value: Any) -> bytes:
    """Encode a value as one JSON text without a raw line end.

    Args:
        value: Anything msgspec encodes: builtins, structs, attrs classes, dataclasses, `msgspec.Raw`.

    Raises:
        LocalProtocolError: The value holds NaN or an infinity, a lone surrogate, a cycle, nests too deep, or is of a
            type that JSON cannot hold.  msgspec alone would write NaN as ``null`` (M-JR-20).
    """
    try:
        text = _encode(value)
        # To search a long text costs more than a short walk.
        suspicious = (len(text) <= LONG_TEXT or not _is_plain(value)) and text.find(b"null") >= 0
        if suspicious and _has_non_finite(value):
            raise ValueError("NaN and infinities have no JSON form")
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise LocalProtocolError(f"cannot be written as JSON: {error}") from error
    if _NEWLINE in text:
        # Only a Raw brings raw line ends, and in valid JSON they are white space between tokens (M-IO-21).  A reader in
        # text mode, such as Python's, takes a lone carriage return for one as well.
        text = text.replace(b"\n", b" ").replace(b"\r", b" ")
    return text


def _has_brackets(text: bytes, count: int) -> bool:
    """Tell whether more than ``count`` brackets open, in strings or not; looks no further than it must."""
    found = 0
    for bracket in (b"{", b"["):
        # find is a memchr; bytes.count is not, and took a third of the time of a message of 1 MB.
        at = text.find(bracket)
        while at >= 0:
            found += 1
            if found > count:
                return True
            at = text.find(bracket, at + 1)
    return False


def _is_deeper(value: Any, max_depth: int) -> bool:
    # Level by level over the containers alone: scanning the text for brackets outside of strings took 1.8 GiB for a
    # message of 16 MiB.
    level = [value] if type(value) is dict or type(value) is list else []
    for _ in range(max_depth):
        level = [
            child
            for item in level
            for child in (item.values() if type(item) is dict else item)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def _too_deep(text: bytes, max_depth: int) -> MessageError:
    return MessageError(f"JSON nested deeper than {max_depth} levels", rpc_code=PARSE_ERROR, frame=text)


def _is_plain(value: Any) -> bool:
    """Tell whether a value is of few items, all of types that cannot hold a NaN; False where that takes long to say."""
    containers = [value]
    left = FEW_ITEMS
    for container in containers:  # grows meanwhile
        kind = type(container)
        if kind is not dict and kind is not list:
            return False
        left -= len(container)
        if left < 0:
            return False
        for item in container.values() if kind is dict else container:
            if type(item) not in _HARMLESS:
                containers.append(item)
    return True


def _has_non_finite(value: Any) -> bool:
    """Walk a value that encodes well."""
    pending = [value]
    while pending:
        item = pending.pop()
        kind = type(item)
        if kind is dict:
            pending += [child for child in item.values() if type(child) not in _HARMLESS]
        elif kind is list:
            pending += [child for child in item if type(child) not in _HARMLESS]
        elif kind in _HARMLESS:
            continue
        elif isinstance(item, float):
            if item != item or item in (float("inf"), float("-inf")):
                return True
        elif isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, (list, tuple, set, frozenset)):
            pending += item
        else:
            plain = msgspec.to_builtins(item, builtin_types=(msgspec.Raw,))
            if plain is not item and type(plain) is not kind:
                pending.append(plain)
    return False
