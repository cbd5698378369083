"""How a WebSocket ends: which code says what, and the last words to a peer that is not waited for.

Must never wait for the peer longer than its bound, and must never write behind a frame that was torn.
"""

from __future__ import annotations

from typing import Final, Literal

import trio

from ..errors import ConnectionClosed
from ..wire.hosts import sanitised
from ..wire.websocket import WebSocketCodec

__all__ = [
    "ABNORMAL",
    "CLOSE_DEADLINE",
    "GOING_AWAY",
    "INTERNAL_ERROR",
    "NORMAL",
    "SETTLE",
    "Role",
    "close_frame",
    "closed_by_peer",
    "closed_without_close",
    "discard",
    "last_words",
]

Role = Literal["server", "client"]
"""Which side of a connection this is: a client masks its frames, a server does not."""

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
ABNORMAL: Final = 1006
INTERNAL_ERROR: Final = 1011
NO_STATUS: Final = 1005

CLOSE_DEADLINE: Final = 5.0
"""Seconds the peer has for its half of the close handshake (websockets' ``close_timeout``: 10)."""

SETTLE: Final = 0.05
"""Seconds after the peer's Close for what was written just before to be noticed as written, on either side."""

LAST_WORDS: Final = 0.25
"""Seconds for a Close to a peer that is not waited for: a socket with room takes it at once."""


def close_frame(role: Role, code: int, reason: str = "") -> bytes:
    """Return a Close frame."""
    codec = WebSocketCodec(role, 1)
    codec.close(code, reason)
    return codec.bytes_to_send()


def closed_by_peer(code: int, reason: str) -> ConnectionClosed:
    """Return the error of whoever waited for a peer that closed."""
    shown = "" if not reason else f" ({sanitised(reason)})"
    what = "without a code" if code == NO_STATUS else f"with code {code}"
    return ConnectionClosed(f"the peer closed the WebSocket {what}{shown}")


def closed_without_close() -> ConnectionClosed:
    """Return the error of a connection that ended without a Close frame; its code would be 1006."""
    return ConnectionClosed("the peer ended the connection without closing the WebSocket")


async def last_words(stream: trio.abc.Stream, frame: bytes) -> None:
    """Write a Close frame if the stream takes it at once or nearly; a checkpoint, shielded and bounded."""
    with trio.move_on_after(LAST_WORDS, shield=True):
        try:
            await stream.send_all(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            return


async def discard(stream: trio.abc.Stream) -> None:
    """Read to the end of the stream and drop it all, so that a Close under way is not lost to a reset.

    A checkpoint; the caller bounds it.
    """
    try:
        while await stream.receive_some():
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return
