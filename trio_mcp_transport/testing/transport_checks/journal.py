"""What a `ProbeHandler` saw, in order: kept in memory, or in a file when the server is another process.

Must never judge what it holds; the checks do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs
import trio

__all__ = ["Event", "FileJournal", "Journal", "MemoryJournal"]

Kind = Literal["began", "ended", "raised", "cancelled", "error", "close", "served", "done"]
"""A message's handler began, returned, raised, was cancelled; the two hooks; a server began, and has returned."""

POLL = 0.01
"""Seconds between two looks at a journal somebody else writes."""


@attrs.frozen
class Event:
    """One thing a server's handler saw.

    Attributes:
        kind: What happened.
        connection: The connection's identifier.
        method: The message's method, or "".
        key: What the check called this message, or "".
        detail: The message's id, the cause of a cancellation, or the class of an error.
    """

    kind: Kind
    connection: str = ""
    method: str = ""
    key: str = ""
    detail: str = ""

    def __str__(self) -> str:
        return " ".join(word for word in (self.kind, self.method, self.key, self.detail) if word)


class Journal:
    """Something that holds events; a check waits on it."""

    def events(self) -> list[Event]:
        """Return everything seen so far, oldest first."""
        raise NotImplementedError

    async def changed(self) -> None:
        """Wait until there may be more; a checkpoint."""
        raise NotImplementedError

    def select(self, *kinds: Kind, key: str | None = None, method: str | None = None) -> list[Event]:
        """Return the events of these kinds, of one key or method where given."""
        return [
            event
            for event in self.events()
            if event.kind in kinds and key in (None, event.key) and method in (None, event.method)
        ]

    async def wait(self, *kinds: Kind, key: str | None = None, method: str | None = None, count: int = 1) -> Event:
        """Wait for the ``count``-th event of these kinds and return it; a checkpoint."""
        return await self.wait_until(lambda: _nth(self.select(*kinds, key=key, method=method), count))

    async def wait_until(self, look: Callable[[], Event | None]) -> Event:
        """Wait until ``look`` returns an event; a checkpoint."""
        while (found := look()) is None:
            await self.changed()
        await trio.lowlevel.checkpoint()
        return found


def _nth(events: list[Event], count: int) -> Event | None:
    return events[count - 1] if len(events) >= count else None


class MemoryJournal(Journal):
    """A journal of a server in this process."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._waiting = trio.lowlevel.ParkingLot()

    def add(self, event: Event) -> None:
        """Note an event."""
        self._events.append(event)
        self._waiting.unpark_all()

    def events(self) -> list[Event]:
        """Return everything seen so far, oldest first."""
        return self._events

    async def changed(self) -> None:
        """Wait for the next event; a checkpoint."""
        await self._waiting.park()


class FileJournal(Journal):
    """A journal in a file, one JSON array per line; any number of processes may add to it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Use a file, which need not exist yet."""
        self._path = Path(path)

    def add(self, event: Event) -> None:
        """Note an event, in one write, so that no two processes mix theirs."""
        line = json.dumps(attrs.astuple(event)) + "\n"
        with self._path.open("ab", buffering=0) as file:
            file.write(line.encode())

    def events(self) -> list[Event]:
        """Return everything seen so far, oldest first."""
        if not self._path.exists():
            return []
        whole, _, _ = self._path.read_bytes().rpartition(b"\n")
        return [Event(*json.loads(line)) for line in whole.splitlines()]

    async def changed(self) -> None:
        """Wait a moment; a checkpoint."""
        await trio.sleep(POLL)
