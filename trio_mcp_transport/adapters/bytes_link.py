"""Somebody else's send, receive and close of whole messages as one channel of messages for a pipe.

Must never call `send` twice at once, nor `receive` twice at once, and must never decide what a message means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import trio

from ..deadlines import DeadlineExceeded
from ..errors import ConnectionClosed, FrameTooLarge, MessageError, MessageTooLarge
from ..limits import Limits
from ..metrics import TransportMetrics
from ..wire import messages
from ..wire.messages import Batch, Message, Request, Response
from ..wire.signals import Signal
from .mapping import mapped

__all__ = ["BytesLink", "BytesTransport", "largest_of", "received"]


@runtime_checkable
class BytesTransport(Protocol):
    """A transport in the shape of AIRS' first ``Transport``: one whole message per call, framing inside.

    It may connect on first use.  Two attributes are optional: ``max_message_size``, the bytes of the largest message it
    takes, and a coroutine method ``run_background(*, task_status)``, run beside the connection for as long as it lasts.
    """

    async def send(self, message: bytes, /) -> None:
        """Send one message; one over the limit is refused before anything is sent."""
        ...

    async def receive(self) -> bytes:
        """Wait for one message and return it; ``b""``, or an error named ``Closed``, says that the peer has ended."""
        ...

    async def close(self) -> None:
        """Close both directions; afterwards `send` and `receive` raise an error named ``Closed``."""
        ...


def largest_of(transport: object) -> int | None:
    """Return the largest message a transport says it takes, in bytes, or None where it says nothing."""
    largest = getattr(transport, "max_message_size", None)
    return largest if type(largest) is int else None


def received(data: object) -> bytes:
    """Return what `receive` gave, as bytes of our own.

    Raises:
        TypeError: It is none; ``bytes`` would make zeros of a number.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"receive() returned {type(data).__name__}, not bytes")
    return bytes(data)


class BytesLink:
    """Implements `abc.MessageLink` over a `BytesTransport`.

    A client's link does not receive before its first message was sent, and a server has nothing to send before its
    first message was received: so an object that connects on first use is first used by one task alone.
    """

    resynchronises = True

    def __init__(
        self,
        transport: BytesTransport,
        limits: Limits,
        *,
        largest: int,
        serving: bool,
        lockstep: bool = False,
        max_message_size: int | None = None,
        metrics: TransportMetrics | None = None,
    ) -> None:
        """Take the transport over.

        Args:
            transport: Closed by `aclose`.
            limits: For the JSON depth, the size of outgoing messages and the deadline of a write.
            largest: Largest message accepted, in bytes.
            serving: Whether this is the server's end; what a closed peer means differs.
            lockstep: Whether `receive` is called only while an answer is owed: to this side of a client, or by nobody
                on a server.
            max_message_size: Largest message the transport takes, in bytes; None for what it says of itself.
            metrics: Counters of the bytes read.
        """
        self._transport = transport
        self._max_depth = limits.max_depth
        self._largest = largest
        own = largest_of(transport) if max_message_size is None else max_message_size
        self._max_outgoing = limits.max_outgoing_size if own is None else min(own, limits.max_outgoing_size)
        self._write_deadline = limits.write_deadline
        self._serving = serving
        self._lockstep = lockstep
        self._metrics = metrics or TransportMetrics()
        self._ready: bytes | MessageError | None = None
        self._ended = False
        self._sent = False
        self._owed = 0
        self._changed = trio.lowlevel.ParkingLot()

    async def fill(self) -> bool:
        """Wait for the next message; False once the peer has ended.

        A checkpoint; cancelled, no message is lost unless the transport's own `receive` loses one.

        Raises:
            TransportError: What the transport raised, by `mapping.as_typed`.
        """
        while not self._may_receive():
            await self._changed.park()
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            with mapped("receiving failed"):
                data = received(await self._transport.receive())
        except MessageError as error:
            # One unreadable message.  The checkpoint below keeps a transport that raises for ever from taking the loop.
            self._ready = error
        except ConnectionClosed:
            if not self._serving:
                raise
            self._ended = True
        else:
            self._ended = not data
            self._ready = data or None
            self._metrics.bytes_received += len(data)
        # A receive that need not wait may pass no checkpoint of its own.
        await trio.lowlevel.cancel_shielded_checkpoint()
        return not self._ended

    def _may_receive(self) -> bool:
        if not self._serving and not self._sent:
            return False
        return not self._lockstep or (self._owed == 0) is self._serving

    def next_message(self) -> Message | Batch | Signal:
        """Return the message, or a `Signal`.

        Raises:
            MessageError: It is unreadable.
            FrameTooLarge: It is over the limit; the next one is served as usual.
        """
        frame, self._ready = self._ready, None
        if frame is None:
            return Signal.END_OF_STREAM if self._ended else Signal.NEED_DATA
        if isinstance(frame, MessageError):
            raise frame
        if len(frame) > self._largest:
            text = f"a message of {len(frame)} bytes is over the limit {self._largest}"
            raise FrameTooLarge(text, limit=self._largest, beginning=frame)
        message = messages.decode(frame, max_depth=self._max_depth)
        self._count(message, Request if self._serving else Response)
        return message

    def encode(self, message: Message) -> tuple[Any, int]:
        """Return a message with its JSON text, and its size in bytes.

        Raises:
            LocalProtocolError: It cannot be written as JSON.
            MessageTooLarge: It is over the outgoing limit, this side's or the transport's; nothing is sent.
        """
        payload = messages.encode(message)
        if len(payload) > self._max_outgoing:
            raise MessageTooLarge(f"a message of {len(payload)} bytes is over the outgoing limit {self._max_outgoing}")
        return (message, payload), len(payload)

    async def write(self, items: Sequence[Any]) -> None:
        """Send messages in order, one call each.  A checkpoint.

        Raises:
            TransportError: What the transport raised, by `mapping.as_typed`.
            DeadlineExceeded: One call took longer than the write deadline.
        """
        await trio.lowlevel.checkpoint()
        for message, payload in items:
            with trio.move_on_after(self._write_deadline) as scope:
                with mapped("sending failed"):
                    await self._transport.send(payload)
            if scope.cancelled_caught:
                raise DeadlineExceeded("write", self._write_deadline, "the peer reads nothing")
            self._sent = True
            self._count(message, Response if self._serving else Request)
            self._changed.unpark_all()

    def _count(self, message: Message | Batch, kind: type[Request | Response]) -> None:
        """Count what is owed: one more for a request, one less for a response, of those that go this way."""
        if self._lockstep and type(message) is kind:
            self._owed = max(0, self._owed + (1 if kind is Request else -1))

    async def send_eof(self) -> None:
        """Do nothing: the shape has no half-close.  A checkpoint."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close the transport; as fast as its own `close`.

        Raises:
            TransportError: What the transport raised, by `mapping.as_typed`.
        """
        with mapped("closing failed"):
            await self._transport.close()
