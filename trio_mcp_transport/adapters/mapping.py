"""The seam to somebody else's transport: whatever it raises becomes one `TransportError` with ``__cause__``.

Must never swallow anything: an error goes on under another type, and a cancellation goes on untouched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Final

from ..deadlines import DeadlineExceeded
from ..errors import (
    AuthenticationFailed,
    ConnectionClosed,
    ConnectionFailed,
    FrameTooLarge,
    FramingError,
    MessageError,
    RateLimitExceeded,
    RemoteProtocolError,
    TransportError,
)
from ..transports.firewall import as_transport_error

__all__ = ["as_typed", "mapped"]


class _TransportTimeout(DeadlineExceeded):
    """A deadline the transport keeps itself; how long it was is not known here."""

    def __init__(self, what: str) -> None:
        TransportError.__init__(self, what)
        self.deadline = "transport"
        self.seconds = math.nan


def _too_large(what: str) -> TransportError:
    return FrameTooLarge(what, limit=0)


def _unreadable(what: str) -> TransportError:
    return MessageError(what, answerable=False)


_BY_NAME: Final[dict[str, Callable[[str], TransportError]]] = {
    "Closed": ConnectionClosed,
    "ClosedResource": ConnectionClosed,
    "ConnectionClosed": ConnectionClosed,
    "EndOfChannel": ConnectionClosed,
    "EOF": ConnectionClosed,
    "Io": ConnectionFailed,
    "Network": ConnectionFailed,
    "OS": ConnectionFailed,
    "Timeout": _TransportTimeout,
    "TooSlow": _TransportTimeout,
    "Format": FramingError,
    "BufferOverflow": _too_large,
    "Serialization": _unreadable,
    "ProtocolViolation": RemoteProtocolError,
    "AuthenticationFailed": AuthenticationFailed,
    "RateLimitExceeded": RateLimitExceeded,
}
"""Class names without a final ``Error``: those of AIRS' transports, of Python, and of Trio."""


def as_typed(error: BaseException, what: str = "the transport failed") -> TransportError:
    """Return the `TransportError` that a foreign error stands for, with it as the ``__cause__``.

    The names of its class and of the classes that one derives from decide; a final ``Error`` in a name does not count.

    * ``Closed``, ``ConnectionClosed``, ``EOFError``, ``trio.EndOfChannel``, ``trio.ClosedResourceError``:
      `ConnectionClosed`
    * ``Io``, ``Network``, ``OSError``: `ConnectionFailed`
    * ``Timeout``, ``TimeoutError``, ``trio.TooSlowError``: `DeadlineExceeded`
    * ``Format``: `FramingError`
    * ``BufferOverflow``: `FrameTooLarge`
    * ``Serialization``: `MessageError`
    * ``ProtocolViolation``: `RemoteProtocolError`
    * ``AuthenticationFailed`` and ``RateLimitExceeded``: the errors of these names
    * anything else: `ConnectionFailed`

    Args:
        error: What was raised.  A `TransportError` of this library is returned as it is, a group of one as its member.
        what: What was being done, for the message.
    """
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, TransportError):
        return error
    for kind in type(error).__mro__:
        make = _BY_NAME.get(kind.__name__.removesuffix("Error"))
        if make is not None:
            typed = make(f"{what}: {type(error).__name__}: {error}")
            typed.__cause__ = error
            return typed
    return as_transport_error(error)


class mapped:  # in lower case: used as a function behind ``with``
    """A block that calls into somebody else's transport; an error leaves it as what `as_typed` makes of it."""

    def __init__(self, what: str) -> None:
        """Take what is being done, for the message."""
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Cancelled, KeyboardInterrupt and groups that hold one of them are no Exception and pass as they are.
        if not isinstance(error, Exception):
            return
        typed = as_typed(error, self._what)
        if typed is not error:
            raise typed from typed.__cause__
