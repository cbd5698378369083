"""The way back of one connection: everybody puts, one task writes.

A torn frame corrupts every later one, and a cancelled ``send_all`` tears; so no task but the writer may ever write.
Must never decide what is sent, only in which order and how much may wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import outcome
import trio

from ..abc import MessageLink
from ..errors import ConnectionClosed
from ..exchange import CancelCause, Exchange
from ..metrics import TransportMetrics
from ..wire.messages import Message

__all__ = ["PipeOutbox"]

WRITE_AT_ONCE = 256 * 1024
"""Bytes taken for one write: what is taken can no longer be dropped, what is left still can."""


class PipeOutbox:
    """Bounded in bytes; one oversized frame passes when nothing else waits.

    Implements `exchange.Outbox`.  ``answered`` is called when a final message was put (its id is free from then on),
    ``done`` once nothing of an exchange is left here and its permit may go, ``written`` after every write.
    """

    def __init__(
        self,
        link: MessageLink,
        bound: int,
        metrics: TransportMetrics,
        *,
        answered: Callable[[Exchange, Message], None],
        done: Callable[[Exchange], None],
        written: Callable[[], None],
    ) -> None:
        self._link = link
        self._bound = bound
        self._metrics = metrics
        self._answered = answered
        self._done = done
        self._written = written
        self._items: deque[tuple[Any, int, Exchange | None, bool]] = deque()
        self._room = trio.lowlevel.ParkingLot()
        self._writer: trio.lowlevel.Task | None = None
        self._writing: list[Exchange] = []
        self._closing = False
        self.closed = False
        self.pending_bytes = 0
        self.urgent_bytes = 0

    @property
    def over(self) -> bool:
        """Whether more than the bound is waiting."""
        return self.pending_bytes > self._bound

    @property
    def flooded(self) -> bool:
        """Whether even messages that pass the bound, refusals and notices, pile up: the peer reads nothing at all."""
        return self.urgent_bytes > self._bound

    def put_nowait(self, exchange: Exchange | None, message: Message, final: bool) -> bool:
        """Put a message if there is room; return whether it was taken.

        Raises:
            LocalProtocolError: The message cannot be written.
            ConnectionClosed: The outbox is closed.
        """
        self._check_open()
        item, size = self._link.encode(message)
        if self.pending_bytes and self.pending_bytes + size > self._bound:
            return False
        self._append(item, size, exchange, message, final)
        return True

    async def put(self, exchange: Exchange | None, message: Message, final: bool) -> None:
        """Put a message, waiting for room.  A checkpoint; cancelled while waiting, nothing was put.

        Raises:
            LocalProtocolError: The message cannot be written.
            ConnectionClosed: The outbox is closed, or was while waiting.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        item, size = self._link.encode(message)
        waited = False
        while self.pending_bytes and self.pending_bytes + size > self._bound:
            await self._room.park()
            waited = True
            self._check_open()
        if exchange is not None and exchange.answered:
            # While this message waited for room, a drain gave the final answer: nothing may follow it.
            return
        self._append(item, size, exchange, message, final)
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def put_urgent(self, exchange: Exchange | None, message: Message, final: bool) -> None:
        """Put a small message beyond the bound, without waiting; on a closed outbox it vanishes.

        Raises:
            LocalProtocolError: The message cannot be written.
        """
        item, size = self._link.encode(message)
        if self.closed:
            if final and exchange is not None:
                self._finalize(exchange, message)
                self._done(exchange)
            return
        self.urgent_bytes += size
        self._append(item, size, exchange, message, final)

    def finish(self, exchange: Exchange) -> None:
        """Learn that an exchange ended without a final message."""
        self._done(exchange)

    def close(self) -> None:
        """Let the writer end once everything was written."""
        self._closing = True
        self._wake()

    def break_off(self) -> None:
        """Drop what waits and fail whoever waits for room: the connection is gone."""
        self.closed = True
        items, self._items = self._items, deque()
        torn, self._writing = self._writing, []
        self.pending_bytes = self.urgent_bytes = 0
        for unsent in torn:
            self._done(unsent)
        for _, _, exchange, final in items:
            if final and exchange is not None:
                self._done(exchange)
        self._room.unpark_all()
        self._written()
        self._wake()

    async def run(self) -> None:
        """Write until `close` and nothing is left, or until cancelled.

        Raises:
            ConnectionFailed: The link broke.
            DeadlineExceeded: The peer accepts nothing.
        """
        while True:
            if not self._items:
                if self._closing or self.closed:
                    return
                await self._wait()
                continue
            batch, self._writing, size = self._collect()
            if batch:
                await self._link.write(batch)
                self._metrics.messages_sent += len(batch)
                self._metrics.bytes_sent += size
            for exchange in self._writing:
                self._done(exchange)
            self._writing = []
            self.pending_bytes -= size
            self.urgent_bytes = min(self.urgent_bytes, self.pending_bytes)
            if self._room:
                self._room.unpark_all()
            self._written()

    def _collect(self) -> tuple[list[Any], list[Exchange], int]:
        """Take what may be written at once; frames of cancelled exchanges are dropped here, before they are begun."""
        batch: list[Any] = []
        finished: list[Exchange] = []
        size = taken = 0
        items = self._items
        while items and taken < WRITE_AT_ONCE:
            item, item_size, exchange, final = items.popleft()
            if exchange is not None:
                if final:
                    finished.append(exchange)
                if exchange.cause is not None and exchange.cause is not CancelCause.DRAIN:
                    self.pending_bytes -= item_size
                    continue
            batch.append(item)
            size += item_size
            taken += item_size
        return batch, finished, size

    def _append(self, item: Any, size: int, exchange: Exchange | None, message: Message, final: bool) -> None:
        if final and exchange is not None:
            self._finalize(exchange, message)
        self._items.append((item, size, exchange, final))
        self.pending_bytes += size
        self._wake()

    def _finalize(self, exchange: Exchange, message: Message) -> None:
        exchange.answered = True
        self._answered(exchange, message)

    def _check_open(self) -> None:
        if self.closed:
            raise ConnectionClosed("the connection is closed")

    async def _wait(self) -> None:
        self._writer = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._writer = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake(self) -> None:
        task, self._writer = self._writer, None
        if task is not None:
            trio.lowlevel.reschedule(task, outcome.Value(None))
