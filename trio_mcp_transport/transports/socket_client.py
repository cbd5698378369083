"""What a client does with a socket of whatever family: connect within the deadline, TLS, then the pipe.

Must never leave a socket open, however it ends.
"""

from __future__ import annotations

import ssl
from abc import abstractmethod

import trio

from ..abc import ClientTransport
from ..connect import ClientConnection, ClientSetup
from ..context import Peer
from ..deadlines import DeadlineExceeded
from ..errors import ConfigError, ConnectionFailed, TransportError
from ..metrics import TransportMetrics, TransportStatistics
from ..pipe.client import CLIENT_MESSAGE_SIZE
from ..pipe.client_stream import run_stream
from .accept import close_all
from .framings import codec_factory
from .secure import SecureStream, client_context
from .socketstream import SocketStream

__all__ = ["SocketClientTransport", "tls_context"]


def tls_context(
    tls: bool, ssl_context: ssl.SSLContext | None, server_hostname: str | None, *, verify: bool
) -> ssl.SSLContext | None:
    """Return what a client that was given these options speaks TLS with; None for no TLS.

    Raises:
        ConfigError: They do not go together.
    """
    if tls or ssl_context is not None or not verify:
        return client_context(ssl_context, verify=verify)
    if server_hostname is not None:
        raise ConfigError("server_hostname is for TLS; say tls=True")
    return None


class SocketClientTransport(ClientTransport):
    """The base of the clients over stream sockets; a subclass connects."""

    _transport: str
    """Name for contexts and logs."""

    def __init__(self, framing: str, ssl_context: ssl.SSLContext | None, server_hostname: str | None) -> None:
        """Take the options all socket clients share.

        Args:
            framing: Name of the framing.
            ssl_context: For TLS; None for none.
            server_hostname: The name the server's certificate must be for.

        Raises:
            ConfigError: There is no such framing.
        """
        self._codec = codec_factory(framing)
        self._ssl_context = ssl_context
        self._server_hostname = server_hostname
        self._metrics = TransportMetrics()

    @abstractmethod
    async def _connect(self) -> SocketStream:
        """Return a connected stream.

        Raises:
            OSError: It cannot be had.
        """

    def _peer(self, stream: SocketStream) -> Peer:
        """Return who is at the other end, the certificate aside."""
        return Peer(address=self.address)

    async def run(
        self, setup: ClientSetup, *, task_status: trio.TaskStatus[ClientConnection] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Connect and serve the connection to its end; see `abc.ClientTransport.run`.

        Raises:
            ConnectionFailed: Nobody answers at the address, or its certificate is not accepted.
            DeadlineExceeded: The connection did not stand within ``setup.deadlines.connect``.
            TransportError: The server ended the connection, or it broke.
        """
        opened: list[trio.abc.AsyncResource] = []
        try:
            stream, peer = await self._open(setup.deadlines.connect, opened)
            codec = self._codec(setup.limits.message_size(CLIENT_MESSAGE_SIZE))
            await run_stream(
                setup,
                stream,
                codec,
                peer=peer,
                transport=self._transport,
                metrics=self._metrics,
                task_status=task_status,
            )
        finally:
            await close_all(opened)

    async def _open(self, deadline: float | None, opened: list[trio.abc.AsyncResource]) -> tuple[trio.abc.Stream, Peer]:
        with trio.CancelScope(deadline=trio.current_time() + (float("inf") if deadline is None else deadline)) as scope:
            try:
                stream = await self._connect()
            except OSError as error:
                raise ConnectionFailed(f"cannot connect to {self.address}: {_reasons(error)}") from error
            opened.append(stream)
            if self._ssl_context is None:
                return stream, self._peer(stream)
            return await self._secure(stream, self._ssl_context)
        assert deadline is not None and scope.cancelled_caught
        raise DeadlineExceeded("connect", deadline, f"connecting to {self.address}")

    async def _secure(self, stream: SocketStream, ssl_context: ssl.SSLContext) -> tuple[trio.abc.Stream, Peer]:
        secure = SecureStream(stream, ssl_context=ssl_context, server_hostname=self._server_hostname)
        try:
            await secure.do_handshake()
        except ConnectionFailed as error:
            failure: TransportError = ConnectionFailed(f"cannot connect to {self.address}: {error}")
            raise failure from (error.__cause__ or error)
        peer = self._peer(stream)
        certificate = secure.peer_certificate()
        return secure, Peer(address=peer.address, credentials=peer.credentials, certificate=certificate)

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters, over all connections."""
        return self._metrics.snapshot()


def _reasons(error: BaseException) -> str:
    """Return every reason there is: Trio raises one error for several addresses, whose own errors are its cause."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(str(one) for one in cause.exceptions))
    return str(error) if cause is None else str(cause)
