"""The way back of one connection: everybody puts, one task writes.

A torn frame corrupts every later one, and a cancelled ``send_all`` tears; so no task but the writer may ever write.
Must never decide what is sent, only in which order and how much may wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import trio

from ..abc import MessageLink
from ..errors import ConnectionClosed
from ..exchange import CancelCause, Exchange
from ..metrics import TransportMetrics
from ..wire.messages import Message

__all__ = ["PipeOutbox"]

WRITE_AT_ONCE = 256 * 1024
"""Bytes taken for one write: what is taken can no longer be dropped, what is left still can."""


class _Batch:
    """Frames that are being written, and the exchanges whose last frame is among them."""

    __slots__ = ("count", "finished", "items", "size", "urgent")

    def __init__(self, items: list[Any], finished: list[Exchange], size: int, count: int, urgent: int) -> None:
        self.items = items
        self.finished = finished
        self.size = size
        self.count = count
        self.urgent = urgent


class PipeOutbox:
    """Bounded in bytes; one oversized frame passes when nothing else waits, and nothing passes one that does.

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
        self._items: deque[tuple[Any, int, Exchange | None, bool, int]] = deque()
        self._control: list[bytes] = []
        # Whoever waits for room, in order, each where it can be woken alone.
        self._line: deque[trio.lowlevel.ParkingLot] = deque()
        self._writer: trio.lowlevel.Task | None = None
        self._batch: _Batch | None = None
        self._write_nowait: Callable[[list[Any]], list[Any]] | None = getattr(link, "write_nowait", None)
        self.closed: bool = False
        self.pending_bytes: int = 0
        self.urgent_bytes: int = 0

    @property
    def over(self) -> bool:
        """Whether more than the bound is waiting."""
        return self.pending_bytes > self._bound

    @property
    def flooded(self) -> bool:
        """Whether even messages that pass the bound, refusals and notices, pile up: the peer reads nothing at all."""
        return self.urgent_bytes > self._bound

    def put_nowait(self, exchange: Exchange | None, message: Message, final: bool, *, last: bool = False) -> bool:
        """Put a message if there is room; return whether it was taken.

        Args:
            exchange: What it belongs to.
            message: The message.
            final: Whether it is the response.
            last: Whether nothing follows in this step of the caller, so that it is written at once where the stream
                can: one task switch less, and the peer need not wait for it.

        Raises:
            LocalProtocolError: The message cannot be written.
            ConnectionClosed: The outbox is closed.
        """
        if self.closed:
            raise ConnectionClosed("the connection is closed")
        if self._line or self.pending_bytes >= self._bound:
            # Nothing is encoded before there is room, and nobody passes a large message that waits for an empty outbox.
            return False
        item, size = self._link.encode(message)
        if self.pending_bytes and self.pending_bytes + size > self._bound:
            return False
        if final and exchange is not None:
            exchange.answered = True
            self._answered(exchange, message)
        self._items.append((item, size, exchange, final, 0))
        self.pending_bytes += size
        if last:
            self._write_now()
        elif self._writer is not None:
            self._wake()
        return True

    async def put(
        self,
        exchange: Exchange | None,
        message: Message,
        final: bool,
        *,
        unless: Callable[[], bool] | None = None,
    ) -> None:
        """Put a message, waiting for room.  A checkpoint; cancelled while waiting, nothing was put.

        Args:
            exchange: What it belongs to.
            message: The message.
            final: Whether it is the response.
            unless: Asked after each wait; once it says yes, the message is no longer wanted and is not put.

        Raises:
            LocalProtocolError: The message cannot be written.
            ConnectionClosed: The outbox is closed, or was while waiting.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        encoded = None if self._line or self.pending_bytes >= self._bound else self._link.encode(message)
        waited = encoded is None or not self._fits(encoded[1])
        if waited:
            encoded = await self._wait_in_line(message, encoded, unless)
        if encoded is None:
            return
        item, size = encoded
        if exchange is not None and exchange.answered:
            # While this message waited for room, a drain gave the final answer: nothing may follow it.
            return
        self._append(item, size, exchange, message, final)
        self._wake()
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _wait_in_line(
        self, message: Message, encoded: tuple[Any, int] | None, unless: Callable[[], bool] | None
    ) -> tuple[Any, int] | None:
        """Wait for room, first come, first served; only the first in the line holds encoded text beside its value.

        Returns:
            The encoded message, for which there is room now; None when it is no longer wanted.
        """
        place = trio.lowlevel.ParkingLot()
        self._line.append(place)
        try:
            while True:
                if self._line[0] is place and self.pending_bytes < self._bound:
                    if encoded is None:
                        encoded = self._link.encode(message)
                    if self._fits(encoded[1]):
                        return encoded
                await place.park()
                self._check_open()
                if unless is not None and unless():
                    return None
        finally:
            self._line.remove(place)
            self._call_next()

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
        # What belongs to an exchange is as bounded as the exchanges are, however large the error of a handler may be;
        # a flood is what is answered without one: refusals above all.
        urgent = size if exchange is None else 0
        self.urgent_bytes += urgent
        self._append(item, size, exchange, message, final, urgent)
        self._wake()

    def put_control(self, data: bytes) -> None:
        """Put bytes that a codec owes the peer, such as a pong, in front of every message; in vain when closed.

        They are urgent: a peer that asks for them and reads nothing floods the outbox.
        """
        if self.closed:
            return
        self._control.append(data)
        self.pending_bytes += len(data)
        self.urgent_bytes += len(data)
        self._wake()

    def reconsider(self) -> None:
        """Let whoever waits for room look again whether its message is still wanted."""
        for place in self._line:
            place.unpark_all()

    def finish(self, exchange: Exchange) -> None:
        """Learn that an exchange ended without a final message."""
        self._done(exchange)

    def break_off(self) -> None:
        """Drop what waits and fail whoever waits for room: the connection is gone."""
        self.closed = True
        items, self._items = self._items, deque()
        self._control.clear()
        torn = [] if self._batch is None else self._batch.finished
        self._batch = None
        self.pending_bytes = self.urgent_bytes = 0
        for unsent in torn:
            self._done(unsent)
        for _, _, exchange, final, _ in items:
            if final and exchange is not None:
                self._done(exchange)
        self.reconsider()
        self._written()
        self._wake()

    async def run(self) -> None:
        """Write until `break_off`, or until cancelled.

        Raises:
            ConnectionFailed: The link broke.
            DeadlineExceeded: The peer accepts nothing.
        """
        while True:
            if self._batch is None:
                if not self._items and not self._control:
                    if self.closed:
                        return
                    await self._wait()
                    continue
                self._batch = self._collect()
            batch = self._batch
            if batch.items:
                await self._link.write(batch.items)
            self._wrote(batch)

    def _write_now(self) -> None:
        """Write in the caller's step what the link takes without waiting; the writer continues what is left.

        Only while the writer is parked: it alone may write once a frame was begun and not finished.
        """
        write_nowait = self._write_nowait
        if write_nowait is None or self._writer is None:
            self._wake()
            return
        self._batch = batch = self._collect()
        if batch.items:
            batch.items = write_nowait(batch.items)
        if batch.items:
            self._wake()
            return
        self._wrote(batch)
        if self._items:
            self._wake()

    def _wrote(self, batch: _Batch) -> None:
        self._batch = None
        self._metrics.messages_sent += batch.count
        self._metrics.bytes_sent += batch.size
        for exchange in batch.finished:
            self._done(exchange)
        self.pending_bytes -= batch.size
        self.urgent_bytes -= batch.urgent
        self._call_next()
        self._written()

    def _collect(self) -> _Batch:
        """Take what may be written at once; frames of cancelled exchanges are dropped here, before they are begun."""
        batch: list[Any] = []
        finished: list[Exchange] = []
        size = urgent = 0
        items = self._items
        while items and size < WRITE_AT_ONCE:
            item, item_size, exchange, final, urgent_size = items.popleft()
            if exchange is not None:
                if final:
                    finished.append(exchange)
                if exchange.cause is not None and exchange.cause is not CancelCause.DRAIN:
                    self.pending_bytes -= item_size
                    self.urgent_bytes -= urgent_size
                    continue
            batch.append(item)
            size += item_size
            urgent += urgent_size
        count = len(batch)
        if self._control:
            # RFC 6455 section 5.4: control frames may come between any two frames, and are no messages.
            owed = b"".join(self._control)
            self._control.clear()
            batch.insert(0, owed)
            size += len(owed)
            urgent += len(owed)
        return _Batch(batch, finished, size, count, urgent)

    def _append(
        self, item: Any, size: int, exchange: Exchange | None, message: Message, final: bool, urgent: int = 0
    ) -> None:
        if final and exchange is not None:
            self._finalize(exchange, message)
        self._items.append((item, size, exchange, final, urgent))
        self.pending_bytes += size

    def _finalize(self, exchange: Exchange, message: Message) -> None:
        exchange.answered = True
        self._answered(exchange, message)

    def _fits(self, size: int) -> bool:
        return not self.pending_bytes or self.pending_bytes + size <= self._bound

    def _call_next(self) -> None:
        if self._line:
            self._line[0].unpark_all()

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
            trio.lowlevel.reschedule(task)
