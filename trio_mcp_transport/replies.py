"""`OpenExchange`: one call held open by a block, with everything that arrives for it.

Must never read a connection itself: the connection's reader fills the call's buffer, and what is received here only
takes from it, so that a cancelled ``receive`` loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import trio

from .call import Call, Overflow
from .deadlines import Deadlines
from .errors import ConnectionClosed
from .wire.messages import Notification, Response

if TYPE_CHECKING:
    from .client import Client

__all__ = ["OpenExchange", "Replies"]


class Replies(trio.abc.ReceiveChannel[Notification | Response]):
    """Notifications, then one response, then the end.

    The end without a response is an error, never a quiet end of iteration.
    """

    def __init__(self, call: Call, check: Callable[[str, Response], None]) -> None:
        self._call = call
        self._check = check

    @property
    def request_id(self) -> int | str:
        """The id of the request on the wire; for a listen it is the subscription id."""
        return self._call.request.id

    @property
    def dropped(self) -> int:
        """Notifications lost by ``overflow="drop_oldest"``."""
        return self._call.dropped

    async def receive(self) -> Notification | Response:
        """Return the next message.  A checkpoint; cancelled, nothing is lost.

        Raises:
            trio.EndOfChannel: The response has been received.
            ConnectionClosed: The connection ended before the response.
            ReceiveBufferFull: This consumer was too slow.
            DeadlineExceeded: A deadline of the call passed.
            RemoteProtocolError: The result is invalid in this era.
            trio.ClosedResourceError: The exchange was left.
        """
        message = await self._call.receive()
        if isinstance(message, Response):
            self._check(self._call.request.method, message)
        return message

    async def aclose(self) -> None:
        """Leave the exchange; before the response this cancels the request.  A checkpoint."""
        self._call.abandon()
        await trio.lowlevel.checkpoint()


class OpenExchange:
    """What `Client.open_exchange` returns: entered it sends the request, left it cancels what is unanswered."""

    def __init__(
        self, client: Client, method: str, params: Any, deadlines: Deadlines | None, overflow: Overflow
    ) -> None:
        self._client = client
        self._arguments = (method, params, deadlines, overflow)
        self._call: Call | None = None

    async def __aenter__(self) -> Replies:
        """Send the request.  A checkpoint; cancelled, the request was not sent or was cancelled at the peer.

        Raises:
            TransportError: It was not sent.
        """
        if self._call is not None:
            raise ConnectionClosed("an exchange is entered once")
        method, params, deadlines, overflow = self._arguments
        self._call = await self._client.begin(method, params, deadlines, buffered=True, overflow=overflow)
        return Replies(self._call, self._client.check)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave; synchronous in effect, so that it needs no shield."""
        if self._call is not None:
            self._client.forget(self._call)
