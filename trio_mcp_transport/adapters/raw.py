"""Ours in the shape of a `BytesTransport`: one whole message per call, as its JSON text.

Must never answer, negotiate or correlate for whoever uses it: what comes in goes out as it is, in both eras.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import trio

from ..abc import ClientTransport, FrameCodec, MessageLink, ServerTransport
from ..errors import (
    ConfigError,
    ConnectionClosed,
    ConnectionFailed,
    LocalProtocolError,
    MessageTooLarge,
    TransportError,
)
from ..limits import Limits
from ..pipe.framed import FramedLink
from ..pipe.server import SERVER_MESSAGE_SIZE
from ..wire import messages
from ..wire.messages import Batch, Message
from ..wire.newline import NewlineCodec
from ..wire.signals import Signal
from .peer import ClientPeer, Peer, ServerPeer

__all__ = ["BytesView", "as_bytes_transport"]


class BytesView:
    """What `as_bytes_transport` returns: a `BytesTransport`, and an async context manager that closes it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._closed = False

    @property
    def max_message_size(self) -> int:
        """Largest message taken, in bytes."""
        return self._limits.max_outgoing_size

    async def send(self, message: bytes, /) -> None:
        """Send one message, given as JSON text; several tasks may, and their messages keep their order.

        A checkpoint.  Cancelled while the message is on its way, the transport is unusable.

        Raises:
            LocalProtocolError: It is no JSON-RPC message, or cannot be sent in this role.
            MessageTooLarge: It is over the limit; nothing was sent.
            ConnectionClosed: The transport was closed.
            TransportError: The transport broke.
        """
        self._check_open()
        if len(message) > self.max_message_size:
            raise MessageTooLarge(f"a message of {len(message)} bytes is over the limit {self.max_message_size}")
        try:
            decoded = messages.decode(bytes(message), max_depth=self._limits.max_depth)
        except TransportError as error:
            raise LocalProtocolError(f"this is no message: {error}") from error
        if isinstance(decoded, Batch):
            raise LocalProtocolError("one message per call, and no batch")
        await self._send(decoded)

    async def receive(self) -> bytes:
        """Wait for the next message and return its JSON text.  A checkpoint; cancelled, nothing is lost.

        Raises:
            MessageError: One unreadable message; the next call goes on.
            ConnectionClosed: The peer has ended, or the transport was closed.
            TransportError: The transport broke.
        """
        self._check_open()
        try:
            return await self._receive()
        except ConnectionFailed:
            self._check_open()
            raise

    async def close(self) -> None:
        """Close both directions; a `receive` that waits ends with `ConnectionClosed`.  A checkpoint."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        await self._close()

    def adopt(self, nursery: trio.Nursery) -> None:
        """Take a nursery for tasks, unless there is one or none is needed."""

    async def __aenter__(self) -> Self:
        """Begin the block."""
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionClosed("the transport is closed")

    async def _send(self, message: Message) -> None:
        raise NotImplementedError

    async def _receive(self) -> bytes:
        raise NotImplementedError

    async def _close(self) -> None:
        raise NotImplementedError


class _LinkView(BytesView):
    """A channel of messages."""

    def __init__(self, link: MessageLink, limits: Limits) -> None:
        super().__init__(limits)
        self._link = link
        self._writing = trio.Lock()
        self._reading = trio.Lock()
        self._torn = False

    async def _send(self, message: Message) -> None:
        async with self._writing:
            self._check_open()
            if self._torn:
                raise ConnectionFailed("an earlier send was cancelled on its way")
            item, _ = self._link.encode(message)
            self._torn = True
            await self._link.write([item])
            self._torn = False

    async def _receive(self) -> bytes:
        async with self._reading:
            while True:
                message = self._link.next_message()
                if isinstance(message, Batch):
                    return message.frame
                if message is Signal.END_OF_STREAM:
                    raise ConnectionClosed("the peer closed the connection")
                if message is not Signal.NEED_DATA:
                    return messages.encode(message)
                await self._link.fill()

    async def _close(self) -> None:
        await self._link.aclose()


class _PeerView(BytesView):
    """A transport of ours, whose tasks need a nursery."""

    def __init__(self, peer: Peer, limits: Limits, nursery: trio.Nursery | None) -> None:
        super().__init__(limits)
        self._peer = peer
        self._nursery = nursery
        self._manager: Any = None
        self._started = False

    def adopt(self, nursery: trio.Nursery) -> None:
        if self._nursery is None:
            self._nursery = nursery

    async def __aenter__(self) -> Self:
        if self._nursery is None:
            self._manager = trio.open_nursery()
            self._nursery = await self._manager.__aenter__()
        else:
            await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.close()
        finally:
            if self._manager is not None:
                # The body's own exception leaves as it is, in no group.
                await self._manager.__aexit__(None, None, None)

    def _start(self) -> None:
        """Connect on first use."""
        if self._started:
            return
        if self._nursery is None:
            raise LocalProtocolError("a transport has tasks: use it in `async with`, or give it a nursery")
        self._started = True
        self._nursery.start_soon(self._peer.run)

    async def _send(self, message: Message) -> None:
        self._start()
        await self._peer.send(message)

    async def _receive(self) -> bytes:
        self._start()
        return await self._peer.receive()

    async def _close(self) -> None:
        if self._started:
            await self._peer.close()
        else:
            await trio.lowlevel.checkpoint()


def as_bytes_transport(
    ours: ClientTransport | ServerTransport | MessageLink | trio.abc.Stream,
    *,
    nursery: trio.Nursery | None = None,
    codec: Callable[[int], FrameCodec] = NewlineCodec,
    limits: Limits | None = None,
) -> BytesView:
    """Give one of ours the shape of a `BytesTransport`.

    Messages are passed on as they are: no handshake is made and no request is answered for the user.  A transport has
    tasks of its own: they live in ``nursery``, or in that of an ``async with`` block around the result, and it connects
    on first use.  A stream and a link need neither.

    A server transport is meant for one peer.  Its peer's requests come from `receive`, with an id of their own where
    two clients use the same, and a cancellation names that id.  A response sent goes to whoever asked, or nowhere if
    that was cancelled; a progress notification goes to the request whose token it names, and any other notification
    along the newest request that has no answer yet.

    Args:
        ours: A client transport, a server transport, a link, or a stream, which is one connection of either side.
        nursery: Where the tasks of a transport live.
        codec: Makes the codec of a stream for a largest message.
        limits: The bounds; None for the defaults.

    Raises:
        ConfigError: It is none of these.
    """
    limits = limits or Limits()
    if isinstance(ours, ClientTransport):
        return _PeerView(ClientPeer(ours, limits), limits, nursery)
    if isinstance(ours, ServerTransport):
        return _PeerView(ServerPeer(ours, limits), limits, nursery)
    if isinstance(ours, trio.abc.Stream):
        size = limits.message_size(SERVER_MESSAGE_SIZE)
        return _LinkView(FramedLink(ours, codec(size), limits, write_deadline=limits.write_deadline), limits)
    if hasattr(ours, "next_message"):
        return _LinkView(ours, limits)
    raise ConfigError(f"{type(ours).__name__} is no transport, link or stream of this library")
