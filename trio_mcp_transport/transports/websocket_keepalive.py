"""Pings for a WebSocket on which nothing is heard, and the end of a peer that does not answer.

Must never count the peer's silence while this side is not reading: a server that holds its peer back hears nothing,
and that is its own doing.
"""

from __future__ import annotations

from typing import Protocol

import trio

from ..deadlines import DeadlineExceeded

__all__ = ["PING_DEADLINE", "PING_INTERVAL", "Pingable", "Pulse", "keep_alive"]

PING_INTERVAL = 20.0
"""Seconds of silence before a ping (websockets: 20)."""

PING_DEADLINE = 20.0
"""Seconds of silence after a ping before the peer is given up (websockets: 20)."""


class Pulse:
    """When a peer was last heard, and whether anybody listens.

    Attributes:
        chunks: How many chunks were read.
        heard_at: Trio's clock when the last one was, in seconds.
        reading: Whether a task waits for the next one.
    """

    __slots__ = ("_waiting", "chunks", "heard_at", "reading")

    def __init__(self) -> None:
        self.chunks: int = 0
        self.heard_at: float = trio.current_time()
        self.reading: bool = False
        self._waiting = trio.lowlevel.ParkingLot()

    def heard(self) -> None:
        """Note a chunk; called for each, so it costs next to nothing."""
        self.reading = False
        self.chunks += 1
        self.heard_at = trio.current_time()
        if self._waiting:
            self._waiting.unpark_all()

    async def wait_heard(self) -> None:
        """Wait for the next chunk; a checkpoint."""
        await self._waiting.park()


class Pingable(Protocol):
    """A connection as the keep-alive sees it."""

    @property
    def pulse(self) -> Pulse:
        """When the peer was last heard."""
        ...

    async def ping(self) -> None:
        """Send a ping and wait for a sign of life.  A checkpoint; returns early when the connection ends."""
        ...

    async def give_up(self, error: DeadlineExceeded) -> None:
        """End the connection: whoever reads it gets this error.  Bounded; a checkpoint."""
        ...


async def keep_alive(connection: Pingable, interval: float | None, deadline: float) -> None:
    """Ping whenever nothing was heard for ``interval`` seconds, and give the peer up ``deadline`` seconds later.

    Any byte counts as an answer: a pong may be stuck behind the large message that the peer is sending (RFC 6455
    section 5.5.2 forbids it inside a frame).  Runs until cancelled, or until it gave the peer up.

    Args:
        connection: What to ping.
        interval: Seconds of silence; None for no pings at all.
        deadline: Seconds of further silence.
    """
    if interval is None:
        await trio.sleep_forever()
    pulse = connection.pulse
    due = pulse.heard_at + interval
    while True:
        await trio.sleep_until(due)
        if not pulse.reading:
            due = trio.current_time() + interval
            continue
        if pulse.heard_at + interval > due:
            due = pulse.heard_at + interval
            continue
        chunks = pulse.chunks
        with trio.move_on_after(deadline) as waiting:
            await connection.ping()
        if waiting.cancelled_caught and pulse.chunks == chunks and pulse.reading:
            await connection.give_up(DeadlineExceeded("ping", deadline, "the peer answers no ping"))
            return
        due = max(trio.current_time(), pulse.heard_at) + interval
