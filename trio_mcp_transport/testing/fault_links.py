"""Message links that misbehave: messages that overtake each other, get lost, or come twice.

Must never change a message.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from ..abc import MessageLink
from ..wire.messages import Message, Notification, Request, Response
from ..wire.signals import Signal

__all__ = ["DropLink", "DuplicateLink", "LinkAround", "ReorderLink"]

Choice = Callable[[Message], bool]
"""Tells which messages misbehave."""


class LinkAround:
    """Implements `abc.MessageLink` by passing everything on to an inner link; the base of those below."""

    def __init__(self, link: MessageLink) -> None:
        self._link = link
        self.resynchronises: bool = link.resynchronises

    async def fill(self) -> bool:
        """Wait until something new may be read; a checkpoint."""
        return await self._link.fill()

    def next_message(self) -> Any:
        """Return the next message, a batch, or a `Signal`."""
        return self._link.next_message()

    def encode(self, message: Message) -> tuple[Any, int]:
        """Return a message in the form `write` takes, and its size in bytes."""
        return self._link.encode(message)

    def control_bytes(self) -> bytes:
        """Return what the inner link owes the peer of its own."""
        owed: Callable[[], bytes] = getattr(self._link, "control_bytes", bytes)
        return owed()

    async def write(self, items: Sequence[Any]) -> None:
        """Write encoded messages in order; a checkpoint."""
        await self._link.write(items)

    async def send_eof(self) -> None:
        """End the writing side."""
        await self._link.send_eof()

    async def aclose(self) -> None:
        """Close both directions; a checkpoint."""
        await self._link.aclose()


class ReorderLink(LinkAround):
    """Lets messages that are under way at once overtake each other, as far as no order is promised.

    Requests that are written together leave in any order, before what follows them; responses that arrive together
    are read in any order, after the notifications that arrived with them.
    """

    def __init__(self, link: MessageLink, seed: int = 0) -> None:
        """Take a link; equal seeds repeat an order."""
        super().__init__(link)
        self._random = random.Random(seed)
        self._ready: deque[Any] = deque()

    def encode(self, message: Message) -> tuple[Any, int]:
        """Return a message in the form `write` takes, and its size in bytes."""
        item, size = self._link.encode(message)
        return _Item(item, isinstance(message, Request)), size

    async def write(self, items: Sequence[Any]) -> None:
        """Write encoded messages, requests first and in any order; a checkpoint."""
        requests = [item.inner for item in items if isinstance(item, _Item) and item.moves]
        self._random.shuffle(requests)
        others = [item for item in items if not (isinstance(item, _Item) and item.moves)]
        await self._link.write([*requests, *(item.inner if isinstance(item, _Item) else item for item in others)])

    def next_message(self) -> Any:
        """Return one of the messages that are there, or a `Signal`."""
        if not self._ready:
            signal = self._gather()
            if not self._ready:
                return signal
        return self._ready.popleft()

    def _gather(self) -> Any:
        responses: list[Any] = []
        others: list[Any] = []
        while not isinstance(message := self._link.next_message(), Signal):
            (responses if isinstance(message, Response) else others).append(message)
        self._random.shuffle(responses)
        self._ready.extend([*others, *responses])
        return message


@attrs.frozen
class _Item:
    """An encoded message, and whether it may overtake others."""

    inner: Any
    moves: bool


class DropLink(LinkAround):
    """Loses arriving messages of a choice; every request by default."""

    def __init__(self, link: MessageLink, choose: Choice = lambda message: isinstance(message, Request)) -> None:
        """Take a link and what is lost on it."""
        super().__init__(link)
        self._choose = choose

    def next_message(self) -> Any:
        """Return the next message that is not lost, or a `Signal`."""
        while True:
            message = self._link.next_message()
            if isinstance(message, Signal) or not self._choose(message):
                return message


class DuplicateLink(LinkAround):
    """Delivers arriving messages of a choice twice; every notification by default."""

    def __init__(self, link: MessageLink, choose: Choice = lambda message: isinstance(message, Notification)) -> None:
        """Take a link and what comes twice on it."""
        super().__init__(link)
        self._choose = choose
        self._again: Any = None

    def next_message(self) -> Any:
        """Return the next message, once more where it was chosen, or a `Signal`."""
        if self._again is not None:
            message, self._again = self._again, None
            return message
        message = self._link.next_message()
        if not isinstance(message, Signal) and self._choose(message):
            self._again = message
        return message
