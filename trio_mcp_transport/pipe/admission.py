"""How many messages of one connection run at once, and which wait.

Must never wait itself: the reader asks, and learns at once whether a message runs, waits in the queue, or finds no
place.  Permits belong to the connection, so one peer cannot take another's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..exchange import Exchange
from ..limits import Limits

__all__ = ["Admission"]


LARGE = 4096
"""Bytes from which a message waits as text: the bound of the queue counts text, and memory shall follow it."""

HEAVY = 64 * 1024
"""Bytes above which a running message is weighed: smaller ones are bounded by their number, 6 MiB by default."""


class Admission:
    """Permits and the admission queue of one connection.

    Attributes:
        running: Permits out: exchanges that run, except those whose handler waits for the peer.
        listens: Running ``subscriptions/listen`` exchanges, which have a cap of their own.
        queue: Exchanges waiting for a permit.
        running_bytes: Bytes of the heavy exchanges that run, those whose handler waits for the peer included.
        queued_bytes: Payload bytes in the queue.
    """

    def __init__(self, limits: Limits, largest_message: int, dispatch: Callable[[Exchange], None]) -> None:
        """Take the bounds.

        Args:
            limits: ``max_running``, ``max_running_bytes``, ``max_queued``, ``max_queued_bytes`` and ``max_listens`` are
                used.
            largest_message: Bytes the queue holds where ``max_queued_bytes`` is not set.
            dispatch: Hands an exchange that may run to the dispatcher, without waiting.
        """
        self._limits = limits
        self._max_running = limits.max_running
        self._max_bytes = limits.max_queued_bytes or largest_message
        self._max_running_bytes = limits.max_running_bytes or 4 * largest_message
        self._heavy: dict[Exchange, int] = {}
        self._dispatch = dispatch
        self.queue: deque[Exchange] = deque()
        self.running: int = 0
        self.running_bytes: int = 0
        self.listens: int = 0
        self.queued_bytes: int = 0

    @property
    def queued(self) -> int:
        """Messages waiting in the queue."""
        return len(self.queue)

    @property
    def full(self) -> bool:
        """Whether the queue has no place for one more message of any size."""
        return len(self.queue) >= self._limits.max_queued or self.queued_bytes >= self._max_bytes

    def admit(self, exchange: Exchange) -> bool:
        """Let an exchange run or queue it; False when there is no place and the caller must refuse it."""
        if (
            not exchange.is_listen
            and self.running < self._max_running
            and not self.queue
            and (exchange.size <= HEAVY or self._lift(exchange))
        ):
            exchange.permit = True
            self.running += 1
            self._dispatch(exchange)
            return True
        if exchange.is_listen:
            if self.listens >= self._limits.max_listens:
                return False
            self.listens += 1
            self._dispatch(exchange)
            return True
        if self.full:
            return False
        if exchange.size > LARGE:
            exchange.message.seal()
        self.queue.append(exchange)
        self.queued_bytes += exchange.size
        return True

    def withdraw(self, exchange: Exchange) -> bool:
        """Take a cancelled exchange out of the queue; False when it is not there."""
        try:
            self.queue.remove(exchange)
        except ValueError:
            return False
        self.queued_bytes -= exchange.size
        return True

    def release(self, exchange: Exchange) -> None:
        """Take back what an ended exchange held and let the next one run."""
        if self._heavy and (size := self._heavy.pop(exchange, 0)):
            self.running_bytes -= size
            if not exchange.permit and self.queue:
                self._advance()
        if exchange.is_listen:
            self.listens -= 1
        elif exchange.permit:
            exchange.permit = None
            self.running -= 1
            if self.queue:
                self._advance()

    def lend(self, exchange: Exchange) -> bool:
        """Take the permit while the handler waits for the peer; whether there was one to take."""
        if not exchange.permit:
            return False
        exchange.permit = None
        self.running -= 1
        self._advance()
        return True

    def retake(self, exchange: Exchange) -> None:
        """Give the permit back without waiting: the bound may be exceeded by those that come back."""
        exchange.permit = True
        self.running += 1

    def drop_queue(self) -> list[Exchange]:
        """Empty the queue and return what was in it."""
        dropped = list(self.queue)
        self.queue.clear()
        self.queued_bytes = 0
        return dropped

    def _advance(self) -> None:
        while self.queue and self.running < self._limits.max_running:
            exchange = self.queue[0]
            if exchange.size > HEAVY and not self._lift(exchange):
                return
            self.queue.popleft()
            self.queued_bytes -= exchange.size
            self._start(exchange)

    def _lift(self, exchange: Exchange) -> bool:
        """Weigh a heavy exchange that is about to run; False when others must end first."""
        if self.running_bytes and self.running_bytes + exchange.size > self._max_running_bytes:
            return False
        self._heavy[exchange] = exchange.size
        self.running_bytes += exchange.size
        return True

    def _start(self, exchange: Exchange) -> None:
        exchange.permit = True
        self.running += 1
        self._dispatch(exchange)
