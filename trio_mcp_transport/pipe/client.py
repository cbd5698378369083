"""The client's end of a pipe: its reader never waits, and its end fails every open call with the cause.

Must never start a process or open a socket: it is given one connection and serves it to its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from ..abc import MessageLink
from ..call import Call
from ..connect import ClientConnection, ClientSetup
from ..context import ConnectionInfo
from ..errors import ConnectionClosed, ConnectionFailed, FrameTooLarge, MessageError, TransportError
from ..exchange import LISTEN, CancelCause
from ..limits import MIB
from ..metrics import TransportMetrics, TransportStatistics
from ..wire.messages import MessageId, Notification
from ..wire.signals import Signal
from .end import PipeEnd
from .server import CHECKPOINT_EVERY, is_final

__all__ = ["CLIENT_MESSAGE_SIZE", "PipeConnection"]

CLIENT_MESSAGE_SIZE = 64 * MIB
"""Largest message a client accepts on a pipe unless configured."""

Explain = Callable[[TransportError], Awaitable[TransportError]]
"""Turns the bare end of a stream into an error that names the cause, such as a child's exit status."""


async def _as_it_is(error: TransportError) -> TransportError:
    return error


class PipeConnection:
    """Implements `connect.ClientConnection` over a channel of messages."""

    def __init__(
        self,
        setup: ClientSetup,
        link: MessageLink,
        info: ConnectionInfo,
        metrics: TransportMetrics,
        *,
        explain: Explain = _as_it_is,
    ) -> None:
        self.failure: TransportError | None = None
        self._setup = setup
        self._metrics = metrics
        self._explain = explain
        largest = setup.limits.message_size(CLIENT_MESSAGE_SIZE)
        self._end = PipeEnd(setup.intake, link, info, metrics, largest, setup.ids)
        self._closing = trio.Event()
        self._explained = trio.Event()
        self._lost: TransportError | None = None
        self._listens: list[Call] | None = None

    # What a client calls.

    def next_id(self) -> MessageId:
        """Return an id that was never used on this connection (L25-JR-03)."""
        return self._end.calls.next_id()

    def send_call_nowait(self, call: Call) -> bool:
        """Send a request if there is room; False when there is none.

        Raises:
            ConnectionClosed: The connection has ended.
            LocalProtocolError: The request cannot be written.
        """
        if self._end.outbox.closed and not self._explained.is_set():
            return False
        if self._closing.is_set() or self.failure is not None or self._end.outbox.closed:
            self._check_open()
        return self._end.outbound.send_nowait(call)

    async def send_call(self, call: Call) -> None:
        """Send a request; a checkpoint.

        Raises:
            ConnectionClosed: The connection has ended.
            LocalProtocolError: The request cannot be written.
        """
        try:
            self._check_open()
            await self._end.outbound.send(call)
        except ConnectionClosed as bare:
            raise await self._cause(bare) from None

    async def notify(self, notification: Notification) -> None:
        """Send a notification; a checkpoint.

        Raises:
            ConnectionClosed: The connection has ended.
            LocalProtocolError: The notification cannot be written.
        """
        try:
            self._check_open()
            await self._end.outbox.put(None, notification, False)
        except ConnectionClosed as bare:
            raise await self._cause(bare) from None

    def close(self) -> None:
        """Begin to close; from any task, any number of times."""
        self._closing.set()

    def take_listens(self) -> list[Call]:
        """Take away the listens that were open when the connection was lost."""
        listens, self._listens = self._listens or [], None
        return listens

    def keep_listens(self) -> None:
        """Keep open listens for another connection, instead of failing them when this one is lost."""
        self._listens = []

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the transport's counters."""
        return self._metrics.snapshot()

    # What a transport calls.

    async def run(self, *, task_status: trio.TaskStatus[ClientConnection] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the connection until either side closes it; at the end the writing side is closed.

        Cancelled, it ends at once.

        Raises:
            TransportError: The server closed, or the channel broke; `failure` holds the same error.
        """
        self._metrics.connected(self._end.load)
        try:
            error = await self._setup.intake.contain(partial(self._converse, task_status))
            if error is not None:
                self._lose(error)
        finally:
            await self._finish()
            self._metrics.disconnected(self._end.load)
        if self.failure is not None:
            raise self.failure

    async def _converse(self, task_status: trio.TaskStatus[ClientConnection]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, nursery.cancel_scope)
            nursery.start_soon(self._read, nursery.cancel_scope)
            task_status.started(self)
            await self._closing.wait()
            await self._say_goodbye()
            nursery.cancel_scope.cancel()

    async def _read(self, connection: trio.CancelScope) -> None:
        end = self._end
        try:
            while await end.link.fill():
                end.received_at = trio.current_time()
                await self._take_all()
                end.answer_control()
                if end.outbox.flooded:
                    raise ConnectionFailed("the server reads nothing, not even what it asks of the codec")
            await self._take_all()
            self._lose(ConnectionClosed("the server closed the connection"))
        except TransportError as error:
            self._lose(error)
        if not self._closing.is_set():
            connection.cancel()

    async def _take_all(self) -> None:
        end = self._end
        next_message = end.link.next_message
        outbox = end.outbox
        taken = 0
        while True:
            try:
                message = next_message()
                if type(message) is Signal:
                    return
                end.metrics.messages_received += 1
                end.take(message)
            except (FrameTooLarge, MessageError) as error:
                if is_final(end.link, error):
                    raise
                # One line that is no protocol is an event, not the death of the connection.
                end.metrics.messages_received += 1
                end.unreadable(error)
            if outbox.urgent_bytes and outbox.flooded:
                raise ConnectionFailed("the server reads nothing, not even refusals")
            taken += 1
            if taken % CHECKPOINT_EVERY == 0:
                await trio.lowlevel.checkpoint()

    async def _write(self, connection: trio.CancelScope) -> None:
        try:
            await self._end.outbox.run()
        except TransportError as error:
            # The peer may have written its reasons before it left: what it sent is still read, briefly.
            with trio.move_on_after(0.25):
                await self._closing.wait()
            self._lose(error)
            connection.cancel()

    async def _say_goodbye(self) -> None:
        """Cancel open calls at the peer, flush, and end the writing side: an obedient server has nothing to drain."""
        end = self._end
        for call in end.calls.waiting():
            call.fail(ConnectionClosed("the client was closed"))
            call.cancel()
        end.cancel_exchanges(CancelCause.CLOSED)
        with trio.move_on_after(self._setup.limits.grace):
            while end.outbox.pending_bytes and not end.outbox.closed:
                await end.wait_change()

    async def _finish(self) -> None:
        """Fail what is left with the cause, and let go of the channel; shielded, within the grace."""
        end = self._end
        grace = self._setup.limits.grace
        end.accepting = False
        end.cancel_exchanges(CancelCause.CLOSED)
        end.outbox.break_off()
        try:
            with trio.move_on_after(grace, shield=True):
                if self._lost is not None and not self._closing.is_set():
                    self.failure = await self._explain(self._lost)
        finally:
            self.failure = self.failure or (None if self._closing.is_set() else self._lost)
            self._explained.set()
            self._fail_calls()
        with trio.move_on_after(grace, shield=True):
            while end.exchanges.open:
                await end.wait_change()
        with trio.move_on_after(grace, shield=True):
            if self.failure is not None:
                await self._setup.intake.report_error(self.failure, end.context())
        with trio.move_on_after(grace, shield=True):
            await self._setup.intake.report_close(end.context())
        with trio.move_on_after(grace, shield=True):
            await end.close_link()

    def _fail_calls(self) -> None:
        error = self.failure or ConnectionClosed("the client was closed")
        for call in self._end.calls.drain():
            if self._listens is not None and call.request.method == LISTEN and self.failure is not None:
                self._listens.append(call)
            else:
                call.fail(error.twin())
        self._end.leave_era()

    def _lose(self, error: TransportError) -> None:
        if self._lost is None:
            self._lost = error
            if not self._closing.is_set():
                self._end.metrics.record_error()

    async def _cause(self, bare: ConnectionClosed) -> TransportError:
        """Return why the connection ended; waits while that is being found out, which the grace bounds."""
        if not self._closing.is_set():
            await self._explained.wait()
        return bare if self.failure is None else self.failure.twin()

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise ConnectionClosed("the client was closed")
        if self.failure is not None or self._end.outbox.closed:
            raise (self.failure or ConnectionClosed("the connection is closed")).twin()
