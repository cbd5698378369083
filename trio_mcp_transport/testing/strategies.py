"""Hypothesis strategies for messages, and for the byte streams that codecs have to live with.

Importing this module imports Hypothesis (the extra ``testing``), so nothing else in the package may import it at module
level.  Must never draw what the library would refuse to send: NaN, infinities and lone surrogates are no JSON.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from ..errors import RpcError
from ..wire.messages import Message, MessageId, Notification, Request, Response

__all__ = [
    "chunkings",
    "damaged",
    "garbage",
    "json_objects",
    "json_values",
    "message_ids",
    "messages",
    "notifications",
    "requests",
    "responses",
]

_TEXTS = (
    "",
    "\r\n",
    "\n",
    "\x00",
    "\x85",
    "\u2028\u2029",
    "\ufeff",
    "e\u0301",
    "\U0001f40d",
    '"\\',
    "Content-Length: 1",
)
"""Line ends of other readers, a byte order mark, combining and astral characters, and a header inside a payload."""

_INTEGERS = (0, -1, 2**31, 2**53, 2**53 + 1, -(2**63), 2**64, 10**40)
"""Where other languages' numbers end; JSON's have no end."""

_IDS = ("0", "1", "null", "-1", "1.0", 0, -1, 2**53 + 1, 2**64, 10**40)
"""Ids that a careless table takes for one another, or for none."""

_BYTES = b'\x00\x00\x01\x02\x7f\x80\xff\xff\r\r\n\n  \t09,:-+{}[]"aCcLl;=/'
"""Bytes that mean something to some framing."""


def _texts() -> st.SearchStrategy[str]:
    return st.text(max_size=20) | st.sampled_from(_TEXTS)


def json_values() -> st.SearchStrategy[Any]:
    """Draw a value that JSON can hold: any depth up to a few levels, any text, integers of any size, finite floats."""
    numbers = st.integers() | st.sampled_from(_INTEGERS) | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.none() | st.booleans() | numbers | _texts(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts(), inner, max_size=3),
        max_leaves=8,
    )


def json_objects() -> st.SearchStrategy[dict[str, Any]]:
    """Draw a JSON object, as params and results are."""
    return st.dictionaries(_texts(), json_values(), max_size=4)


def message_ids() -> st.SearchStrategy[MessageId]:
    """Draw an id: any string, any integer, and often one that looks like another."""
    like_others: st.SearchStrategy[int | str] = st.sampled_from(_IDS)
    return like_others | st.integers() | _texts()


def _methods() -> st.SearchStrategy[str]:
    return st.sampled_from(("ping", "tools/call", "notifications/progress", "x")) | st.text(min_size=1, max_size=20)


def requests() -> st.SearchStrategy[Request]:
    """Draw a request, with params or without."""
    return st.builds(Request, message_ids(), _methods(), st.none() | json_objects())


def notifications() -> st.SearchStrategy[Notification]:
    """Draw a notification, with params or without."""
    return st.builds(Notification, _methods(), st.none() | json_objects())


def responses() -> st.SearchStrategy[Response]:
    """Draw a response: a result, an error, or an error without id, as answers what could not be read."""
    errors = st.builds(RpcError, st.integers(-(2**31), 2**31), _texts(), json_values())
    failed = st.builds(lambda id_, error: Response(id_, error=error), st.none() | message_ids(), errors)
    return st.builds(Response, message_ids(), json_objects()) | failed


def messages() -> st.SearchStrategy[Message]:
    """Draw a message of any kind."""
    return requests() | notifications() | responses()


def chunkings(data: bytes, *, max_cuts: int = 12) -> st.SearchStrategy[list[bytes]]:
    """Draw a way in which a stream may deliver ``data``: chunks in order, none empty.

    Args:
        data: All the bytes.
        max_cuts: The most places to cut at.
    """

    def cut(places: list[int]) -> list[bytes]:
        return [data[start:stop] for start, stop in pairwise(sorted({0, *places, len(data)}))]

    return st.lists(st.integers(0, len(data)), max_size=max_cuts).map(cut)


def garbage(max_size: int = 200) -> st.SearchStrategy[bytes]:
    """Draw bytes that nobody framed: any at all, or such as mean something to some framing.

    Args:
        max_size: The most bytes.
    """
    return st.lists(st.sampled_from(_BYTES), max_size=max_size).map(bytes) | st.binary(max_size=max_size)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Draw ``data`` with up to three faults: a few bytes lost, doubled, changed, turned around or replaced by one."""
    for _ in range(draw(st.integers(1, 3))):
        start, stop = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        part = data[start : min(stop, start + 8)]
        after = data[start + len(part) :]
        other = draw(
            st.sampled_from((b"", part + part, bytes(byte ^ 0x20 for byte in part), part[::-1]))
            | st.sampled_from(_BYTES).map(lambda byte: bytes((byte,)))
        )
        data = data[:start] + other + after
    return data
