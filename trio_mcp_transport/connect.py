"""What passes between a client and a client transport: what the client wants, and the connection it gets.

Must never know a protocol revision; the era machine that fills `ClientSetup` does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Protocol

import attrs

from .call import Call
from .deadlines import Deadlines
from .errors import TransportError
from .intake import Intake
from .limits import Limits
from .metrics import TransportStatistics
from .wire.messages import MessageId, Notification

__all__ = ["ClientConnection", "ClientSetup"]


@attrs.frozen(kw_only=True)
class ClientSetup:
    """What a client tells its transport.

    Attributes:
        intake: Where messages go that the server begins, on legacy connections.
        limits: The bounds of the client.
        deadlines: Its deadlines.
        ids: Its request ids, which go on after a restart, so that what is sent again has a new one (M-IO-19).
    """

    intake: Intake
    limits: Limits
    deadlines: Deadlines
    ids: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))


class ClientConnection(Protocol):
    """One connection to a server.

    Attributes:
        failure: Why the connection ended, or None while it stands or when this side closed it.
    """

    failure: TransportError | None

    def next_id(self) -> MessageId:
        """Return a request id that was never used on this connection."""
        ...

    def send_call_nowait(self, call: Call) -> bool:
        """Send a request if that needs no waiting, as `send_call`; False when `send_call` must be used.

        Raises:
            TransportError: It was not sent.
        """
        ...

    async def send_call(self, call: Call) -> None:
        """Send a request and deliver to the call what belongs to it.  A checkpoint; may wait for room.

        Raises:
            TransportError: It was not sent.
        """
        ...

    async def notify(self, notification: Notification) -> None:
        """Send a notification.  A checkpoint; may wait for room.

        Raises:
            TransportError: It was not sent.
        """
        ...

    def close(self) -> None:
        """Begin to close: cancel open calls, flush, end.  Synchronous, idempotent, from any task."""
        ...

    def keep_listens(self) -> None:
        """Keep open listens for `take_listens` when the connection is lost, instead of failing them."""
        ...

    def take_listens(self) -> list[Call]:
        """Take away the open listens, to be sent again on another connection."""
        ...

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters of the transport this connection belongs to."""
        ...
