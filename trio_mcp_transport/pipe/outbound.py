"""Requests of this side: how they are registered, sent, and cancelled at the peer.

Must never wait for an answer; a `call.Call` does.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ..call import Call
from ..wire.messages import Message, Notification
from .outbox import PipeOutbox
from .tables import CallTable

__all__ = ["OutboundCalls", "touch"]


class OutboundCalls:
    """Sends the requests of one end of a pipe: the client's, and a legacy server's."""

    def __init__(
        self,
        calls: CallTable,
        outbox: PipeOutbox,
        *,
        push: Callable[[Message], None],
        changed: Callable[[], None] | None,
    ) -> None:
        """Take the parts of the end.

        Args:
            calls: Where calls wait for their answers.
            outbox: Where requests go.
            push: Sends a notice without waiting.
            changed: Wakes a reader that waits for room; None where no reader ever waits.
        """
        self._calls = calls
        self._outbox = outbox
        self._push = push
        self._changed = changed

    async def send(self, call: Call) -> None:
        """Register and send a request; waits for room in the outbox.  A checkpoint.

        Raises:
            ConnectionClosed: The connection is gone.
            LocalProtocolError: The params cannot be written; nothing was sent.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.send_nowait(call):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._register(call)
        # Its deadline may pass while it waits for room: then the peer must hear neither of it nor of its end.
        call.attach(self._drop)
        try:
            await self._outbox.put(None, call.request, False, unless=lambda: call.done)
        except BaseException:
            self._calls.remove(call)
            raise
        call.attach(self._cancel)

    def send_nowait(self, call: Call) -> bool:
        """Register and send a request if there is room; whether it was sent.

        Raises:
            ConnectionClosed: The connection is gone.
            LocalProtocolError: The params cannot be written; nothing was sent.
        """
        self._register(call)
        sent = False
        try:
            sent = self._outbox.put_nowait(None, call.request, False)
        finally:
            if not sent:
                self._calls.remove(call)
        return sent

    def _register(self, call: Call) -> None:
        self._calls.add(call)
        call.attach(self._cancel)
        if call.deadlines.idle is not None:
            touch(call)
        # A reader that waits for room must read again: the answer to this very call may be what it has to read.
        if self._changed is not None:
            self._changed()

    def _drop(self, call: Call) -> None:
        if self._calls.remove(call):
            self._outbox.reconsider()

    def _cancel(self, call: Call) -> None:
        if self._calls.remove(call) and call.request.method != "initialize":
            self._push(Notification("notifications/cancelled", {"requestId": call.request.id}))


def touch(call: Call) -> None:
    """Restart the idle deadline of a call."""
    if call.deadlines.idle is not None:
        call.idle_at = trio.current_time() + call.deadlines.idle
