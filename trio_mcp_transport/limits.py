"""Every bound of the core in one place, each with the precedent its default follows.

Must never hold a bound that is not enforced, tested at the limit, one below and one above.
"""

from __future__ import annotations

from typing import Any

import attrs

from .errors import ConfigError
from .wire.jsontext import DEFAULT_MAX_DEPTH

__all__ = ["Limits"]

MIB = 1024 * 1024


def _at_least_one(_: object, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise ConfigError(f"{attribute.name} is an integer of at least 1, not {value!r}")


def _bound(default: int) -> int:
    field: int = attrs.field(default=default, validator=_at_least_one)
    return field


@attrs.frozen(kw_only=True)
class Limits:
    """What one side accepts and holds.

    Attributes:
        max_message_size: Largest message accepted, in bytes of payload.  None: 16 MiB for a server on a pipe, 64 MiB
            for a client (gRPC accepts 4 MiB, websockets 1 MiB; MCP results carry whole files).
        max_outgoing_size: Largest message sent, in bytes; a larger reply becomes the error ``too_large``.
        max_depth: Deepest JSON nesting accepted (serde_json: 128).
        max_running: Requests and notifications of one connection being handled at once (HTTP/2: 100 streams).
        max_running_bytes: Bytes of those among them that are over 64 KiB; None: four largest messages.  The first of
            them runs whatever its size.
        max_queued: Messages of one connection waiting for a place among the running.
        max_queued_bytes: Their bytes; None: one largest message.
        max_listens: ``subscriptions/listen`` exchanges of one connection; they take no place among the running.
        max_pending: Requests of this side to one peer that wait for an answer, in the legacy era's server role.
        exchange_messages: Messages an exchange of a client holds for its consumer; the response has its own place.
        exchange_bytes: Their bytes.
        outbox_bytes: Bytes waiting to be written on one connection; one larger frame passes when it is empty.
        write_deadline: Seconds without one byte accepted by the peer before the connection is given up; stdio exempt.
        grace: Seconds for the last flush and the close hook of a connection (websockets' ``close_timeout``: 10).
    """

    max_message_size: int | None = attrs.field(default=None, validator=_at_least_one)
    max_outgoing_size: int = _bound(64 * MIB)
    max_depth: int = _bound(DEFAULT_MAX_DEPTH)
    max_running: int = _bound(100)
    max_running_bytes: int | None = attrs.field(default=None, validator=_at_least_one)
    max_queued: int = _bound(1000)
    max_queued_bytes: int | None = attrs.field(default=None, validator=_at_least_one)
    max_listens: int = _bound(100)
    max_pending: int = _bound(1000)
    exchange_messages: int = _bound(1000)
    exchange_bytes: int = _bound(MIB)
    outbox_bytes: int = _bound(MIB)
    write_deadline: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    grace: float = attrs.field(default=5.0, validator=attrs.validators.gt(0))

    def message_size(self, default: int) -> int:
        """Return the largest message accepted, or ``default`` bytes where none was configured."""
        return default if self.max_message_size is None else self.max_message_size
