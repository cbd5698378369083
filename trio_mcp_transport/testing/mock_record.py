"""What was sent into a `MockTransport`, and assertions about it that say what was sent instead.

Must never answer anything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import trio

from ..errors import MessageError, RpcError
from ..wire import messages
from ..wire.messages import Batch, Message, MessageId, Notification, Request, Response

__all__ = ["MockRecord"]

T = TypeVar("T")
ANY: Any = object()
"""Stands for "whatever it is" where None is a value."""


class MockRecord:
    """Keeps messages in the order they were sent; the base of `MockTransport`.

    Attributes:
        sent_messages: Requests, notifications and responses; bytes where they were no message.
        unexpected: Requests that no reply was prepared for.
    """

    def __init__(self) -> None:
        self.sent_messages: list[Message | Batch | bytes] = []
        self.unexpected: list[Request] = []
        self._noted = trio.lowlevel.ParkingLot()

    @property
    def sent_bytes(self) -> list[bytes]:
        """What was sent as JSON text, in order."""
        return [_text(message) for message in self.sent_messages]

    @property
    def sent_methods(self) -> list[str]:
        """The methods of the requests and notifications that were sent, in order."""
        return [message.method for message in self.sent_messages if isinstance(message, Request | Notification)]

    def note(self, message: Message | Batch | bytes) -> None:
        """Keep what was sent."""
        if isinstance(message, bytes):
            with contextlib.suppress(MessageError):
                message = messages.decode(message)
        self.sent_messages.append(message)
        self._noted.unpark_all()

    def find_sent(self, method: str, params: Any = ANY) -> list[Request | Notification]:
        """Return the requests and notifications of a method, with exactly these params where given.

        What the library adds to params (``_meta``) does not count.
        """
        return [
            message
            for message in self.sent_messages
            if isinstance(message, Request | Notification)
            and message.method == method
            and (params is ANY or _own(message) == (params or {}))
        ]

    def find_response(self, id_: MessageId) -> Response | None:
        """Return the response with exactly this id, or None so far."""
        for message in self.sent_messages:
            if isinstance(message, Response) and type(message.id) is type(id_) and message.id == id_:
                return message
        return None

    async def wait_sent(self, method: str, params: Any = ANY, *, count: int = 1) -> Request | Notification:
        """Wait until a message was sent ``count`` times, and return the last of them.  A checkpoint; cancel-safe."""

        def look() -> Request | Notification | None:
            found = self.find_sent(method, params)
            return found[count - 1] if len(found) >= count else None

        return await self.wait_for(look)

    async def wait_response(self, id_: MessageId) -> Response:
        """Wait for the response to a request that was played, and return it.  A checkpoint; cancel-safe."""
        return await self.wait_for(lambda: self.find_response(id_))

    async def wait_for(self, look: Callable[[], T | None]) -> T:
        """Wait until ``look`` returns something, asked after each message.  A checkpoint; cancel-safe."""
        while (found := look()) is None:
            await self._noted.park()
        await trio.lowlevel.checkpoint()
        return found

    def assert_sent(self, method: str, params: Any = ANY, *, times: int | None = None) -> Request | Notification:
        """Assert that a message was sent, once or more, or exactly ``times``; return the last one.

        Args:
            method: Of a request or notification.
            params: Its params, without ``_meta``; any unless given.
            times: How often, from 1; at least once unless given.

        Raises:
            AssertionError: It was not; the text lists what was sent.
            ValueError: ``times`` is below 1; see `assert_not_sent`.
        """
        if times is not None and times < 1:
            raise ValueError("assert_not_sent says that a message was not sent")
        found = self.find_sent(method, params)
        if (times is None and not found) or (times is not None and len(found) != times):
            wanted = method if params is ANY else f"{method} {params!r}"
            often = "" if times is None else f" {times} times"
            instead = "" if times is None or not found else f"; it was sent {len(found)} times"
            raise AssertionError(f"{wanted} was not sent{often}{instead}\n{self._listing()}")
        return found[-1]

    def assert_not_sent(self, method: str, params: Any = ANY) -> None:
        """Assert that a message was not sent.

        Raises:
            AssertionError: It was; the text lists what was sent.
        """
        if self.find_sent(method, params):
            raise AssertionError(f"{method} was sent\n{self._listing()}")

    def assert_cancelled(self, method: str) -> None:
        """Assert that every request of a method was cancelled by ``notifications/cancelled``.

        Raises:
            AssertionError: One was not, or there was none.
        """
        ids = [message.id for message in self.find_sent(method) if isinstance(message, Request)]
        cancels = self.find_sent("notifications/cancelled")
        cancelled = [(type(id_), id_) for id_ in (message.params.get("requestId") for message in cancels)]
        missing = [id_ for id_ in ids if (type(id_), id_) not in cancelled]
        if missing or not ids:
            what = f"the requests {missing!r}" if ids else "no request"
            raise AssertionError(
                f"{method}: {what} {'were not' if ids else 'was sent, so none was'} cancelled\n{self._listing()}"
            )

    def assert_answered(self, id_: MessageId, result: Any = ANY, *, error: int | None = None) -> Response:
        """Assert that a request that was played has its answer; return it.

        Args:
            id_: The request's id.
            result: The result, without what the revision adds; any unless given.
            error: The code of an error instead.

        Raises:
            AssertionError: It has none, or another; the text lists what was sent.
        """
        response = self.find_response(id_)
        if response is None:
            raise AssertionError(f"the request {id_!r} was not answered\n{self._listing()}")
        code = None if response.error is None else response.error.code
        if code != error:
            raise AssertionError(f"the request {id_!r} was answered with {_describe(response)}\n{self._listing()}")
        if result is not ANY and error is None and _plain(response.result, result) != result:
            raise AssertionError(f"the request {id_!r} was answered with {response.result!r}, not {result!r}")
        return response

    def _listing(self) -> str:
        lines = [f"  {_describe(message)}" for message in self.sent_messages]
        return "\n".join(["sent was:", *lines] if lines else ["nothing was sent"])


def _own(message: Request | Notification) -> dict[str, Any]:
    return {name: value for name, value in message.params.items() if name != "_meta"}


def _plain(found: Any, wanted: Any) -> Any:
    """Return a result without what the revision adds and nobody asked for."""
    if not isinstance(found, Mapping) or not isinstance(wanted, Mapping):
        return found
    return {key: value for key, value in found.items() if key in wanted or key not in ("_meta", "resultType")}


def _text(message: Message | Batch | bytes) -> bytes:
    if isinstance(message, bytes):
        return message
    return message.frame if isinstance(message, Batch) else messages.encode(message)


def _describe(message: Message | Batch | bytes) -> str:
    match message:
        case Request():
            return f"request {message.id!r} {message.method} {_own(message)!r}"
        case Notification():
            return f"notification {message.method} {_own(message)!r}"
        case Response():
            error: RpcError | None = message.error
            return (
                f"response {message.id!r} {message.result!r}" if error is None else f"response {message.id!r} {error}"
            )
        case Batch():
            return f"batch {message.frame!r}"
    return f"bytes {message!r}"
