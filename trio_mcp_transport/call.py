"""One request of this side that waits for its answer, and the buffer of what arrives before it.

Must never wait for anything but its own consumer's turn: the reader that delivers calls only synchronous methods
(design rule: a client's reader never waits).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import trio

from .deadlines import Deadlines
from .errors import ReceiveBufferFull, TransportError
from .limits import Limits
from .wire.messages import MessageId, Notification, Request, Response

__all__ = ["Call", "Overflow"]

Overflow = Literal["fail", "drop_oldest"]
"""What a full buffer does: fail this one exchange, or drop its oldest notification, counted."""


class Call:
    """A request on its way, seen from the side that asked.

    Attributes:
        request: The message as sent; its id changes when a listen is sent again after a restart.
        token: The progress token that belongs to it, or None.
        idle_at: Clock value at which it has been silent for too long.
        total_at: Clock value at which it has lived for too long.
        dropped: Notifications dropped by the overflow policy.
        response: The answer, or None so far.
        error: Why there will be none, or None.
        abandoned: Whether its consumer has left.
    """

    __slots__ = (
        "_buffer",
        "_bytes",
        "_cancel",
        "_limits",
        "_overflow",
        "_response_taken",
        "_task",
        "abandoned",
        "deadlines",
        "dropped",
        "error",
        "idle_at",
        "request",
        "response",
        "token",
        "total_at",
    )

    def __init__(
        self,
        request: Request,
        deadlines: Deadlines,
        limits: Limits,
        buffered: bool = False,
        overflow: Overflow = "fail",
    ) -> None:
        self.request: Request = request
        self.deadlines: Deadlines = deadlines
        self.token: MessageId | None = None
        self.idle_at: float = math.inf
        self.total_at: float = math.inf
        self.dropped: int = 0
        self.response: Response | None = None
        self.error: TransportError | None = None
        self.abandoned: bool = False
        self._limits = limits
        self._overflow = overflow
        self._buffer: deque[Notification] | None = deque() if buffered else None
        self._bytes = 0
        self._response_taken = False
        self._task: trio.lowlevel.Task | None = None
        self._cancel: Callable[[Call], None] | None = None

    def attach(self, cancel: Callable[[Call], None]) -> None:
        """Take the binding's own way to cancel, which is synchronous; called when the request was sent."""
        self._cancel = cancel

    @property
    def done(self) -> bool:
        """Whether the end is known: an answer, a failure, or a consumer that left."""
        return self.response is not None or self.error is not None or self.abandoned

    def notify(self, notification: Notification) -> None:
        """Deliver a notification that belongs to the call; never waits."""
        if self.done or self._buffer is None:
            return
        size = notification.size
        limits = self._limits
        while len(self._buffer) >= limits.exchange_messages or (
            self._buffer and self._bytes + size > limits.exchange_bytes
        ):
            if self._overflow == "fail":
                held = len(self._buffer)
                self.fail(ReceiveBufferFull(f"{self.request.method}: {held} notifications were not consumed"))
                self.cancel()
                return
            self._bytes -= self._buffer.popleft().size
            self.dropped += 1
        self._buffer.append(notification)
        self._bytes += size
        self._wake()

    def respond(self, response: Response) -> None:
        """Deliver the answer; it has a place of its own beside the buffer."""
        if self.response is None and self.error is None and not self.abandoned:
            self.response = response
            self._wake()

    def fail(self, error: TransportError) -> None:
        """End the call without an answer."""
        if not self.done:
            self.error = error
            self._wake()

    def cancel(self) -> None:
        """Tell the peer, by the binding's own signal, that nobody waits any more."""
        if self._cancel is not None:
            self._cancel(self)

    def abandon(self) -> None:
        """Leave the call: without an answer so far this is the cancellation; afterwards it does nothing."""
        if self.response is None and self.error is None and not self.abandoned:
            self.abandoned = True
            self.cancel()
            # Another task may be receiving.
            self._wake()

    async def answer(self) -> Response:
        """Wait for the answer of an unbuffered call; a checkpoint.  Cancelled, the call is abandoned.

        Raises:
            TransportError: There will be no answer.
        """
        if self.response is None and self.error is None:
            await self.ended()
        if self.error is not None:
            raise self.error
        assert self.response is not None
        return self.response

    def ended(self) -> Awaitable[Any]:
        """Return what to await, at once and once, until an unbuffered call without an end has one.

        No coroutine of its own, which would be one more frame to pass with every answer.  Cancelled, it is abandoned.
        """
        self._task = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._left)  # noqa: ASYNC105 - the caller awaits it

    async def receive(self) -> Notification | Response:
        """Return the next message: notifications, then the response.  A checkpoint; cancelled, nothing is lost.

        Raises:
            trio.EndOfChannel: The response has been received.
            TransportError: The call ended without a response.
            trio.BusyResourceError: Another task is receiving.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = False
        while not self._buffer and self.response is None and self.error is None:
            if self.abandoned:
                raise trio.ClosedResourceError
            await self._park()
            waited = True
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        if self._buffer:
            notification = self._buffer.popleft()
            self._bytes -= notification.size
            return notification
        if self.error is not None:
            raise self.error
        if self._response_taken or self.response is None:
            raise trio.EndOfChannel
        self._response_taken = True
        return self.response

    def _left(self, _: object) -> trio.lowlevel.Abort:
        """Be cancelled while waiting: the answer is not wanted any more."""
        self._task = None
        self.abandon()
        return trio.lowlevel.Abort.SUCCEEDED

    async def _park(self) -> None:
        if self._task is not None:
            raise trio.BusyResourceError("another task is receiving from this exchange")
        self._task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)
