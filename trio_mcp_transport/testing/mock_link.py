"""The link of a `MockTransport`: what is delivered when, on Trio's clock, without a task of its own.

Must never decide what is delivered.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import trio

from ..errors import ConnectionClosed
from ..wire import messages
from ..wire.messages import Batch, Message, Notification, Request, Response
from ..wire.signals import Signal

__all__ = ["MockLink"]

Delivery = Message | bytes | Exception | None
"""A message, bytes in place of one, an exception that breaks the link, or None for the end."""


class MockLink:
    """Implements `abc.MessageLink`: reading gives what was delivered, writing calls a function."""

    resynchronises = True

    def __init__(self, take: Callable[[Message], None]) -> None:
        """Take the function that is called with each message written."""
        self._take = take
        self._due: list[tuple[float, int, bytes | Exception | None]] = []
        self._count = itertools.count(1)
        self._ready: deque[bytes] = deque()
        self._changed = trio.lowlevel.ParkingLot()
        self._ended = False
        self._closed = False

    def deliver(self, what: Delivery, delay: float = 0.0) -> None:
        """Let something arrive, in ``delay`` seconds; synchronous.  What is due at once arrives in order."""
        # Outside of a run there is no clock yet; what was prepared before it is due at its beginning.
        now = trio.current_time() if trio.lowlevel.in_trio_run() else -math.inf
        self._add(now + delay, next(self._count), what)

    def deliver_first(self, what: Delivery) -> None:
        """Let something arrive before everything else that waits, and before what was delivered so earlier."""
        self._add(-math.inf, -next(self._count), what)

    def _add(self, due: float, place: int, what: Delivery) -> None:
        # As text, so that the two sides share no object.
        text = messages.encode(what) if isinstance(what, Request | Notification | Response) else what
        heapq.heappush(self._due, (due, place, text))
        self._changed.unpark_all()

    async def fill(self) -> bool:
        """Wait for the next delivery; False at the end.  A checkpoint; cancel-safe.

        Raises:
            Exception: What was delivered to break the link.
        """
        await trio.lowlevel.checkpoint()
        while not self._closed and not (self._due and self._due[0][0] <= trio.current_time()):
            with trio.move_on_at(self._due[0][0] if self._due else math.inf):
                await self._changed.park()
        if self._closed:
            self._ended = True
            return False
        _, _, what = heapq.heappop(self._due)
        if isinstance(what, Exception):
            raise what
        if what is None:
            self._ended = True
            return False
        self._ready.append(what)
        return True

    def next_message(self) -> Message | Batch | Signal:
        """Return the next message, or a `Signal`.

        Raises:
            MessageError: Bytes were delivered that hold none.
        """
        if not self._ready:
            return Signal.END_OF_STREAM if self._ended else Signal.NEED_DATA
        return messages.decode(self._ready.popleft())

    def encode(self, message: Message) -> tuple[Any, int]:
        """Return the message as its receiver would read it, and its size.

        Raises:
            LocalProtocolError: It holds what JSON cannot.
        """
        text = messages.encode(message)
        return messages.decode(text), len(text)

    async def write(self, items: Sequence[Any]) -> None:
        """Hand messages to the script; a checkpoint.

        Raises:
            ConnectionClosed: The link was closed.
        """
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise ConnectionClosed("the mock transport is closed")
        for item in items:
            self._take(item)

    async def send_eof(self) -> None:
        """End the writing side; nothing more will come from it.  A checkpoint."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close both directions; a checkpoint."""
        self._closed = True
        self._changed.unpark_all()
        await trio.lowlevel.checkpoint()
