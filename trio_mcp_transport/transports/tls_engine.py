"""TLS without I/O: encrypted bytes in and out on one side, plain bytes on the other.

Must never wait, and never throw away a plain byte.  Everything that must be known of Python's `ssl.SSLObject` is here.
"""

from __future__ import annotations

import contextlib
import ssl

__all__ = ["RECORDS", "TlsEngine"]

RECORDS = 65536
"""Bytes read or encrypted at once: four records (RFC 8446 section 5.1)."""


class TlsEngine:
    """One side of one TLS connection.

    `ssl.SSLError` leaves `handshake`, `decrypt` and `encrypt` when the connection is lost; what is to be told to the
    peer about it is then in `take`.
    """

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None) -> None:
        """Prepare.

        Args:
            context: What to show and whom to trust.
            server_side: Whether this side answers the handshake.
            server_hostname: The name the server's certificate must be for.

        Raises:
            ssl.SSLError: The context is for the other side.
            ValueError: The name is none.
        """
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self._server_side = server_side
        self._early = bytearray()
        self._held = b""
        self._failure: ssl.SSLError | None = None

    @property
    def pending(self) -> bool:
        """Whether there is something to send that does not wait for company."""
        return self._outgoing.pending > 0

    def take(self) -> bytes:
        """Return what is to be sent."""
        data, self._held = self._held + self._outgoing.read(), b""
        return data

    def feed(self, data: bytes | bytearray) -> None:
        """Take encrypted bytes of the peer; ``b""`` for the end of the stream."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def handshake(self) -> bool:
        """Go on with the handshake; False when the peer must be heard first."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        if self._server_side and self._tls.version() == "TLSv1.3":
            # Session tickets, for which nobody waits.  Trio's streams hold them back too: a client that writes before
            # it reads would never read them, and a server that writes them first would never hear it.
            self._held = self._outgoing.read()
        return True

    def certificate(self) -> dict[str, object] | None:
        """Return the peer's verified certificate, or None; only after the handshake."""
        return dict(self._tls.getpeercert() or {}) or None

    def decrypt(self, size: int) -> bytes | None:
        """Return up to ``size`` plain bytes, ``b""`` after the peer's ``close_notify``, None when more must be fed."""
        if self._early:
            data = bytes(self._early[:size])
            del self._early[:size]
            return data
        pieces: list[bytes] = []
        try:
            while size > 0 and self._failure is None:
                piece = self._tls.read(size)
                if not piece:
                    break  # The end, which Python raises only once this side has said its own.
                pieces.append(piece)
                size -= len(piece)
        except ssl.SSLWantReadError:
            return b"".join(pieces) if pieces else None
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as error:
            self._failure = error
        if self._failure is not None and not pieces:  # What came before the error is whole, and is returned first.
            raise self._failure
        return b"".join(pieces)

    def put_back(self, data: bytes) -> None:
        """Return plain bytes that nobody could take: the next `decrypt` has them first."""
        self._early[:0] = data

    def encrypt(self, view: memoryview) -> None:
        """Encrypt plain bytes; the result is in `take`.

        Renegotiation would want to read here and is an error: TLS 1.3 has none, and nobody offers it.
        """
        sent = 0
        while sent < len(view):
            sent += self._tls.write(view[sent:])

    def say_end(self) -> None:
        """Put a ``close_notify``; reading goes on."""
        # Python asks for the peer's close_notify in the same call, and would throw away what stands in front of it.
        with contextlib.suppress(ssl.SSLError):  # Whatever it is, the next `decrypt` finds it again.
            while data := self._tls.read(RECORDS):
                self._early += data
        with contextlib.suppress(ssl.SSLError):  # The peer's close_notify has not come, and is not waited for.
            self._tls.unwrap()
