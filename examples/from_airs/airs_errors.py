"""AIRS' ``TransportError``, as a family of classes; nothing here knows this library.

The adapters go by the names of the classes: ``Closed`` reaches a caller as ``ConnectionClosed``, ``BufferOverflow`` as
``FrameTooLarge``, and so on, each with the original as its ``__cause__``.
"""

from __future__ import annotations


class TransportError(Exception):
    """Anything that went wrong on the way."""


class Closed(TransportError):
    """The connection is closed."""


class Io(TransportError):
    """The system refused something."""


class Timeout(TransportError):
    """It took too long."""


class Format(TransportError):
    """What came is no message."""


class BufferOverflow(TransportError):
    """A message is over the limit."""
