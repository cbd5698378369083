"""The contracts a third party implements: a handler, a codec, a transport of either side.

Must never hold behaviour beyond the defaults of `MessageHandler`, and nothing here may assume JSON text: messages are
typed, encoding belongs to a codec, so that a binding with another encoding can be a plug-in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import trio

from .context import MessageContext
from .errors import TransportError
from .wire.messages import Message, Notification, Request
from .wire.signals import Signal

if TYPE_CHECKING:
    from .connect import ClientConnection, ClientSetup
    from .intake import Intake
    from .metrics import TransportStatistics

__all__ = ["ClientTransport", "FrameCodec", "MessageHandler", "MessageLink", "ServerTransport"]


class MessageHandler(ABC):
    """What an application implements: one coroutine per message, and two hooks of a connection's life.

    For every connection: `handle_message` for each message, in no order; an unreadable message goes to `handle_error`
    and the connection goes on; a failure of the connection goes to `handle_error`; last, and exactly once, comes
    `handle_close`.  An exception in either hook is logged and contained.
    """

    @abstractmethod
    async def handle_message(self, message: Request | Notification, context: MessageContext) -> Any:
        """Handle one message.

        Cancelled when the peer cancels, leaves, or the service ends; ``context.cancel_cause`` tells which.

        Args:
            message: The request or notification.
            context: What is known about it, and what may be done for it.

        Returns:
            For a request the result: a mapping, an object msgspec encodes as one, JSON text as bytes, a `Response`, or
            None for an empty result.  What is returned for a notification is dropped.

        Raises:
            RpcError: To answer with an error.  Any other exception is logged and answered with -32603.
        """

    async def handle_error(self, error: TransportError, context: MessageContext) -> None:  # noqa: B027
        """Learn of an unreadable message (`MessageError`) or of the failure of this connection; does nothing."""

    async def handle_close(self, context: MessageContext) -> None:  # noqa: B027
        """Learn that the connection ended: after its last message, exactly once; does nothing."""

    def parameter_headers(self, request: Request) -> Mapping[str, tuple[str, ...]]:
        """Return the ``x-mcp-header`` annotations of a tool: header name -> path in ``arguments``; none by default."""
        return {}


class FrameCodec(Protocol):
    """Bytes to frames and back, without I/O.

    ``feed`` only stores and ``next_frame`` pulls one, so that a cancelled consumer loses nothing and one chunk cannot
    become a flood of queued frames.  `testing.check_codec` certifies an implementation.

    Three attributes are optional.  ``resynchronises``: true where frames follow `FrameTooLarge`.  ``encode_parts``: as
    ``encode``, but returns the pieces of the frame, so that a large payload need not be copied.  ``json_end``: the
    bytes behind a JSON text that make it a frame, where nothing stands in front and nothing can be refused.
    """

    def feed(self, data: bytes) -> None:
        """Store bytes from the peer; ``b""`` means end of stream."""
        ...

    def next_frame(self) -> bytes | Signal:
        """Return the next frame or a `Signal`.

        Raises:
            FramingError: The stream is broken, for good.  Only a codec with a true attribute ``resynchronises`` goes on
                after `FrameTooLarge`, raised once per frame; newline framing does.
        """
        ...

    def encode(self, payload: bytes) -> bytes:
        """Return the payload as one frame.

        Raises:
            LocalProtocolError: The payload cannot be framed.
        """
        ...

    def bytes_to_send(self) -> bytes:
        """Return control bytes the codec owes the peer, ``b""`` for none."""
        ...


class MessageLink(Protocol):
    """One duplex channel of messages: a stream with a codec, or two memory channels.

    A pipe reads it from one task and writes it from another.  Three methods are optional: ``write_nowait(items)``
    writes what needs no waiting and returns the rest; ``control_bytes()`` returns what the codec owes the peer, such as
    a pong, asked for after every chunk and written in front of every message; ``attach(answer_control)`` is given a
    function to call, from any task, whenever there are such bytes.

    Attributes:
        resynchronises: Whether more messages may follow a `FrameTooLarge`.
    """

    resynchronises: bool

    async def fill(self) -> bool:
        """Wait until something new may be read; False at the end of the stream.  A checkpoint; cancel-safe."""
        ...

    def next_message(self) -> Any:
        """Return the next message, a batch, or a `Signal`.

        Raises:
            MessageError: One unreadable message; go on reading.
            FramingError: The stream is broken; only `FrameTooLarge` may be followed by more messages, and only where
                `resynchronises` says so.
        """
        ...

    def encode(self, message: Message) -> tuple[Any, int]:
        """Return a message in the form `write` takes, and its size in bytes.

        Raises:
            LocalProtocolError: It cannot be written.
        """
        ...

    async def write(self, items: Sequence[Any]) -> None:
        """Write encoded messages in order.  A checkpoint; a cancelled write leaves the link unusable."""
        ...

    async def send_eof(self) -> None:
        """End the writing side and leave the reading side open, as far as the link can."""
        ...

    async def aclose(self) -> None:
        """Close both directions; a checkpoint, never blocks on the peer."""
        ...


class ServerTransport(ABC):
    """Where exchanges come from.  A custom transport is this one method."""

    @abstractmethod
    async def run(
        self, exchanges: Intake, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Hand over exchanges until no more come.

        Reports its addresses with ``task_status.started``.  Ends when its input ended or ``exchanges.shutdown`` was
        set and everything it handed over was answered; cancelled, it ends at once.  In its ``finally`` it cancels
        whatever it handed over; it closes nothing of ``exchanges``.  An object runs once.
        """

    def statistics(self) -> TransportStatistics:
        """Return an immutable snapshot of what this transport has done and holds; zeros unless it counts."""
        from .metrics import TransportMetrics

        return TransportMetrics().snapshot()


class ClientTransport(ABC):
    """How a client reaches one server."""

    @abstractmethod
    async def run(
        self, setup: ClientSetup, *, task_status: trio.TaskStatus[ClientConnection] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Connect, report a `connect.ClientConnection` with ``task_status.started``, and serve it until it ends.

        Returns when the link was closed by either side; raises the `TransportError` that broke it.  Cancelled, it
        closes what it opened within its own bounds.
        """

    @property
    def address(self) -> str:
        """Where it leads, in the address grammar of the command line."""
        return type(self).__name__
