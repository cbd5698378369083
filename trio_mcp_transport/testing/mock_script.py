"""What a `MockTransport` answers: replies in order, or by method, each with notifications, a delay or a disconnect.

Must never wait; when a reply is due is for the transport to see to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from ..errors import RpcError
from ..wire import messages
from ..wire.messages import Notification, Request, Response
from ..wire.meta import PROGRESS_TOKEN

__all__ = ["Reply", "Script", "as_reply", "progress"]

Before = Notification | Callable[[Request], Notification]
"""A notification, or what makes one for a request."""


@attrs.frozen(kw_only=True)
class Reply:
    """What becomes of one request.

    Attributes:
        result: The result, a mapping; an empty one unless given.
        error: Answer with this error instead.
        raw: Answer with these bytes instead, readable or not, whatever id they hold.
        notifications: Sent before the answer; see `progress`.
        delay: Seconds on Trio's clock before anything of it is sent.
        silent: Send no answer.
        disconnect: End the connection instead of answering, or after it with ``silent=False`` and a result.
    """

    result: Mapping[str, Any] | None = None
    error: RpcError | None = None
    raw: bytes | None = None
    notifications: Sequence[Before] = ()
    delay: float = 0.0
    silent: bool = False
    disconnect: bool = False

    def messages(self, request: Request) -> list[Notification | Response | bytes]:
        """Return what is sent for a request, in order."""
        found: list[Notification | Response | bytes] = [
            one if isinstance(one, Notification) else one(request) for one in self.notifications
        ]
        if self.raw is not None:
            found.append(self.raw)
        elif self.error is not None:
            found.append(Response(request.id, error=self.error))
        elif not self.silent and (self.result is not None or not self.disconnect):
            found.append(Response(request.id, dict(self.result or {})))
        return found


def progress(value: float, total: float | None = None, message: str | None = None) -> Before:
    """Return a progress notification for whichever request it is put before."""

    def make(request: Request) -> Notification:
        params = {"progressToken": request.meta.get(PROGRESS_TOKEN), "progress": value}
        params |= {} if total is None else {"total": total}
        params |= {} if message is None else {"message": message}
        return Notification("notifications/progress", params)

    return make


Answer = Reply | Mapping[str, Any] | RpcError | Response | Request | Notification | bytes | None
"""What may stand for a reply."""


def as_reply(answer: Answer) -> Reply:
    """Return the reply that a result, an error, a message or bytes stand for; a response gets the request's id.

    Raises:
        TypeError: It stands for none.
    """
    match answer:
        case Reply():
            return answer
        case RpcError():
            return Reply(error=answer)
        case Response():
            return Reply(result=answer.result) if answer.error is None else Reply(error=answer.error)
        case Request() | Notification():
            return Reply(raw=messages.encode(answer))
        case bytes() | bytearray() | memoryview():
            return Reply(raw=bytes(answer))
        case None:
            return Reply()
        case Mapping():
            return Reply(result=answer)
    raise TypeError(f"a reply is a mapping, an RpcError, a message, bytes or a Reply, not {answer!r}")


class Script:
    """The replies that were prepared, and those that are left."""

    def __init__(self) -> None:
        self._in_order: deque[Answer] = deque()
        self._by_method: dict[str, deque[Answer | Callable[[Request], Answer]]] = {}
        self._always: dict[str, Answer | Callable[[Request], Answer]] = {}

    def add(self, answer: Answer) -> None:
        """Add the reply for the next request that no method claims."""
        as_reply(answer)
        self._in_order.append(answer)

    def on(self, method: str, answers: Sequence[Answer | Callable[[Request], Answer]], always: bool) -> None:
        """Add replies for a method; with ``always`` the last of them is given for ever."""
        for answer in answers:
            if not callable(answer):
                as_reply(answer)
        answers = answers or ({},)
        *first, last = answers
        queue = self._by_method.setdefault(method, deque())
        queue.extend(first if always else answers)
        if always:
            self._always[method] = last

    def claims(self, method: str) -> bool:
        """Tell whether replies were added for this method, used or not."""
        return method in self._by_method

    def next_for(self, request: Request) -> Reply | None:
        """Take the reply for a request: the method's own, else the next in order; None when there is none."""
        queue = self._by_method.get(request.method)
        if queue:
            answer: Answer | Callable[[Request], Answer] = queue.popleft()
        elif request.method in self._always:
            answer = self._always[request.method]
        elif self._in_order:
            answer = self._in_order.popleft()
        else:
            return None
        return as_reply(answer(request) if callable(answer) else answer)

    def first_in_order(self) -> Reply | None:
        """Return the next reply that belongs to no method, or None; it stays."""
        return as_reply(self._in_order[0]) if self._in_order else None

    def drop_first(self) -> None:
        """Take it away."""
        self._in_order.popleft()

    def left(self) -> list[str]:
        """Say which replies nobody asked for."""
        left = [f"{method}: {answer!r}" for method, queue in self._by_method.items() for answer in queue]
        return left + [f"(next): {answer!r}" for answer in self._in_order]
