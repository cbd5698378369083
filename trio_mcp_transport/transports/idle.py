"""The idle deadline of a connection: no byte either way, and nothing asked that is still open.

Must never end a connection on which an exchange or a listen is open, however long it is silent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import trio

from ..errors import ConfigError
from ..metrics import Load, TransportMetrics
from .wrapped_stream import WrappedStream

__all__ = ["IdleDeadline", "check_deadline"]

logger: logging.Logger = logging.getLogger("trio_mcp_transport")


def check_deadline(name: str, value: Any) -> float | None:
    """Return a deadline that can be used.

    Raises:
        ConfigError: It is no number above 0, and not None.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
        raise ConfigError(f"{name} is a number of seconds above 0, or None for none, not {value!r}")
    return None if value is None else float(value)


class _ConnectionMetrics:
    """The transport's counters, which also keep one connection's load at hand."""

    def __init__(self, metrics: TransportMetrics) -> None:
        object.__setattr__(self, "_metrics", metrics)
        object.__setattr__(self, "_load", Load)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._metrics, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._metrics, name, value)

    def connected(self, load: Callable[[], Load]) -> None:
        object.__setattr__(self, "_load", load)
        self._metrics.connected(load)

    def load(self) -> Load:
        load: Load = self._load()
        return load


class IdleDeadline(WrappedStream):
    """A stream that comes to its end by itself after a time without a byte, unless something is open.

    To whoever reads it, that end is the peer's end of writing: what there is to flush is flushed, then it is closed.

    Attributes:
        metrics: Counters to serve the connection with, which tell this stream what is open.
    """

    def __init__(self, inner: trio.abc.Stream, seconds: float, metrics: TransportMetrics) -> None:
        """Watch a stream.

        Args:
            inner: The stream.
            seconds: How long it may be idle.
            metrics: The transport's counters.
        """
        super().__init__(inner)
        self._seconds = seconds
        self._active_at = trio.current_time()
        self._connection = _ConnectionMetrics(metrics)
        # It has every attribute of the counters, because it passes all of them on.
        self.metrics: TransportMetrics = cast(TransportMetrics, self._connection)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive as the wrapped stream does, or return ``b""`` once the connection has been idle for too long."""
        while True:
            with trio.move_on_at(self._active_at + self._seconds):
                data = await self.inner.receive_some(max_bytes)
                self._active_at = trio.current_time()
                return data
            if self._connection.load() != Load():
                self._active_at = trio.current_time()
            elif self._active_at + self._seconds <= trio.current_time():
                logger.debug("closing a connection that was idle for %g s", self._seconds)
                return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send as the wrapped stream does."""
        await self.inner.send_all(data)
        self._active_at = trio.current_time()

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Send as the wrapped stream does."""
        sent = super().send_nowait(data)
        self._active_at = trio.current_time()
        return sent
