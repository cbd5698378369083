"""Where transports hand over exchanges: the sending half of the channel that feeds the dispatcher.

Must never start a handler for a message; the dispatcher at the other end is the one place where handlers start.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from .abc import MessageHandler
from .context import MessageContext
from .era import InboundEra, Port
from .errors import TransportError
from .exchange import Exchange
from .limits import Limits

__all__ = ["Intake", "Target", "wants_errors"]

logger: logging.Logger = logging.getLogger("trio_mcp_transport")


Contain = Callable[[Callable[[], Awaitable[object]]], Awaitable[TransportError | None]]


def wants_errors(handler: MessageHandler) -> bool:
    """Tell whether a handler does anything in `handle_error`; a wrapper says so for what it wraps.

    Where it does nothing, an unreadable message costs no exchange.
    """
    said: bool | None = getattr(handler, "wants_errors", None)
    return type(handler).handle_error is not MessageHandler.handle_error if said is None else said


class Target(Protocol):
    """What an intake needs of the dispatcher at the other end of the channel."""

    def offer(self, exchange: Exchange) -> bool:
        """Take an exchange past the channel if a worker can serve it at once."""
        ...

    async def contain(self, hook: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a hook of the handler; what it raises is logged and goes no further."""
        ...


class Intake:
    """What a transport gets from `serve`: a place for exchanges, and the facts of the service.

    The memory channel has no bound of its own: its content is bounded by the permits of the connections that feed it
    (`pipe.admission`), and `send` yields to the dispatcher, which waits for nothing but this channel.

    Attributes:
        limits: The bounds of the service.
        drain: Seconds for answering what was asked once input ended or ``shutdown`` was set.
        shutdown: Set when the transport shall stop accepting and drain.
        new_era: Makes the era machine of a connection.
        contain: Runs one connection and returns the error it ended with: whatever a stream or a codec of somebody else
            raises must not reach the other connections (`transports.firewall`).
    """

    def __init__(
        self,
        channel: trio.MemorySendChannel[Exchange],
        handler: MessageHandler,
        new_era: Callable[[Port], InboundEra],
        dispatcher: Target,
        *,
        limits: Limits,
        drain: float,
        shutdown: trio.Event,
        contain: Contain,
    ) -> None:
        self._channel = channel
        self._handler = handler
        self._dispatcher = dispatcher
        self.new_era = new_era
        self.limits = limits
        self.drain = drain
        self.shutdown = shutdown
        self.contain = contain
        self.wants_errors: bool = wants_errors(handler)

    def send_nowait(self, exchange: Exchange) -> None:
        """Hand over an admitted exchange: to a parked worker, or through the channel."""
        if not self._dispatcher.offer(exchange):
            self._channel.send_nowait(exchange)

    async def send(self, exchange: Exchange) -> None:
        """Hand over an exchange; a checkpoint.  Cancelled, the exchange was not handed over."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._channel.send_nowait(exchange)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def report_error(self, error: TransportError, context: MessageContext) -> None:
        """Run the handler's ``handle_error``; what it raises is logged and contained.  A checkpoint if it is one."""
        logger.debug("%s %s: %s", context.transport, context.connection_id, error)
        if self.wants_errors:
            await self._dispatcher.contain(self._handler.handle_error, error, context)

    async def report_close(self, context: MessageContext) -> None:
        """Run the handler's ``handle_close``; what it raises is logged and contained."""
        await self._dispatcher.contain(self._handler.handle_close, context)
