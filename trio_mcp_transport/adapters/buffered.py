"""Bounded buffers in front of and behind a `BytesTransport`: it writes behind and reads ahead.

Must never hold more than its configuration says, and must never lose a message it accepted without an error that
tells so.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Any, Self

import attrs
import trio

from ..errors import (
    ConfigError,
    ConnectionClosed,
    ConnectionFailed,
    FrameTooLarge,
    LocalProtocolError,
    MessageError,
    MessageTooLarge,
    TransportError,
)
from .bytes_link import BytesTransport, largest_of, received
from .mapping import mapped

__all__ = ["BufferedConfig", "BufferedTransport"]

KIB = 1024
CLOSE_GRACE = 5.0
"""Seconds for what is written behind, and again for the wrapped transport's own `close`, when it closes."""


def _at_least_one(_: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if type(value) is not int or value < 1:
        raise ConfigError(f"{attribute.name} is an integer of at least 1, not {value!r}")


def _share(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value <= 1:
        raise ConfigError(f"{attribute.name} is above 0 and at most 1, not {value!r}")


@attrs.frozen(kw_only=True)
class BufferedConfig:
    """The bounds of a `BufferedTransport`; the names and defaults are AIRS'.

    Attributes:
        read_buffer_capacity: Bytes read ahead.
        write_buffer_capacity: Bytes accepted and not written yet.
        max_message_size: Bytes of the largest message, either way.
        backpressure_threshold: Share of a capacity from which on it takes no more: a `send` waits, nothing more is
            read.  One message of any size passes when a buffer is empty.
    """

    read_buffer_capacity: int = attrs.field(default=64 * KIB, validator=_at_least_one)
    write_buffer_capacity: int = attrs.field(default=64 * KIB, validator=_at_least_one)
    max_message_size: int = attrs.field(default=16 * KIB * KIB, validator=_at_least_one)
    backpressure_threshold: float = attrs.field(default=0.8, validator=_share)


class _Buffer:
    """Messages in order, their bytes, and how it ends; ``changed`` wakes whoever waits for any of it."""

    def __init__(self, bound: float) -> None:
        self._bound = bound
        self._bytes = 0
        self.items: deque[bytes | MessageError] = deque()
        self.end: TransportError | None = None
        self.changed = trio.lowlevel.ParkingLot()

    async def wait_for_room(self) -> None:
        while self.items and self._bytes >= self._bound and self.end is None:
            await self.changed.park()

    def put(self, item: bytes | MessageError) -> None:
        self.items.append(item)
        self._bytes += _size(item)
        self.changed.unpark_all()

    async def first(self) -> bytes | MessageError:
        """Wait for the first item and leave it there.

        Raises:
            TransportError: The end; what came before it goes first.
        """
        while not self.items:
            if self.end is not None:
                raise self.end.twin()
            await self.changed.park()
        return self.items[0]

    def drop(self) -> None:
        """Take the first item away."""
        self._bytes -= _size(self.items.popleft())
        self.changed.unpark_all()

    def finish(self, end: TransportError) -> None:
        """Say that no item follows; the first reason counts."""
        if self.end is None:
            self.end = end
            self.changed.unpark_all()


def _size(item: bytes | MessageError) -> int:
    return len(item) if isinstance(item, bytes) else 0


class BufferedTransport:
    """Buffers what a `BytesTransport` sends and receives, within bounds, and refuses messages that are too large.

    Two tasks do it: `send` returns once the message is in the buffer, and `receive` takes what was read ahead.  They
    live in `run_background`, which the adapters start by themselves; elsewhere ``async with`` runs it.  Before it runs
    nothing is buffered, and each call goes straight through.
    """

    def __init__(self, inner: BytesTransport, config: BufferedConfig | None = None) -> None:
        """Wrap a transport; ``config`` has AIRS' defaults."""
        self._inner = inner
        self._config = config = config or BufferedConfig()
        own = largest_of(inner)
        self._largest = config.max_message_size if own is None else min(own, config.max_message_size)
        self._writes: _Buffer | None = _Buffer(config.write_buffer_capacity * config.backpressure_threshold)
        self._reads = _Buffer(config.read_buffer_capacity * config.backpressure_threshold)
        self._wanted = trio.Event()
        self._read_ended = trio.Event()
        self._scope: trio.CancelScope | None = None
        self._manager: Any = None
        self._patient = False
        self._closed = False
        self._told = False  # whether anybody was told that an accepted message was not written

    @classmethod
    def for_reading(cls, inner: BytesTransport) -> BufferedTransport:
        """Return one that reads one message ahead, in a task that nothing but the end cancels, and writes directly."""
        config = BufferedConfig(read_buffer_capacity=1, max_message_size=2**63 - 1)
        buffered = cls(inner, config)
        buffered._writes = None
        buffered._patient = True
        return buffered

    @property
    def max_message_size(self) -> int | None:
        """Largest message taken, in bytes."""
        return self._largest

    async def run_background(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read ahead and write behind until `close`; starts reading with the first `receive`.

        What the wrapped transport wants to have running runs beside it, and only its errors leave.

        Raises:
            LocalProtocolError: It runs already.
        """
        if self._scope is not None:
            raise LocalProtocolError("a BufferedTransport runs once")
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                background = getattr(self._inner, "run_background", None)
                if background is not None:
                    await nursery.start(background)
                nursery.start_soon(self._read_ahead)
                if self._writes is not None:
                    nursery.start_soon(self._write_behind, self._writes)
                task_status.started()
        finally:
            # Nobody reads or writes any more: whoever waits, or comes later, is told.
            for buffer in (self._reads, self._writes):
                if buffer is not None:
                    buffer.finish(ConnectionClosed("the tasks of the buffer have ended"))

    async def __aenter__(self) -> Self:
        """Start the two tasks in a nursery of this block."""
        self._manager = trio.open_nursery()
        nursery: trio.Nursery = await self._manager.__aenter__()
        await nursery.start(self.run_background)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write what was accepted, close, and end the two tasks."""
        # The body's own exception leaves as it is, with no other in front.
        self._told = self._told or error is not None
        try:
            if not self._closed:
                await self.close()
        finally:
            # The body's own exception leaves as it is, in no group.
            await self._manager.__aexit__(None, None, None)

    async def send(self, message: bytes, /) -> None:
        """Accept one message; waits while the buffer is over its threshold.  A checkpoint.

        Raises:
            MessageTooLarge: It is over the limit; nothing was sent.
            ConnectionClosed: The transport was closed.
            TransportError: An earlier message could not be written.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if len(message) > self._largest:
            raise MessageTooLarge(f"a message of {len(message)} bytes is over the limit {self._largest}")
        if self._scope is None or self._writes is None:
            await self._inner.send(message)
            return
        await self._writes.wait_for_room()
        self._check_open()
        if self._writes.end is not None:
            self._told = True
            raise self._writes.end.twin()
        self._writes.put(bytes(message))
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def receive(self) -> bytes:
        """Return the next message.  A checkpoint; cancelled, nothing is lost once the tasks run.

        Raises:
            FrameTooLarge: The next message is over the limit; it is dropped.
            ConnectionClosed: The transport was closed.
            TransportError: What the wrapped transport raised, or an earlier message could not be written.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if self._scope is None:
            return self._checked(await self._inner.receive())
        self._wanted.set()
        try:
            item = await self._reads.first()
        except TransportError:
            self._told = self._told or (self._writes is not None and self._reads.end is self._writes.end)
            raise
        self._reads.drop()
        await trio.lowlevel.cancel_shielded_checkpoint()
        if isinstance(item, MessageError):
            raise item
        return self._checked(item)

    async def close(self) -> None:
        """Write what was accepted, within a grace of 5 s, and close the wrapped transport, within another.

        Raises:
            ConnectionFailed: Not all that was accepted could be written, and no other call has told so; what the
                writing failed with is the ``__cause__``.
            Exception: What the wrapped transport's own `close` raised.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        self._reads.finish(ConnectionClosed("the transport is closed"))
        try:
            await self._close()
        finally:
            if self._writes is not None:
                self._writes.finish(ConnectionClosed("the transport is closed"))
        if self._writes is not None and self._writes.items and not self._told:
            failure = self._unwritten(self._writes)
            raise failure from failure.__cause__

    def _unwritten(self, writes: _Buffer) -> ConnectionFailed:
        failure = ConnectionFailed(f"{len(writes.items)} messages were accepted and not written")
        if not isinstance(writes.end, ConnectionClosed):
            failure.__cause__ = writes.end
        return failure

    async def _close(self) -> None:
        try:
            if self._scope is not None and self._writes is not None:
                with trio.move_on_after(CLOSE_GRACE):
                    while self._writes.items and self._writes.end is None:
                        await self._writes.changed.park()
        finally:
            with trio.move_on_after(CLOSE_GRACE, shield=True):
                try:
                    await self._inner.close()
                    if self._patient and self._scope is not None and self._wanted.is_set():
                        # A receive that must not be cancelled ends by itself when its transport is closed.
                        await self._read_ended.wait()
                finally:
                    if self._scope is not None:
                        self._scope.cancel()

    async def _read_ahead(self) -> None:
        try:
            await self._wanted.wait()
            while self._reads.end is None:
                await self._reads.wait_for_room()
                try:
                    with mapped("receiving failed"):
                        message = received(await self._inner.receive())
                except MessageError as error:
                    self._reads.put(error)
                else:
                    if not message:
                        self._reads.finish(ConnectionClosed("the peer has ended"))
                        return
                    self._reads.put(message)
                await trio.lowlevel.checkpoint()
        except TransportError as error:
            self._reads.finish(error)
        finally:
            self._read_ended.set()

    async def _write_behind(self, writes: _Buffer) -> None:
        while True:
            while not writes.items:
                if writes.end is not None:
                    return
                await writes.changed.park()
            try:
                with mapped("sending failed"):
                    await self._inner.send(writes.items[0])  # type: ignore[arg-type]  # nothing but bytes is put there
            except TransportError as error:
                # Whoever reads must hear of it too: nobody may ever send again.
                writes.finish(error)
                self._reads.finish(error)
                return
            writes.drop()
            await trio.lowlevel.checkpoint()

    def _checked(self, message: bytes) -> bytes:
        if len(message) > self._largest:
            text = f"a message of {len(message)} bytes is over the limit {self._largest}"
            raise FrameTooLarge(text, limit=self._largest, beginning=message)
        return message

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionClosed("the transport is closed")
