"""The deadlines this library itself keeps, and the error that says which one fired.

Must never stand in for the caller's own ``trio.fail_after``: that stays plain `trio.TooSlowError`.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import trio

from .errors import ConfigError, TransportError

__all__ = ["DeadlineExceeded", "Deadlines"]


class DeadlineExceeded(TransportError, trio.TooSlowError):
    """A deadline of this library passed.

    Attributes:
        deadline: Its name: ``connect``, ``probe``, ``idle``, ``total``, ``write``, ``ping``, ``handshake`` or ``body``.
        seconds: How long it was.
    """

    def __init__(self, deadline: str, seconds: float, what: str) -> None:
        super().__init__(f"{what}: the {deadline} deadline of {seconds:g} s has passed")
        self.deadline = deadline
        self.seconds = seconds


def _positive(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not value > 0:
        raise ConfigError(f"{attribute.name} is a number of seconds above 0, or None for none")


@attrs.frozen(kw_only=True)
class Deadlines:
    """Seconds a client waits by itself; None means without end.

    Attributes:
        connect: Until a connection stands, era negotiation included (10 s; websockets' ``open_timeout`` is 10).
        probe: Silence after the ``server/discover`` probe on a pipe before ``initialize`` is tried (5 s).
        idle: Longest silence of one call, reset by its progress; off by default (M-CA-13).
        total: Longest life of one call, progress or not (600 s; M-CA-14).  Listens are exempt.
    """

    connect: float | None = attrs.field(default=10.0, validator=_positive)
    probe: float | None = attrs.field(default=5.0, validator=_positive)
    idle: float | None = attrs.field(default=None, validator=_positive)
    total: float | None = attrs.field(default=600.0, validator=_positive)

    def first(self, now: float) -> tuple[float, float]:
        """Return when a call that begins now runs out: (idle moment, total moment), `math.inf` for never."""
        return (
            math.inf if self.idle is None else now + self.idle,
            math.inf if self.total is None else now + self.total,
        )
