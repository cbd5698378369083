"""What a pipe asks about eras: the contract between the channel, which has none, and the machine that knows them.

Must never hold a rule of a revision; those live in `wire.modern` and in ``legacy/``, and meet in `transports.eras`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from .context import ConnectionInfo, MessageContext
from .errors import MessageError
from .wire.envelope import Envelope
from .wire.messages import Batch, Message, Notification, Request, Response

__all__ = ["InboundEra", "Port"]


class Port(Protocol):
    """What an era machine may do with its connection."""

    info: ConnectionInfo

    def push(self, message: Message) -> None:
        """Send a message of the connection's own, without waiting; dropped and counted when the bound is reached."""
        ...

    async def call(self, method: str, params: Mapping[str, Any] | None, context: MessageContext) -> Any:
        """Send a request to the peer on behalf of a message being handled and return the decoded result."""
        ...


class InboundEra(Protocol):
    """Decides what an inbound message of one connection is; one object per connection."""

    def request(self, request: Request) -> Envelope | Mapping[str, Any] | None:
        """Return the terms under which a handler serves the request, or the result the library gives itself.

        None drops it: nobody may send it, and no answer is allowed either.

        Raises:
            RpcError: The error to answer with at once.
        """
        ...

    def notification(self, notification: Notification) -> Envelope | None:
        """Return the terms for a handler, or None when the notification was meant for the library."""
        ...

    def batch(self, batch: Batch) -> list[Message | MessageError]:
        """Return the members of a batch.

        Raises:
            MessageError: Batches are not allowed here, or this one is malformed.
        """
        ...

    def answered(self, request: Request, response: Response) -> None:
        """Learn of a handler's response before it leaves; only ``initialize`` matters."""
        ...

    def unreadable(self, error: MessageError) -> Response | None:
        """Return the error answer for an unreadable message, or None for silence (D-06, D-07)."""
        ...

    def context(self, envelope: Envelope, received_at: float) -> MessageContext:
        """Return the context class of the era, filled."""
        ...

    def closed(self) -> None:
        """Learn that the connection ended."""
        ...
