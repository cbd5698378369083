"""Counters of a transport and the immutable snapshot that is given out.

Must never export anything by itself; it only counts.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

__all__ = ["Load", "TransportMetrics", "TransportStatistics"]


@attrs.frozen
class Load:
    """What one connection holds at a moment.

    Attributes:
        in_flight: Messages being handled, listens included.
        queued: Messages waiting for a place.
        pending: Requests of this side waiting for an answer.
        outbox_bytes: Bytes waiting to be written.
    """

    in_flight: int = 0
    queued: int = 0
    pending: int = 0
    outbox_bytes: int = 0


@attrs.frozen(kw_only=True)
class TransportStatistics:
    """A snapshot.

    Attributes:
        messages_sent: Messages written.
        messages_received: Messages read, unreadable ones included.
        bytes_sent: Bytes of framed messages written.
        bytes_received: Bytes read, framing included; 0 on the memory transport.
        errors: Unreadable messages and failed connections.
        connection_count: Connections since the transport began to run.
        refused: Messages refused because a bound was reached.
        dropped: Messages that arrived for nobody, and notifications dropped by an overflow policy.
        in_flight: Messages being handled now, listens included.
        queued: Messages waiting for a place now.
        pending: Requests of this side waiting for an answer now.
        outbox_bytes: Bytes waiting to be written now.
    """

    messages_sent: int = 0
    messages_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    errors: int = 0
    connection_count: int = 0
    refused: int = 0
    dropped: int = 0
    in_flight: int = 0
    queued: int = 0
    pending: int = 0
    outbox_bytes: int = 0


class TransportMetrics:
    """The running counters of one transport object."""

    __slots__ = (
        "_loads",
        "bytes_received",
        "bytes_sent",
        "connection_count",
        "dropped",
        "errors",
        "messages_received",
        "messages_sent",
        "refused",
    )

    def __init__(self) -> None:
        self.messages_sent: int = 0
        self.messages_received: int = 0
        self.bytes_sent: int = 0
        self.bytes_received: int = 0
        self.errors: int = 0
        self.connection_count: int = 0
        self.refused: int = 0
        self.dropped: int = 0
        self._loads: list[Callable[[], Load]] = []

    def record_send(self, size: int) -> None:
        """Count one message of ``size`` bytes sent."""
        self.messages_sent += 1
        self.bytes_sent += size

    def record_receive(self, size: int) -> None:
        """Count one message of ``size`` bytes received."""
        self.messages_received += 1
        self.bytes_received += size

    def record_error(self) -> None:
        """Count one unreadable message or failed connection."""
        self.errors += 1

    def connected(self, load: Callable[[], Load]) -> None:
        """Count a connection; ``load`` is asked for its share of every snapshot until `disconnected`."""
        self.connection_count += 1
        self._loads.append(load)

    def disconnected(self, load: Callable[[], Load]) -> None:
        """Forget a connection's share."""
        self._loads.remove(load)

    def snapshot(self) -> TransportStatistics:
        """Return the counters and the present load of all connections."""
        loads = [load() for load in self._loads]
        return TransportStatistics(
            messages_sent=self.messages_sent,
            messages_received=self.messages_received,
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            errors=self.errors,
            connection_count=self.connection_count,
            refused=self.refused,
            dropped=self.dropped,
            in_flight=sum(load.in_flight for load in loads),
            queued=sum(load.queued for load in loads),
            pending=sum(load.pending for load in loads),
            outbox_bytes=sum(load.outbox_bytes for load in loads),
        )
