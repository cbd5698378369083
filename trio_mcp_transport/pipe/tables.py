"""The two id tables of a pipe: requests of the peer being served, and requests of this side waiting for an answer.

They exist because a pipe multiplexes; ids are unique per sender only, so no table is ever shared between connections,
and keys compare by exact JSON type ("2" is not 2).  Must never wait and never write.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from ..call import Call
from ..errors import LocalProtocolError, TransportError
from ..exchange import Exchange
from ..wire.messages import MessageId, Notification, Response
from ..wire.meta import SUBSCRIPTION_ID

__all__ = ["CallTable", "ExchangeTable"]


class ExchangeTable:
    """Inbound: which exchange answers which id, and which have not ended yet.

    Attributes:
        by_id: The unanswered requests.
        open: Everything that has not ended, notifications included.
    """

    def __init__(self) -> None:
        self.by_id: dict[MessageId, Exchange] = {}
        self.open: set[Exchange] = set()

    def add(self, exchange: Exchange, id_: MessageId | None) -> None:
        """Enter an exchange; ``id_`` is None for a notification."""
        self.open.add(exchange)
        if id_ is not None:
            self.by_id[id_] = exchange

    def find(self, id_: object) -> Exchange | None:
        """Return the unanswered request with exactly this id, type included."""
        return self.by_id.get(id_) if type(id_) is int or type(id_) is str else None

    def answered(self, id_: MessageId, exchange: Exchange) -> None:
        """Free an id: its response is on the way out."""
        if self.by_id.get(id_) is exchange:
            del self.by_id[id_]


class CallTable:
    """Outbound: which call waits for which id, and which progress token or subscription leads to it."""

    def __init__(self, ids: Iterator[int] | None = None) -> None:
        """Take the ids to give out; from 1 unless they go on from another connection."""
        self._by_id: dict[MessageId, Call] = {}
        self._by_token: dict[MessageId, Call] = {}
        self._ids = itertools.count(1) if ids is None else ids

    def __len__(self) -> int:
        return len(self._by_id)

    def next_id(self) -> int:
        """Return an id that this side never used on this connection (L25-JR-03)."""
        return next(self._ids)

    def add(self, call: Call) -> None:
        """Enter a call under its request's id and its progress token.

        Raises:
            LocalProtocolError: The token belongs to another active call (M-PR-02).
        """
        if call.token is not None:
            if call.token in self._by_token:
                raise LocalProtocolError(f"the progress token {call.token!r} belongs to another active request")
            self._by_token[call.token] = call
        self._by_id[call.request.id] = call

    def remove(self, call: Call) -> bool:
        """Forget a call; whether it was still there."""
        if call.token is not None and self._by_token.get(call.token) is call:
            del self._by_token[call.token]
        if self._by_id.get(call.request.id) is not call:
            return False
        del self._by_id[call.request.id]
        return True

    def find(self, id_: object) -> Call | None:
        """Return the waiting call with exactly this id, type included."""
        return self._by_id.get(id_) if type(id_) is int or type(id_) is str else None

    def respond(self, response: Response) -> Call | None:
        """Deliver a response; the call it was for, or None when nobody waits for it (M-CA-08)."""
        id_ = response.id
        # The type is asked first: True and 1.0 are equal to 1 and would find its call.
        call = self._by_id.pop(id_, None) if type(id_) is int or type(id_) is str else None
        if call is not None:
            if call.token is not None and self._by_token.get(call.token) is call:
                del self._by_token[call.token]
            call.respond(response)
        return call

    def owner_of(self, notification: Notification) -> Call | None:
        """Return the call a notification belongs to: by progress token, else by subscription id (M-IO-11)."""
        params = notification.params
        key: object
        if notification.method == "notifications/progress":
            key = params.get("progressToken")
            table = self._by_token
        else:
            key = notification.meta.get(SUBSCRIPTION_ID)
            table = self._by_id
        return table.get(key) if type(key) is int or type(key) is str else None

    def waiting(self) -> list[Call]:
        """Return all calls, oldest first."""
        return list(self._by_id.values())

    def drain(self) -> list[Call]:
        """Forget and return all calls, oldest first."""
        calls = self.waiting()
        self._by_id.clear()
        self._by_token.clear()
        return calls

    def fail_all(self, error: Callable[[], TransportError]) -> None:
        """End every call without an answer, each with an error of its own."""
        for call in self.drain():
            call.fail(error())
