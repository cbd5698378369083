"""The accept loop of every socket listener: takes connections, up to a cap, and keeps each one's fate its own.

Must never look at a byte of a connection, and never end for anything a peer does or the system runs short of.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import trio

from ..errors import ConfigError, ConnectionFailed
from ..intake import Intake
from ..metrics import TransportMetrics

__all__ = ["MAX_CONNECTIONS", "ServeOne", "accept_connections", "check_max_connections"]

logger: logging.Logger = logging.getLogger("trio_mcp_transport")

MAX_CONNECTIONS = 1000
"""Connections of one listener at once, unless configured; select(2) ends at 1,024, and so do most soft fd limits."""

PAUSE = 0.1
"""Seconds before the next attempt when the system is short of something; as long as `trio.serve_listeners` waits."""

ServeOne = Callable[[trio.abc.Stream], Awaitable[object]]
"""Serves one connection to its end; may raise whatever it likes."""


def _numbers(*names: str) -> frozenset[int]:
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


_SHORTAGES = _numbers("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM")
# accept(2): errors of the new connection that are already pending are errors of the call, and say nothing about the
# listener.  EPERM: a firewall forbids the connection.
_OF_THE_PEER = _numbers(
    "ECONNABORTED",
    "EPERM",
    "ENETDOWN",
    "EPROTO",
    "ENOPROTOOPT",
    "EHOSTDOWN",
    "ENONET",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "EOPNOTSUPP",
    "ETIMEDOUT",
    "ECONNRESET",
)


def check_max_connections(value: int) -> int:
    """Return a cap that can be used.

    Raises:
        ConfigError: It is no integer of at least 1.
    """
    if type(value) is not int or value < 1:
        raise ConfigError(f"max_connections is an integer of at least 1, not {value!r}")
    return value


async def accept_connections(
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
    serve_one: ServeOne,
    *,
    exchanges: Intake,
    max_connections: int = MAX_CONNECTIONS,
    metrics: TransportMetrics,
) -> None:
    """Accept until ``exchanges.shutdown`` is set, then close the listeners and wait for the connections to end.

    Each connection is a task of its own; whatever it raises ends there, with one line in the log and one error counted.
    A connection above the cap is closed at once and counted as refused.  A checkpoint; cancelled, it ends at once.
    Listeners and streams are closed on every path.

    Args:
        listeners: Closed at the end.
        serve_one: Called with each stream, which is closed when it ends; obeys ``exchanges.shutdown`` itself.
        exchanges: What `abc.ServerTransport.run` was given.
        max_connections: Connections of all listeners together.
        metrics: Counters to add to.

    Raises:
        ConnectionFailed: A listener broke, other than by a shortage that may pass.
    """
    acceptor = _Acceptor(serve_one, exchanges, max_connections, metrics)
    try:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as accepting:
                if exchanges.shutdown.is_set():
                    accepting.cancel()
                nursery.start_soon(_cancel_at, exchanges.shutdown, accepting)
                async with trio.open_nursery() as loops:
                    for listener in listeners:
                        loops.start_soon(acceptor.accept_from, listener, nursery)
            # Before the connections have drained: whoever comes now shall be told, not kept waiting.
            await close_all(listeners)
    finally:
        await close_all(listeners)
    if acceptor.failure is not None:
        raise acceptor.failure


class _Acceptor:
    """What the loops of all listeners of one transport share."""

    def __init__(self, serve_one: ServeOne, exchanges: Intake, max_connections: int, metrics: TransportMetrics) -> None:
        self.failure: ConnectionFailed | None = None
        self._serve_one = serve_one
        self._exchanges = exchanges
        self._max_connections = max_connections
        self._metrics = metrics
        self._open = 0
        self._complained = False

    async def accept_from(self, listener: trio.abc.Listener[trio.abc.Stream], nursery: trio.Nursery) -> None:
        """Accept for ever; a broken listener cancels the nursery."""
        while True:
            try:
                stream = await listener.accept()
            except (OSError, trio.ClosedResourceError, trio.BrokenResourceError) as error:
                number = getattr(error, "errno", None)
                if number in _SHORTAGES:
                    await self._pause(error)
                elif number in _OF_THE_PEER:
                    await trio.lowlevel.checkpoint()
                else:
                    self.failure = ConnectionFailed(f"accepting connections failed: {error}")
                    self.failure.__cause__ = error
                    nursery.cancel_scope.cancel()
                    return
            else:
                await self._take(stream, nursery)

    async def _pause(self, error: BaseException) -> None:
        self._complain("cannot accept connections, trying again every %g s: %s", PAUSE, error)
        await trio.sleep(PAUSE)

    async def _take(self, stream: trio.abc.Stream, nursery: trio.Nursery) -> None:
        if self._open >= self._max_connections:
            self._metrics.refused += 1
            self._complain("refused a connection: %d are open, which is max_connections", self._open)
            await close_all([stream])
            return
        self._complained = False
        self._open += 1
        nursery.start_soon(self._serve, stream)

    def _complain(self, text: str, *args: object) -> None:
        """Log the first of a row: a flood of refusals must not become a flood of lines."""
        if not self._complained:
            logger.warning(text, *args)
            self._complained = True

    async def _serve(self, stream: trio.abc.Stream) -> None:
        try:
            failure = await self._exchanges.contain(partial(self._serve_one, stream))
            if failure is not None:
                self._metrics.record_error()
                logger.info("a connection ended: %s", failure)
        finally:
            self._open -= 1
            await close_all([stream])


async def close_all(resources: Iterable[trio.abc.AsyncResource]) -> None:
    """Close each forcefully: at once, under any cancellation, and again without harm."""
    with trio.CancelScope(shield=True):
        for resource in resources:
            await trio.aclose_forcefully(resource)


async def _cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
