"""Transports around a `BytesTransport`: one that counts, one that buffers, and one for objects used one call at a time.

Must never change a message and never reorder two.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ..errors import ConnectionClosed
from ..metrics import TransportMetrics
from .buffered import BufferedConfig, BufferedTransport
from .bytes_link import BytesTransport, largest_of
from .mapping import as_typed

__all__ = ["BufferedConfig", "BufferedTransport", "MonitoredTransport", "OneAtATime"]


class _Wrapper:
    """What a wrapper passes on as it is."""

    def __init__(self, inner: BytesTransport) -> None:
        self._inner = inner

    @property
    def max_message_size(self) -> int | None:
        """Largest message the wrapped transport takes, in bytes, or None where it says nothing."""
        return largest_of(self._inner)

    async def run_background(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run what the wrapped transport wants to have running, if anything."""
        background: Callable[..., object] | None = getattr(self._inner, "run_background", None)
        if background is None:
            task_status.started()
            return
        await background(task_status=task_status)  # type: ignore[misc]  # a coroutine method, by BytesTransport

    async def close(self) -> None:
        """Close the wrapped transport."""
        await self._inner.close()


class MonitoredTransport(_Wrapper):
    """Counts what passes through a `BytesTransport`.

    Attributes:
        metrics: The counters; ``metrics.snapshot()`` gives the numbers.
    """

    def __init__(self, inner: BytesTransport, metrics: TransportMetrics | None = None) -> None:
        """Wrap a transport; without ``metrics`` it gets counters of its own."""
        super().__init__(inner)
        self.metrics: TransportMetrics = metrics or TransportMetrics()
        self._connected = False

    async def send(self, message: bytes, /) -> None:
        """Send one message and count it, or the error."""
        try:
            await self._inner.send(message)
        except Exception as error:
            self._count_error(error)
            raise
        self._count_connection()
        self.metrics.record_send(len(message))

    async def receive(self) -> bytes:
        """Receive one message and count it, or the error; the end of the peer is none."""
        try:
            message = await self._inner.receive()
        except Exception as error:
            self._count_error(error)
            raise
        if message:
            self._count_connection()
            self.metrics.record_receive(len(message))
        return message

    def _count_connection(self) -> None:
        """Count the one connection, once it has carried a message."""
        if not self._connected:
            self._connected = True
            self.metrics.connection_count += 1

    def _count_error(self, error: Exception) -> None:
        if not isinstance(as_typed(error), ConnectionClosed):
            self.metrics.record_error()


class OneAtATime(_Wrapper):
    """Lets a transport be sent on while it is being received from, though it can only do one at a time.

    A pending `receive` is cancelled for a `send` and called again afterwards, so it must be safe to cancel.  This is
    what Rust's ``&mut self`` asks of a caller, and Tokio's ``select!`` does.  While it sends it reads nothing: over a
    channel that holds nothing, two peers that both wait to be read wait for ever, or until the write deadline.
    """

    def __init__(self, inner: BytesTransport) -> None:
        """Wrap a transport."""
        super().__init__(inner)
        self._turn = trio.Lock()
        self._senders = 0
        self._receiving: trio.CancelScope | None = None

    async def send(self, message: bytes, /) -> None:
        """Send one message, in front of a `receive` that waits."""
        await self._alone(lambda: self._inner.send(message))

    async def close(self) -> None:
        """Close the transport, in front of a `receive` that waits; that one then ends as the transport has it."""
        await self._alone(self._inner.close)

    async def _alone(self, call: Callable[[], object]) -> None:
        self._senders += 1
        try:
            if self._receiving is not None:
                self._receiving.cancel()
            async with self._turn:
                await call()  # type: ignore[misc]  # a coroutine method
        finally:
            self._senders -= 1

    async def receive(self) -> bytes:
        """Receive one message, giving way to every `send`."""
        while True:
            async with self._turn:
                # A lock is handed over in the order of asking, and a sender that asked behind this task found nothing
                # to cancel: it goes first now.
                if not self._senders:
                    with trio.CancelScope() as self._receiving:
                        return await self._inner.receive()
            self._receiving = None
            await trio.lowlevel.checkpoint()
