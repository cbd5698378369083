"""The opening handshake on a stream, as either side, in front of both engines.

What a peer writes into its head is judged by `wire.websocket_handshake` alone, so no library ever parses it.  Must
never keep a peer that asked wrongly longer than it takes to tell it so.
"""

from __future__ import annotations

import math
from typing import Final

import trio

from ..errors import ConnectionFailed
from ..wire.signals import Signal
from ..wire.websocket_handshake import ClientHandshake, Refusal, ServerHandshake, Upgrade
from .websocket_closing import discard, last_words

__all__ = ["HANDSHAKE_DEADLINE", "answer_upgrade", "ask_upgrade"]

HANDSHAKE_DEADLINE: Final = 10.0
"""Seconds for TLS and the request of a new connection, together (websockets' ``open_timeout``: 10)."""

LINGER: Final = 1.0
"""Seconds for which a refused peer may go on writing, so that no reset overtakes the refusal; and seconds that a client
gives the body of a refusal."""

TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


async def answer_upgrade(
    stream: trio.abc.Stream, handshake: ServerHandshake, deadline: float
) -> Upgrade | Refusal | None:
    """Read a client's request and answer it; the stream stays open.  A checkpoint.

    Args:
        stream: Where the client begins to speak.
        handshake: Fresh.
        deadline: When the client must have asked, on Trio's clock; afterwards it gets 408.

    Returns:
        The upgrade; or the refusal, which was sent; or None when the client left, or was too slow.

    Raises:
        ConnectionFailed: The stream broke.
    """
    try:
        with trio.CancelScope(deadline=deadline):
            chunk = bytes(await stream.receive_some())
            if not chunk:
                return None  # somebody looked whether the port is open
            answer = handshake.feed(chunk)
            while isinstance(answer, Signal):
                answer = handshake.feed(bytes(await stream.receive_some()))
            await stream.send_all(answer.response)
            if isinstance(answer, Refusal):
                await _linger(stream)
            return answer
        await last_words(stream, TOO_SLOW)
        return None
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise ConnectionFailed(f"the connection broke in the handshake: {error.__cause__ or error}") from error


async def _linger(stream: trio.abc.Stream) -> None:
    with trio.move_on_after(LINGER):
        if isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
        await discard(stream)


async def ask_upgrade(stream: trio.abc.Stream, handshake: ClientHandshake) -> Upgrade:
    """Ask a server for a WebSocket.  A checkpoint; the caller bounds it.

    Raises:
        HandshakeRefused: The server said no; the error has its status.
        RemoteProtocolError: Its answer is no valid one.
        ConnectionFailed: The stream broke or ended.
    """
    try:
        await stream.send_all(handshake.request)
        answer = handshake.feed(bytes(await stream.receive_some()))
        deadline = math.inf
        while isinstance(answer, Signal):
            if handshake.refused:
                # Whoever keeps the connection of its refusal open, or drips the rest, must not hide the refusal.
                deadline = min(deadline, trio.current_time() + LINGER)
            chunk = b""
            with trio.CancelScope(deadline=deadline):
                chunk = bytes(await stream.receive_some())
            answer = handshake.feed(chunk)
        return answer
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise ConnectionFailed(f"the connection broke in the handshake: {error.__cause__ or error}") from error
