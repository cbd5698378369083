"""Somebody else's callbacks as one channel of messages for a pipe: what is pushed in is pulled out in order.

Must never call back into the foreign object from one of its own callbacks, and must never hold more than its bounds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal

import trio

from ..deadlines import DeadlineExceeded
from ..errors import (
    ConnectionClosed,
    FrameTooLarge,
    LocalProtocolError,
    MessageError,
    MessageTooLarge,
    ReceiveBufferFull,
    TransportError,
)
from ..limits import Limits
from ..metrics import TransportMetrics
from ..wire import jsontext, messages
from ..wire.messages import Batch, Message, Notification, Request, Response
from ..wire.signals import Signal
from .mapping import as_typed, mapped

__all__ = ["CallbackLink", "Form", "in_form", "text_of"]

Form = Literal["message", "object", "bytes"]
"""How a callback transport wants its messages: ours, decoded JSON, or JSON text."""

CROWDED = 16
"""Messages not taken yet from which on an awaited callback waits; fewer where the limits are tight."""


def text_of(message: object) -> bytes:
    """Return the JSON text of a message in any form, str included.

    Raises:
        LocalProtocolError: It is none.
    """
    if isinstance(message, bytes | bytearray | memoryview):
        return bytes(message)
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, Request | Notification | Response):
        return messages.encode(message)
    if isinstance(message, Mapping | list):
        return jsontext.encode(message)
    raise LocalProtocolError(f"{type(message).__name__} is no message")


def in_form(text: bytes, form: Form) -> Any:
    """Return a message in the form that was asked for, as an object of its own."""
    if form == "bytes":
        return text
    return jsontext.decode(text) if form == "object" else messages.decode(text)


class CallbackLink:
    """Implements `abc.MessageLink` over an object with callbacks; it is itself the handler that the object calls.

    Its methods `handle_message`, `handle_error` and `handle_close` may be awaited or not.  Awaited, `handle_message`
    waits while the pipe has not taken what came before, which is the back-pressure; an object that does not await is
    cut off at the limits.
    """

    resynchronises = True

    def __init__(
        self, transport: Any, limits: Limits, *, largest: int, serving: bool, form: Form, metrics: TransportMetrics
    ) -> None:
        """Take the object over.

        Args:
            transport: Has ``send`` and ``close``.
            limits: The bounds.
            largest: Largest message accepted, in bytes.
            serving: Whether this is the server's end.
            form: What ``send`` is given.
            metrics: Counters of the bytes read.
        """
        self._transport = transport
        self._limits = limits
        self._largest = largest
        self._crowded = min(CROWDED, limits.max_queued)
        self._serving = serving
        self._form = form
        self._metrics = metrics
        self._items: deque[bytes | MessageError] = deque()
        self._bytes = 0
        self._end: TransportError | None = None
        self._held: TransportError | None = None
        self._changed = trio.lowlevel.ParkingLot()

    # What the object calls.

    def handle_message(self, message: object, context: object = None) -> _Room:
        """Take a message, in whatever form."""
        self._release_held()
        try:
            text = text_of(message)
        except LocalProtocolError as error:
            return self._put(MessageError(str(error), answerable=False), 0)
        return self._put(text, len(text))

    def handle_error(self, error: BaseException, context: object = None) -> _Room:
        """Learn of an error: of one unreadable message, or of the failure that ends the connection."""
        typed = as_typed(error, "the transport reported an error")
        if isinstance(typed, MessageError):
            return self._put(typed, 0)
        self._finish(typed)
        return _Room(self)

    def hold_error(self, error: BaseException) -> None:
        """Learn of an error that may be harmless: it is the cause if the end follows, and else only reported."""
        self._release_held()
        self._held = as_typed(error, "the transport reported an error")

    def handle_close(self, context: object = None) -> _Room:
        """Learn that the connection has ended."""
        self._finish(self._held or ConnectionClosed("the peer closed the connection"))
        return _Room(self)

    def _release_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            harmless = MessageError(str(held), answerable=False)
            harmless.__cause__ = held
            self._put(harmless, 0)

    def _put(self, item: bytes | MessageError, size: int) -> _Room:
        if self._end is None:
            self._items.append(item)
            self._bytes += size
            if len(self._items) > self._limits.max_queued + self._crowded or self._bytes > 2 * self._largest:
                self._finish(ReceiveBufferFull(f"{len(self._items)} messages came and none of them was waited for"))
            self._changed.unpark_all()
        return _Room(self)

    def _finish(self, end: TransportError) -> None:
        if self._end is None:
            self._end = end
            self._changed.unpark_all()

    async def wait_for_room(self) -> None:
        """Wait until the pipe has taken most of what came; a checkpoint."""
        await trio.lowlevel.checkpoint()
        while self._end is None and (len(self._items) >= self._crowded or self._bytes > self._largest):
            await self._changed.park()

    # What the pipe calls.

    async def fill(self) -> bool:
        """Wait until there is a message; False once the peer has ended.  A checkpoint; cancel-safe.

        Raises:
            TransportError: What ended the connection.
        """
        await trio.lowlevel.checkpoint()
        while not self._items and self._end is None:
            await self._changed.park()
        if self._items:
            return True
        if self._ends_in_peace():
            return False
        assert self._end is not None
        raise self._end

    def _ends_in_peace(self) -> bool:
        """Tell whether this is a server's plain end of input, after which what was asked is still answered."""
        return self._serving and isinstance(self._end, ConnectionClosed)

    def next_message(self) -> Message | Batch | Signal:
        """Return the next message, or a `Signal`.

        Raises:
            MessageError: It is unreadable.
            FrameTooLarge: It is over the limit; the next one is served as usual.
        """
        if not self._items:
            return Signal.END_OF_STREAM if self._ends_in_peace() else Signal.NEED_DATA
        item = self._items.popleft()
        if isinstance(item, MessageError):
            raise item
        self._bytes -= len(item)
        self._metrics.bytes_received += len(item)
        self._changed.unpark_all()
        if len(item) > self._largest:
            text = f"a message of {len(item)} bytes is over the limit {self._largest}"
            raise FrameTooLarge(text, limit=self._largest, beginning=item)
        return messages.decode(item, max_depth=self._limits.max_depth)

    def encode(self, message: Message) -> tuple[Any, int]:
        """Return a message as JSON text, and its size in bytes.

        Raises:
            LocalProtocolError: It cannot be written as JSON.
            MessageTooLarge: It is over the outgoing limit; nothing is sent.
        """
        text = messages.encode(message)
        if len(text) > self._limits.max_outgoing_size:
            raise MessageTooLarge(f"a message of {len(text)} bytes is over the limit {self._limits.max_outgoing_size}")
        return text, len(text)

    async def write(self, items: Sequence[Any]) -> None:
        """Send messages in order, one call each.  A checkpoint.

        Raises:
            TransportError: What the object raised, by `mapping.as_typed`.
            DeadlineExceeded: One call took longer than the write deadline.
        """
        await trio.lowlevel.checkpoint()
        for text in items:
            with trio.move_on_after(self._limits.write_deadline) as scope:
                with mapped("sending failed"):
                    await self._transport.send(in_form(text, self._form))
            if scope.cancelled_caught:
                raise DeadlineExceeded("write", self._limits.write_deadline, "the peer reads nothing")

    async def send_eof(self) -> None:
        """Do nothing: the shape has no half-close.  A checkpoint."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close the object; whoever waits in a callback is let go.

        Raises:
            TransportError: What the object raised, by `mapping.as_typed`.
        """
        self._finish(ConnectionClosed("the connection is closed"))
        with mapped("closing failed"):
            await self._transport.close()


class _Room:
    """What a callback returns: may be awaited, and loses nothing if it is not."""

    def __init__(self, link: CallbackLink) -> None:
        self._link = link

    def __await__(self) -> Generator[Any, Any, None]:
        return self._link.wait_for_room().__await__()
