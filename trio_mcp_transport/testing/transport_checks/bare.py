"""Clients below `Client`: one that chooses its ids and sizes, one over a stream that misbehaves, one of raw frames.

Must never be used by a check that `Client` would serve as well.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from ...abc import ClientTransport, FrameCodec, MessageLink
from ...call import Call
from ...client_attempt import Attempt
from ...connect import ClientConnection, ClientSetup
from ...context import ConnectionInfo
from ...deadlines import Deadlines
from ...dispatcher import Dispatcher
from ...exchange import Exchange
from ...handlers import Handlers
from ...intake import Intake
from ...limits import Limits
from ...metrics import TransportMetrics
from ...pipe.client import CLIENT_MESSAGE_SIZE, PipeConnection
from ...pipe.end import connection_id
from ...pipe.framed import FramedLink
from ...transports.eras import ClientInbound
from ...transports.firewall import run_contained
from ...transports.negotiation import ModernTerms
from ...wire import messages
from ...wire.envelope import ClientInfo
from ...wire.messages import Batch, Message, MessageId, Request, Response
from ...wire.revisions import LATEST_MODERN
from ...wire.signals import Signal
from .bench import Bench
from .served import Served

__all__ = [
    "BareClient",
    "RawPeer",
    "WrappedClientTransport",
    "modern_request",
    "open_bare",
    "open_raw",
    "sized_request",
]


def modern_request(id_: MessageId, method: str, **params: Any) -> Request:
    """Return a request as a modern client sends it."""
    return Request(id_, method, ModernTerms(ClientInfo("check", "1")).prepare(params, None))


def sized_request(id_: MessageId, size: int, **params: Any) -> Request:
    """Return a ``check/measure`` request whose JSON text has exactly this many bytes."""
    empty = len(messages.encode(modern_request(id_, "check/measure", text="", **params)))
    return modern_request(id_, "check/measure", text="x" * (size - empty), **params)


class BareClient:
    """One connection without a `Client`: requests as they are, answers as they come.

    Attributes:
        connection: The connection.
    """

    def __init__(self, connection: ClientConnection, limits: Limits) -> None:
        self.connection = connection
        self._limits = limits

    async def request(self, request: Request) -> Response:
        """Send a request as it is and return its response.  A checkpoint.

        Raises:
            TransportError: There will be none.
        """
        call = Call(request, Deadlines(total=None), self._limits)
        try:
            await self.connection.send_call(call)
            return await call.answer()
        finally:
            call.abandon()


@asynccontextmanager
async def open_bare(bench: Bench, served: Served, limits: Limits | None = None) -> AsyncIterator[BareClient]:
    """Open a connection that speaks 2026-07-28 without asking first."""
    limits = limits or Limits()
    send, receive = trio.open_memory_channel[Exchange](math.inf)
    handler, closing = Handlers(), trio.Event()
    dispatcher = Dispatcher(handler, receive)
    intake = Intake(
        send,
        handler,
        lambda port: ClientInbound(port, lambda: LATEST_MODERN),
        dispatcher,
        limits=limits,
        drain=0.0,
        shutdown=closing,
        contain=run_contained,
    )
    setup = ClientSetup(intake=intake, limits=limits, deadlines=Deadlines(connect=bench.channel.patience))
    attempt = Attempt(bench.transport(served), setup)
    bench.nursery.start_soon(dispatcher.run)
    bench.nursery.start_soon(attempt.run)
    with bench.within("a connection"):
        connection = await attempt.connection()
    try:
        yield BareClient(connection, limits)
    finally:
        connection.close()
        with trio.CancelScope(shield=True), trio.move_on_after(bench.channel.patience):
            await attempt.ended.wait()
        send.close()


class WrappedClientTransport(ClientTransport):
    """A client over the raw stream of a transport, with something between."""

    def __init__(
        self,
        bench: Bench,
        served: Served,
        *,
        wrap: Callable[[trio.abc.Stream], trio.abc.Stream] = lambda stream: stream,
        wrap_link: Callable[[MessageLink], MessageLink] = lambda link: link,
    ) -> None:
        """Wrap the stream, or the link over it."""
        self._connect = bench.channel.connect_stream
        self._codec = bench.channel.codec
        self._addresses = served.addresses
        self._wrap = wrap
        self._wrap_link = wrap_link

    async def run(
        self, setup: ClientSetup, *, task_status: trio.TaskStatus[ClientConnection] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Connect and serve the connection; see `abc.ClientTransport.run`."""
        assert self._connect is not None, "a check that wraps streams needs connect_stream"
        stream = self._wrap(await self._connect(self._addresses))
        codec = self._codec(setup.limits.message_size(CLIENT_MESSAGE_SIZE))
        metrics = TransportMetrics()
        link = FramedLink(stream, codec, setup.limits, write_deadline=setup.limits.write_deadline, metrics=metrics)
        info = ConnectionInfo(transport="check", connection_id=connection_id("check"))
        await PipeConnection(setup, self._wrap_link(link), info, metrics).run(task_status=task_status)


class RawPeer:
    """The client's end of a raw stream: frames out, messages in.

    Attributes:
        stream: The stream.
        codec: The codec of this side.
    """

    def __init__(self, stream: trio.abc.Stream, codec: FrameCodec) -> None:
        self.stream = stream
        self.codec = codec

    async def send(self, *payloads: bytes | Message) -> None:
        """Send messages, or what shall stand in a frame; a checkpoint."""
        texts = [text if isinstance(text, bytes) else messages.encode(text) for text in payloads]
        await self.stream.send_all(b"".join(self.codec.encode(text) for text in texts))

    async def receive(self) -> Message | Batch | None:
        """Return the next message, or None at the end of the stream.  A checkpoint.

        Raises:
            TransportError: What came is no message.
        """
        while True:
            frame = self.codec.next_frame()
            if frame is Signal.END_OF_STREAM:
                return None
            if not isinstance(frame, Signal):
                return messages.decode(frame)
            self.codec.feed(bytes(await self.stream.receive_some()))
            if control := self.codec.bytes_to_send():
                await self.stream.send_all(control)


@asynccontextmanager
async def open_raw(bench: Bench, served: Served) -> AsyncIterator[RawPeer]:
    """Open a raw stream to a server."""
    assert bench.channel.connect_stream is not None, "a check of raw streams needs connect_stream"
    with bench.within("a raw stream to the server"):
        stream = await bench.channel.connect_stream(served.addresses)
    try:
        yield RawPeer(stream, bench.channel.codec(CLIENT_MESSAGE_SIZE))
    finally:
        await trio.aclose_forcefully(stream)
