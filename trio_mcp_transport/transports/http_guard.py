"""Keeps other protocols off a raw port: a web page can make a browser post to one, line by line as it pleases.

Must never answer such a peer, and must never refuse what one of our framings can begin with.
"""

from __future__ import annotations

import re

import trio

from ..errors import RemoteProtocolError
from .wrapped_stream import WrappedStream

__all__ = ["ForeignProtocolGuard", "foreign_protocol"]

LONGEST_METHOD = 32
"""Bytes of capitals after which no request line is expected any more; the longest registered method has 17."""

_HTTP = re.compile(rb"[A-Z]{1,%d}[ \t]" % LONGEST_METHOD)
_UNDECIDED = re.compile(rb"[A-Z]{0,%d}" % LONGEST_METHOD)


def foreign_protocol(beginning: bytes) -> str | None:
    """Say which other protocol a connection begins with.

    JSON text, a header line ``Name: value`` and a length of a message within the limits never begin like one.

    Args:
        beginning: Every byte received so far.

    Returns:
        Its name; "" when it is none of them; None when more bytes are needed.
    """
    if _HTTP.match(beginning):
        return "HTTP"
    # RFC 8446 section 5.1: a handshake record of any version.  What a page puts into it is not all out of its hands.
    if beginning[:2] == b"\x16\x03":
        return "TLS"
    if beginning == b"\x16" or _UNDECIDED.fullmatch(beginning):
        return None
    return ""


class ForeignProtocolGuard(WrappedStream):
    """A stream that breaks off when its first bytes look like an HTTP request or the beginning of TLS.

    What comes before the decision is passed on at once: no framing completes a message in it.
    """

    def __init__(self, inner: trio.abc.Stream) -> None:
        """Guard a fresh stream."""
        super().__init__(inner)
        self._beginning: bytes | None = b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive as the wrapped stream does.

        Raises:
            RemoteProtocolError: The peer speaks another protocol.
        """
        data = await self.inner.receive_some(max_bytes)
        if self._beginning is not None:
            self._beginning += data[: LONGEST_METHOD + 1]
            found = foreign_protocol(self._beginning)
            if found:
                raise RemoteProtocolError(f"this port does not speak {found}, which the first bytes look like")
            if found is not None:
                self._beginning = None
        return data
