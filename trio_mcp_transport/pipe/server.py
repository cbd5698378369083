"""The server's end of a pipe: when its reader may wait, how it drains, and in which order it ends.

Must never open or accept anything: it is given one connection and serves it to its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..abc import FrameCodec, MessageLink
from ..context import ConnectionInfo, Peer
from ..errors import ConnectionClosed, ConnectionFailed, FrameTooLarge, FramingError, MessageError, TransportError
from ..exchange import CancelCause
from ..intake import Intake
from ..limits import MIB
from ..metrics import TransportMetrics
from ..wire.signals import Signal
from .end import PipeEnd, connection_id
from .framed import FramedLink

__all__ = ["SERVER_MESSAGE_SIZE", "serve_link", "serve_stream"]

SERVER_MESSAGE_SIZE = 16 * MIB
"""Largest message a server accepts on a pipe unless configured (gRPC: 4 MiB; MCP arguments carry whole files)."""

CHECKPOINT_EVERY = 64
"""Messages after which a reader lets other tasks run, however much of the chunk is left."""

GivenUp = Callable[[], Awaitable[TransportError | None]]
"""Waits until draining is in vain: returns why nobody waits for answers any more, or None for a second stop."""


async def _never_given_up() -> TransportError | None:
    await trio.sleep_forever()


async def serve_stream(
    exchanges: Intake,
    stream: trio.abc.Stream,
    codec: FrameCodec,
    *,
    peer: Peer | None = None,
    transport: str = "custom",
    metrics: TransportMetrics | None = None,
) -> None:
    """Serve one connection over any byte stream; this is all a custom transport needs.

    Returns when the peer ended its input, or the service shuts down, and everything asked was answered.  A checkpoint;
    cancelled, it ends at once.  Whatever goes wrong with the peer ends here: nothing but `trio.Cancelled` is raised.

    Args:
        exchanges: What `abc.ServerTransport.run` was given.
        stream: The connection; closed at the end.
        codec: A fresh codec, such as ``NewlineCodec()``.
        peer: Who is at the other end.
        transport: Name for contexts and logs.
        metrics: Counters to add to.
    """
    limits = exchanges.limits
    metrics = metrics or TransportMetrics()
    link = FramedLink(stream, codec, limits, write_deadline=limits.write_deadline, metrics=metrics)
    info = ConnectionInfo(transport=transport, connection_id=connection_id(transport), peer=peer or Peer())
    await serve_link(exchanges, link, info, metrics)


async def serve_link(
    exchanges: Intake,
    link: MessageLink,
    info: ConnectionInfo,
    metrics: TransportMetrics,
    *,
    given_up: GivenUp = _never_given_up,
) -> None:
    """Serve one connection over a channel of messages; as `serve_stream` otherwise.

    Args:
        exchanges: What `abc.ServerTransport.run` was given.
        link: The channel; closed at the end.
        info: What the connection's messages share.
        metrics: Counters to add to.
        given_up: Called once when the connection begins to drain.  When it returns an error, requests are cancelled and
            notifications may go on; when it returns None, the connection ends at once.
    """
    limits = exchanges.limits
    end = PipeEnd(exchanges, link, info, metrics, limits.message_size(SERVER_MESSAGE_SIZE))
    connection = _ServedConnection(end, given_up)
    metrics.connected(end.load)
    try:
        failure = await exchanges.contain(connection.run)
        if failure is not None:
            connection.fail(failure)
    finally:
        await connection.close()
        metrics.disconnected(end.load)


def is_final(link: MessageLink, error: FrameTooLarge | MessageError) -> bool:
    """Tell whether nothing can be read after this error: the codec would raise it again for ever."""
    return isinstance(error, FrameTooLarge) and not link.resynchronises


class _ServedConnection:
    """The tasks of one connection and the order of its end."""

    def __init__(self, end: PipeEnd, given_up: GivenUp) -> None:
        self._end = end
        self._given_up = given_up
        self._intake = end.intake
        self._failure: TransportError | None = None
        self._drained = False

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, nursery.cancel_scope)
            with trio.CancelScope() as reading:
                nursery.start_soon(self._watch_shutdown, reading)
                try:
                    await self._read()
                except ConnectionFailed as error:
                    self.fail(error)
                    nursery.cancel_scope.cancel()
            nursery.start_soon(self._watch_drain, nursery.cancel_scope)
            await self._drain()
            nursery.cancel_scope.cancel()

    async def _watch_shutdown(self, reading: trio.CancelScope) -> None:
        await self._intake.shutdown.wait()
        reading.cancel()

    async def _watch_drain(self, connection: trio.CancelScope) -> None:
        failure = await self._given_up()
        if failure is None:
            connection.cancel()
        else:
            self.fail(failure)
            self._end.cancel_requests(CancelCause.CLOSED)

    async def _write(self, connection: trio.CancelScope) -> None:
        try:
            await self._end.outbox.run()
        except TransportError as error:
            # A write error means nobody can be answered: now, not after a drain.
            self.fail(error)
            connection.cancel()

    def fail(self, error: TransportError) -> None:
        """Note why the connection ended, for the hook; the first reason counts."""
        if self._failure is None:
            self._failure = error
            self._end.metrics.record_error()

    async def _read(self) -> None:
        end = self._end
        link = end.link
        while await link.fill():
            end.received_at = trio.current_time()
            if not await self._take_all():
                return
            end.answer_control()
            if end.outbox.flooded:
                raise ConnectionFailed("the peer reads nothing, not even what it asks of the codec")
        await self._take_all()

    async def _take_all(self) -> bool:
        """Take every message of the chunk; False when the stream is broken and no later byte can be trusted."""
        end = self._end
        next_message = end.link.next_message
        outbox, admission = end.outbox, end.admission
        taken = 0
        try:
            while True:
                try:
                    message = next_message()
                    if type(message) is Signal:
                        return message is Signal.NEED_DATA
                    end.take(message)
                except (FrameTooLarge, MessageError) as error:
                    end.unreadable(error)
                    if is_final(end.link, error):
                        taken += 1
                        return False
                except FramingError as error:
                    end.unreadable(error)
                    taken += 1
                    return False
                taken += 1
                # The two cheap looks first: an empty queue and an empty outbox are the rule.
                crowded = (admission.queue and admission.full) or (outbox.pending_bytes and outbox.over)
                if crowded or taken == CHECKPOINT_EVERY:
                    # Counted before anybody else runs, so that nobody ever sees an old number.
                    end.metrics.messages_received += taken
                    taken = 0
                    await self._wait_for_room()
        finally:
            end.metrics.messages_received += taken

    async def _wait_for_room(self) -> None:
        """Pass a checkpoint, after putting the pressure of a full queue or outbox on the peer.

        With calls to the peer pending there is no waiting: its answers and cancels must be read.
        """
        end = self._end
        while (end.admission.full or end.outbox.over) and not len(end.calls):
            await end.wait_change()
        if end.outbox.flooded:
            raise ConnectionFailed("the peer reads nothing, not even refusals")
        await trio.lowlevel.checkpoint()

    async def _drain(self) -> None:
        """Answer what was asked, within the bound; then cut off what is left, and flush."""
        end = self._end
        end.accepting = False
        self._refuse_buffered()
        end.calls.fail_all(lambda: ConnectionClosed("the connection is ending, and nobody would read the answer"))
        end.leave_era()
        end.cancel_exchanges(CancelCause.DRAIN, listens_only=True)
        with trio.move_on_after(self._intake.drain):
            await self._all_ended()
        end.cancel_exchanges(CancelCause.DRAIN)
        with trio.move_on_after(self._intake.limits.grace):
            await self._all_ended()
        for exchange in list(end.exchanges.open):
            # The handler resists its cancellation; its request is answered all the same.
            exchange.settle()
        with trio.move_on_after(self._intake.limits.grace):
            await self._flushed()

    def _refuse_buffered(self) -> None:
        """Refuse what was received and not looked at when the service began to shut down; never drop it."""
        end = self._end
        while True:
            try:
                message = end.link.next_message()
                if isinstance(message, Signal):
                    return
                end.metrics.messages_received += 1
                end.take(message)
            except (FrameTooLarge, MessageError) as error:
                if is_final(end.link, error):
                    return
                end.unreadable(error)
            except FramingError:
                return

    async def _flushed(self) -> None:
        end = self._end
        while end.outbox.pending_bytes and not end.outbox.closed:
            await end.wait_change()
        self._drained = True
        await end.link.send_eof()

    async def _all_ended(self) -> None:
        end = self._end
        while end.exchanges.open:
            await end.wait_change()

    async def close(self) -> None:
        """End whatever is left, run the hooks and close the link; shielded, within the grace."""
        end = self._end
        cause = CancelCause.CLOSED if self._failure or self._drained else CancelCause.SERVICE
        end.calls.fail_all(lambda: ConnectionClosed("the connection is closed"))
        end.leave_era()
        end.cancel_exchanges(cause)
        end.outbox.break_off()
        with trio.move_on_after(self._intake.limits.grace, shield=True):
            await self._all_ended()
        with trio.move_on_after(self._intake.limits.grace, shield=True):
            if self._failure is not None:
                await self._intake.report_error(self._failure, end.context())
        with trio.move_on_after(self._intake.limits.grace, shield=True):
            await self._intake.report_close(end.context())
        with trio.move_on_after(self._intake.limits.grace, shield=True):
            await end.close_link()
