"""TLS over any Trio stream: what leaves is encrypted, who answers is verified unless switched off by name.

Must never look at a message, never wait for the peer in order to close, and never go on after a torn record.

Written over `ssl.SSLObject` and not over `trio.SSLStream`, which keeps the alert of a failed handshake to itself (the
peer learns nothing of the reason), cannot end its writing alone, and waits for the peer where it closes.
"""

from __future__ import annotations

import ssl
import warnings

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from ..errors import ConfigError, ConnectionFailed
from .tls_engine import RECORDS, TlsEngine
from .tls_errors import explain_handshake

__all__ = ["CLOSE_GRACE", "SecureStream", "client_context"]

CLOSE_GRACE = 1.0
"""Seconds for the last record on a stream that cannot send without waiting."""

_TORN = "a write was cut off, and nothing may follow half a record"


def client_context(ssl_context: ssl.SSLContext | None, *, verify: bool = True) -> ssl.SSLContext:
    """Return the context a client uses: the given one, or one that verifies by the system's authorities.

    Raises:
        ConfigError: ``verify=False`` together with a context, which says itself what it verifies.
    """
    if ssl_context is not None:
        if not verify:
            raise ConfigError("verify=False changes no given ssl_context; give one that does not verify, or none")
        return ssl_context
    context = ssl.create_default_context()
    if not verify:
        warnings.warn("TLS without verification: anybody on the way can read and change everything", stacklevel=3)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class SecureStream(trio.abc.HalfCloseableStream):
    """TLS over a stream, which this one owns from now on.

    The end of the peer's writing is its ``close_notify`` (RFC 8446 section 6.1): then `receive_some` returns ``b""``,
    and sending goes on.  An end without it may be an attacker's, so it is a broken stream.

    Attributes:
        stream: The stream below.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_side: bool = False,
        server_hostname: str | None = None,
        verify: bool = True,
    ) -> None:
        """Prepare; nothing is sent before `do_handshake`, or the first call that needs it.

        Args:
            stream: The connection.
            ssl_context: What to show and whom to trust.  A client without one trusts the system's authorities.
            server_side: Whether this side answers the handshake; it needs a context with a certificate.
            server_hostname: The name the server's certificate must be for.
            verify: False to talk to whoever answers, with a warning; only without a context.

        Raises:
            ConfigError: The arguments do not fit together.
        """
        if server_side:
            if ssl_context is None or not verify:
                raise ConfigError("the server's side of TLS takes an ssl_context with its certificate, and no verify")
        else:
            ssl_context = client_context(ssl_context, verify=verify)
            if ssl_context.check_hostname and not server_hostname:
                raise ConfigError("server_hostname is needed: the name the server's certificate must be for")
        name = None if server_side else server_hostname
        try:
            self._tls = TlsEngine(ssl_context, server_side=server_side, server_hostname=name)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"this ssl_context cannot be used here: {error}") from error
        self.stream: trio.abc.Stream = stream
        self._name = name or "the peer"
        self._handshaking = trio.Lock()
        self._flushing = trio.Lock()
        self._ready = self._ended = self._closed = self._torn = self._sending = self._receiving = False
        self._broken: str | None = None

    def peer_certificate(self) -> dict[str, object] | None:
        """Return the peer's verified certificate as `ssl.SSLSocket.getpeercert` does; None before the handshake."""
        return self._tls.certificate() if self._ready else None

    async def do_handshake(self) -> None:
        """Shake hands; a checkpoint, and nothing the second time.  Cancelled, the stream cannot be used any more.

        Raises:
            ConnectionFailed: There is no agreement, or the peer's certificate is not accepted; the message says why,
                and the peer was told.
            trio.BrokenResourceError: An earlier handshake was cancelled or failed.
            trio.ClosedResourceError: The stream is closed, or was closed meanwhile.
        """
        async with self._handshaking:
            if self._ready:
                return
            self._check_usable()
            self._broken = "its handshake was not finished"
            try:
                while not self._tls.handshake():
                    await self._flush()
                    await self._read_more()
                await self._flush()
            except ssl.SSLError as error:
                await self._send_last_words()
                raise ConnectionFailed(explain_handshake(self._name, error)) from error
            except trio.BrokenResourceError as error:
                cause = error.__cause__ or error
                raise ConnectionFailed(f"the TLS handshake with {self._name} was broken off: {cause}") from error
            self._broken = None
            self._ready = True

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what has arrived, ``b""`` after the peer's ``close_notify``.

        A checkpoint; a cancelled call has taken nothing.

        Raises:
            trio.BrokenResourceError: The connection broke, or ended without ``close_notify``.
            trio.ClosedResourceError: The stream is closed, or was closed meanwhile.
            trio.BusyResourceError: Another task is receiving.
            ConnectionFailed: The handshake failed.
        """
        if max_bytes is None:
            max_bytes = RECORDS
        elif type(max_bytes) is not int:
            raise TypeError("max_bytes must be an integer")
        elif max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        self._receiving = True
        try:
            if not self._ready:
                await self.do_handshake()
            return await self._receive(max_bytes)
        finally:
            self._receiving = False

    async def _receive(self, size: int) -> bytes:
        await checkpoint_if_cancelled()
        waited = False
        while True:
            if self._closed:
                raise trio.ClosedResourceError("this stream was closed")
            try:
                data = self._tls.decrypt(size)
            except ssl.SSLError as error:
                self._broken = _why_broken(error)
                await self._send_last_words()
                raise trio.BrokenResourceError(self._broken) from error
            if self._tls.pending and not (self._torn or self._flushing.locked()):
                # What TLS owes of its own, such as the answer to a key update.
                self._tls.put_back(data or b"")
                await self._flush()
                waited = True
            elif data is not None:
                if not waited:
                    await cancel_shielded_checkpoint()
                return data
            else:
                await self._read_more()
                waited = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send all of ``data``.  A checkpoint; cancelled, a record may be torn and nothing more is sent.

        Raises:
            trio.BrokenResourceError: The connection broke, or an earlier call was cancelled.
            trio.ClosedResourceError: The stream is closed, was closed meanwhile, or its writing was ended.
            trio.BusyResourceError: Another task is sending.
            ConnectionFailed: The handshake failed.
        """
        self._begin_sending()
        try:
            if not self._ready:
                await self.do_handshake()
            self._check_usable()
            await checkpoint_if_cancelled()
            with memoryview(data) as whole, whole.cast("B") as view:
                for start in range(0, len(view), RECORDS):
                    self._encrypt(view[start : start + RECORDS])
                    await self._flush_or_break()
            if not data:
                await checkpoint()
        finally:
            self._sending = False

    def _begin_sending(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True

    def _encrypt(self, view: memoryview) -> None:
        try:
            with view:
                self._tls.encrypt(view)
        except ssl.SSLError as error:
            self._broken = _why_broken(error)
            raise trio.BrokenResourceError(self._broken) from error

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the stream below may take something, or breaks; a checkpoint.

        Raises:
            trio.ClosedResourceError: The stream is closed, or was closed meanwhile.
            trio.BusyResourceError: Another task is sending.
        """
        self._begin_sending()
        try:
            if self._closed:
                raise trio.ClosedResourceError("this stream was closed")
            async with self._flushing:
                await self.stream.wait_send_all_might_not_block()
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        """Send ``close_notify`` and go on reading.  A checkpoint; may be repeated.

        Cancelled, it may never reach the peer, and a repetition says so.

        Raises:
            trio.BrokenResourceError: The connection broke, or an earlier call was cancelled.
            trio.ClosedResourceError: The stream is closed.
            trio.BusyResourceError: Another task is sending.
        """
        self._begin_sending()
        try:
            if not self._ready:
                await self.do_handshake()
            await checkpoint()
            if self._closed or not self._ended:
                self._check_usable()
                self._ended = True
                self._tls.say_end()
                await self._flush_or_break()
            elif self._broken == _TORN:
                raise trio.BrokenResourceError(_TORN)  # Said before, and never heard by the peer.
        finally:
            self._sending = False

    async def aclose(self) -> None:
        """Send ``close_notify``, as far as that needs no patience, and close.

        Never waits for the peer's ``close_notify``.  A checkpoint; a cancelled call has closed too.
        """
        if self._closed:
            await checkpoint()
            return
        self._closed = True
        try:
            if self._ready and self._broken is None and not (self._torn or self._sending or self._ended):
                self._tls.say_end()
                await self._send_last_words()
        finally:
            await self.stream.aclose()

    async def _send_last_words(self) -> None:
        """Send what TLS has to say at the end, if the stream takes it; bounded, under any cancellation."""
        data = self._tls.take()
        if not data or self._torn:
            return
        send_nowait = getattr(self.stream, "send_nowait", None)
        try:
            if send_nowait is not None:
                send_nowait(data)
                return
            with trio.move_on_after(CLOSE_GRACE, shield=True):
                await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            return

    async def _flush_or_break(self) -> None:
        """Send what was encrypted for a caller; cut off, nothing may follow, be it that another task sends the rest."""
        done = False
        try:
            await self._flush()
            done = True
        finally:
            if not done and self._broken is None:
                self._broken = _TORN

    async def _flush(self) -> None:
        """Send what is encrypted, in order.  A checkpoint if there is anything."""
        try:
            self._flushing.acquire_nowait()
        except trio.WouldBlock:
            await self._flushing.acquire()
        try:
            if self._torn:
                raise trio.BrokenResourceError(_TORN)
            while self._tls.pending:
                self._torn = True
                await self.stream.send_all(self._tls.take())
                self._torn = False
        finally:
            self._flushing.release()

    async def _read_more(self) -> None:
        """Read encrypted bytes; a checkpoint, cancel-safe."""
        self._tls.feed(await self.stream.receive_some(RECORDS))

    def _check_usable(self) -> None:
        if self._closed or self._ended:
            raise trio.ClosedResourceError("this stream was closed, or its writing was ended")
        if self._broken is not None:
            raise trio.BrokenResourceError(self._broken)
        if self._torn and not self._flushing.locked():
            raise trio.BrokenResourceError(_TORN)


def _why_broken(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "the peer ended the connection without close_notify"
    return f"TLS failed: {error}"
