"""Message handlers made of plain functions, and handlers that may block.

Must never start a task of its own: a blocking function runs in a thread of the service's own limiter, awaited by the
worker of its exchange.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import trio

from .abc import MessageHandler
from .context import MessageContext
from .errors import ConfigError, RpcError, TransportError
from .wire.codes import METHOD_NOT_FOUND
from .wire.messages import Notification, Request

__all__ = ["Handlers", "blocking"]

logger: logging.Logger = logging.getLogger("trio_mcp_transport")

F = TypeVar("F", bound=Callable[..., Any])

INLINE_WARNING = 0.1
"""Seconds after which a plain function that ran inline is reported by name: everything else stood still."""

BLOCKING_THREADS = 40
"""Threads per `Handlers` object for blocking functions; never the host's default limiter (trio's default is 40)."""

_MARK = "__trio_mcp_transport_blocking__"


def blocking(function: F) -> F:
    """Mark a plain ``def`` handler to run in a worker thread.

    A cancelled message abandons the thread: it runs to its end, and what it returns is dropped.

    Raises:
        ConfigError: The function is a coroutine function, which must not block and needs no thread.
    """
    if inspect.iscoroutinefunction(function):
        raise ConfigError(f"{function.__qualname__} is async; @blocking is for a plain def")
    setattr(function, _MARK, True)
    return function


class Handlers(MessageHandler):
    """A `MessageHandler` of up to four functions.

    Each may be a coroutine function, a plain function marked with `blocking`, or a plain function that runs inline and
    must not block.  Without ``request`` every request is answered with -32601.
    """

    def __init__(
        self,
        request: Callable[[Request, MessageContext], Any] | None = None,
        notification: Callable[[Notification, MessageContext], Any] | None = None,
        error: Callable[[TransportError, MessageContext], Any] | None = None,
        close: Callable[[MessageContext], Any] | None = None,
        *,
        threads: int = BLOCKING_THREADS,
    ) -> None:
        """Take the functions.

        Args:
            request: Called for each request; returns the result.
            notification: Called for each notification.
            error: Called for unreadable messages and failed connections.
            close: Called once per connection, last.
            threads: Most blocking functions running at once.
        """
        self._request = request
        self._notification = notification
        self._error = error
        self.wants_errors: bool = error is not None
        self._close = close
        self._limiter = trio.CapacityLimiter(threads)

    async def handle_message(self, message: Request | Notification, context: MessageContext) -> Any:
        """Call ``request`` or ``notification``.

        Raises:
            RpcError: -32601 when there is no function for a request.
        """
        if isinstance(message, Request):
            if self._request is None:
                raise RpcError(METHOD_NOT_FOUND, f"{message.method} is not known here")
            return await self._call(self._request, message, context)
        if self._notification is not None:
            return await self._call(self._notification, message, context)
        return None

    async def handle_error(self, error: TransportError, context: MessageContext) -> None:
        """Call ``error``."""
        if self._error is not None:
            await self._call(self._error, error, context)

    async def handle_close(self, context: MessageContext) -> None:
        """Call ``close``."""
        if self._close is not None:
            await self._call(self._close, context)

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        if getattr(function, _MARK, False):
            call = functools.partial(function, *args)
            return await trio.to_thread.run_sync(call, limiter=self._limiter, abandon_on_cancel=True)
        started = time.monotonic()
        result = function(*args)
        if inspect.isawaitable(result):
            return await result
        elapsed = time.monotonic() - started
        if elapsed > INLINE_WARNING:
            name = getattr(function, "__qualname__", repr(function))
            logger.warning("%s blocked every other task for %.2f s; mark it with @blocking", name, elapsed)
        return result
