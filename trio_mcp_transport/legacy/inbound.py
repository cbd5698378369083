"""What a legacy server may send to a client of its own accord.

Must never answer in the modern era: there a server sends no requests, and what looks like one is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ..context import MessageContext
from ..era import Port
from ..errors import MessageError
from ..wire.envelope import Envelope
from ..wire.messages import Batch, Message, Notification, Request, Response
from ..wire.meta import PROGRESS_TOKEN, SUBSCRIPTION_ID, trace_of
from ..wire.revisions import BATCHING, is_modern
from .batch import refuse_batch, split_batch
from .context import LegacyMessageContext

__all__ = ["ClientInbound"]

logger: logging.Logger = logging.getLogger("trio_mcp_transport")


class ClientInbound:
    """Implements `era.InboundEra` for a client's connection.

    Args:
        port: The connection.
        revision: Asked for each message: the negotiated revision, or "" before negotiation.
    """

    def __init__(self, port: Port, revision: Callable[[], str]) -> None:
        self._port = port
        self._revision = revision

    def request(self, request: Request) -> Envelope | Mapping[str, Any] | None:
        """Answer ``ping`` and leave the rest to the client's handler; a modern client sends no response (M-JR-17)."""
        if is_modern(self._revision()):
            return None
        if request.method == "ping":
            return {}
        return self._terms(request)

    def notification(self, notification: Notification) -> Envelope | None:
        """Leave a notification that belongs to no call to the client's handler; drop one of an unknown listen."""
        if SUBSCRIPTION_ID in notification.meta:
            # The listen was left, or never was: whoever got it now would take it for news of its own (M-SU-15).
            tag = notification.meta[SUBSCRIPTION_ID]
            logger.debug("dropped %.100r: no subscription %.100r is open", notification.method, tag)
            return None
        return self._terms(notification)

    def batch(self, batch: Batch) -> list[Message | MessageError]:
        """Return the members of a batch of a 2025-03-26 connection.

        Raises:
            MessageError: In every other case.
        """
        if self._revision() != BATCHING:
            raise refuse_batch(batch)
        return split_batch(batch)

    def answered(self, request: Request, response: Response) -> None:
        """Nothing a client answers changes the connection."""

    def unreadable(self, error: MessageError) -> Response | None:
        """A client is silent: what cannot be read may have been an answer to it."""
        return None

    def context(self, envelope: Envelope, received_at: float) -> MessageContext:
        """Return a context that can ask the server."""
        return LegacyMessageContext(self._port.info, envelope, received_at, self._port, True)

    def closed(self) -> None:
        """Nothing is attached."""

    def _terms(self, message: Request | Notification) -> Envelope:
        envelope = Envelope(self._revision())
        token = message.meta.get(PROGRESS_TOKEN)
        if type(token) is str or type(token) is int:
            envelope.progress_token = token
        envelope.trace = trace_of(message.meta)
        return envelope
