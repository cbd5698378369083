"""What a host program publishes, and the bounded buffer between it and every subscriber.

Must never block the publisher and must never let one slow subscriber hold another (M-SU-16).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs
import msgspec
import trio

from .context import MessageContext
from .errors import ConfigError, RpcError
from .wire import jsontext
from .wire.codes import INVALID_PARAMS
from .wire.messages import Notification, Request
from .wire.meta import SUBSCRIPTION_ID, check_application_meta
from .wire.modern import listen_result

__all__ = ["LegacySubscriber", "Policy", "SubscriptionStatistics", "Subscriptions"]

Policy = Literal["drop_oldest", "close", "block"]
"""What a full buffer of one subscriber does: lose its oldest, end it, or make `Subscriptions.send` wait."""

UPDATED = "notifications/resources/updated"

FILTER_OF: Mapping[str, str] = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}


@attrs.frozen
class SubscriptionStatistics:
    """A snapshot.

    Attributes:
        listens: Open modern subscriptions.
        legacy: Attached legacy connections.
        published: Notifications published.
        dropped: Notifications a full buffer lost.
        closed: Subscriptions a full buffer ended.
    """

    listens: int
    legacy: int
    published: int
    dropped: int
    closed: int


class _Listen:
    """One open ``subscriptions/listen``: its filter and its buffer."""

    def __init__(self, subscription_id: int | str, agreed: Mapping[str, Any], bound: int) -> None:
        self.id = subscription_id
        self.agreed = agreed
        self.bound = bound
        self.queue: deque[Notification] = deque()
        self.wake = trio.lowlevel.ParkingLot()
        self.room = trio.lowlevel.ParkingLot()
        self.ended = False

    def wants(self, method: str, params: Mapping[str, Any]) -> bool:
        """Tell whether the filter agreed on asks for this notification (M-SU-02)."""
        if method == UPDATED:
            return params.get("uri") in self.agreed.get("resourceSubscriptions", ())
        key = FILTER_OF.get(method)
        return bool(self.agreed.get(key)) if key is not None else bool(self.agreed.get(method))


class LegacySubscriber:
    """A legacy connection: gets every list change, and updates of the resources it subscribed to.

    Attributes:
        uris: Resources named by ``resources/subscribe``.
    """

    def __init__(self, push: Callable[[Notification], None]) -> None:
        self.push = push
        self.uris: set[str] = set()


class Subscriptions:
    """Give one to `serve`, and publish to it from the host program.

    With it the library answers ``subscriptions/listen`` and the legacy ``resources/subscribe`` itself; without it
    they reach the handler.
    """

    def __init__(
        self,
        *,
        supported: Mapping[str, bool] | None = None,
        buffer: int = 256,
        policy: Policy = "drop_oldest",
    ) -> None:
        """Set the bounds.

        Args:
            supported: Filter keys this server can serve -> True; others are left out of the acknowledgement
                (M-SU-05).  None: the three list changes and resource subscriptions.
            buffer: Notifications held for each subscriber (256).
            policy: What a full buffer does.

        Raises:
            ConfigError: ``buffer`` is below 1.
        """
        if buffer < 1:
            raise ConfigError(f"a subscription buffer holds at least 1 notification, not {buffer}")
        self._supported = {key for key, on in supported.items() if on} if supported is not None else None
        self._buffer = buffer
        self._policy = policy
        self._listens: list[_Listen] = []
        self._legacy: list[LegacySubscriber] = []
        self._published = self._dropped = self._closed = 0

    def publish(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Give a notification to every subscriber that asked for it; never blocks, callable from any task.

        A full buffer acts by the policy; with ``block``, use `send` to wait for room beforehand.

        Raises:
            trio.WouldBlock: The policy is ``block`` and a buffer is full; nothing was published.
            LocalProtocolError: ``params`` cannot be written, or use a reserved ``_meta`` key; nothing was published.
        """
        if isinstance(meta := (params or {}).get("_meta"), Mapping):
            check_application_meta(meta)
        # Written once, here: what cannot be written is the publisher's error, and what it changes later stays its own.
        raw = None if params is None else msgspec.Raw(jsontext.encode(dict(params)))
        wanted = [listen for listen in self._listens if listen.wants(method, params or {})]
        if self._policy == "block" and any(len(listen.queue) >= listen.bound for listen in wanted):
            raise trio.WouldBlock
        self._published += 1
        notification = Notification(method, raw)
        for listen in wanted:
            self._offer(listen, notification)
        for subscriber in self._legacy:
            if method != UPDATED or (params or {}).get("uri") in subscriber.uris:
                subscriber.push(notification)

    async def send(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Publish, waiting until every buffer concerned has room; a checkpoint.  Cancelled, nothing was published."""
        await trio.lowlevel.checkpoint()
        while True:
            full = next(
                (one for one in self._listens if len(one.queue) >= one.bound and one.wants(method, params or {})), None
            )
            if full is None or self._policy != "block":
                self.publish(method, params)
                return
            await full.room.park()

    def statistics(self) -> SubscriptionStatistics:
        """Return a snapshot."""
        return SubscriptionStatistics(
            len(self._listens), len(self._legacy), self._published, self._dropped, self._closed
        )

    async def serve_listen(self, request: Request, context: MessageContext) -> dict[str, Any]:
        """Serve one ``subscriptions/listen`` until it is cancelled or its buffer ends it.

        A checkpoint.  The acknowledgement is the first thing sent, whatever is published meanwhile (M-SU-03).

        Raises:
            RpcError: -32602 for a malformed filter.
        """
        listen = _Listen(request.id, self._agree(request), self._buffer)
        self._listens.append(listen)
        tag = {SUBSCRIPTION_ID: request.id}
        try:
            await context.notify(
                "notifications/subscriptions/acknowledged", {"_meta": tag, "notifications": dict(listen.agreed)}
            )
            while not listen.ended or listen.queue:
                while listen.queue:
                    notification = listen.queue.popleft()
                    listen.room.unpark_all()
                    params = notification.params
                    meta = {**params.get("_meta", {}), **tag}
                    await context.notify(notification.method, {**params, "_meta": meta})
                if not listen.ended:
                    await listen.wake.park()
            return listen_result(request.id)
        finally:
            if listen in self._listens:
                self._listens.remove(listen)
            listen.room.unpark_all()

    def attach_legacy(self, push: Callable[[Notification], None]) -> LegacySubscriber:
        """Add a legacy connection; ``push`` sends without waiting."""
        subscriber = LegacySubscriber(push)
        self._legacy.append(subscriber)
        return subscriber

    def detach_legacy(self, subscriber: LegacySubscriber) -> None:
        """Remove a legacy connection that ended."""
        if subscriber in self._legacy:
            self._legacy.remove(subscriber)

    def _agree(self, request: Request) -> dict[str, Any]:
        asked = request.params.get("notifications")
        if type(asked) is not dict:
            raise RpcError(INVALID_PARAMS, "params.notifications is required and is an object")
        uris = asked.get("resourceSubscriptions")
        if uris is not None and not (type(uris) is list and all(type(uri) is str for uri in uris)):
            raise RpcError(INVALID_PARAMS, "resourceSubscriptions is a list of strings")
        known = {*FILTER_OF.values(), "resourceSubscriptions"} if self._supported is None else self._supported
        return {key: value for key, value in asked.items() if key in known and value}

    def _offer(self, listen: _Listen, notification: Notification) -> None:
        if len(listen.queue) >= listen.bound:
            if self._policy == "close":
                self._closed += 1
                listen.ended = True
                self._listens.remove(listen)
                listen.wake.unpark_all()
                return
            listen.queue.popleft()
            self._dropped += 1
        listen.queue.append(notification)
        listen.wake.unpark_all()
