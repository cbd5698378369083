"""`connect`: a handler and a client in one process, for tests of handlers and of the core.

Must never start a process or open a descriptor, so that a whole conversation runs under a virtual clock.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import trio

from ..abc import ClientTransport, FrameCodec, MessageHandler, ServerTransport
from ..client import Client
from ..client_block import open_client
from ..errors import ConnectionClosed, TransportError
from ..limits import Limits
from ..service import DRAIN, serve
from ..subscriptions import Subscriptions
from ..transports.eras import EraPolicy
from ..transports.memory import memory_transports
from ..transports.negotiation import Era
from ..wire.envelope import ServerInfo
from ..wire.newline import NewlineCodec
from .streams import StreamClientTransport, StreamServerTransport, byte_stream_pair

__all__ = ["StreamPair", "connect"]

StreamPair = Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]]
"""Makes the client's and the server's end of one connection."""

TEST_SERVER = ServerInfo("test-server", "0")


class connect:
    """A block in which a handler is served and a client of it is open.

    ::

        async with connect(handler, era="legacy") as client:
            assert await client.request("echo", {"text": "hi"}) == {"text": "hi"}

    With ``nursery`` both sides live there, and the block may be left in any task.  Without it the block holds a nursery
    of its own and must be entered and left in one task.

    Attributes:
        shutdown: Set it to let the server drain; leaving the block sets it.
        server_transport: For its statistics.
        client_transport: For further clients of the same server, when no bytes are used: `open_client` takes it again.
    """

    server_transport: ServerTransport
    client_transport: ClientTransport

    def __init__(
        self,
        handler: MessageHandler,
        *,
        era: Era = "auto",
        bytes: bool = False,
        codec: Callable[[int], FrameCodec] | None = None,
        streams: StreamPair | None = None,
        nursery: trio.Nursery | None = None,
        server_info: ServerInfo | None = TEST_SERVER,
        subscriptions: Subscriptions | None = None,
        limits: Limits | None = None,
        drain: float = DRAIN,
        eras: EraPolicy | None = None,
        shutdown: trio.Event | None = None,
        client_handler: MessageHandler | None = None,
        client_limits: Limits | None = None,
        **client_options: Any,
    ) -> None:
        """Take the options of both sides; nothing happens before the block is entered.

        Args:
            handler: The server's.
            era: What the client speaks.
            bytes: Send bytes through a codec over streams in memory, instead of message objects.
            codec: Makes a codec for a largest message in bytes; implies ``bytes``.  Newline-delimited by default.
            streams: Makes the two ends, such as `FaultPlan.streams`; implies ``bytes``.  A bounded pair by default.
            nursery: Where both sides live; None for a nursery of the block's own.
            server_info: As for `serve`; None leaves ``server/discover`` and ``initialize`` to the handler.
            subscriptions: As for `serve`.
            limits: The server's.
            drain: As for `serve`, in seconds.
            eras: As for `serve`.
            shutdown: As for `serve`.
            client_handler: ``handler`` of `open_client`.
            client_limits: ``limits`` of `open_client`.
            **client_options: The further options of `open_client`, such as ``client_info`` and ``deadlines``.
        """
        self.shutdown: trio.Event = trio.Event() if shutdown is None else shutdown
        use_bytes = bytes or codec is not None or streams is not None
        self.server_transport, self.client_transport = _transports(use_bytes, codec, streams)
        self._nursery = nursery
        self._manager: Any = None
        self._client_block: open_client | None = None
        self._server = _Server(
            handler,
            self.server_transport,
            shutdown=self.shutdown,
            drain=drain,
            server_info=server_info,
            subscriptions=subscriptions,
            limits=limits,
            eras=eras,
        )
        self._client_options: dict[str, Any] = {
            "era": era,
            "handler": client_handler,
            "limits": client_limits,
            **client_options,
        }

    async def __aenter__(self) -> Client:
        """Start the server, then the client.  A checkpoint; cancelled, nothing is left.

        Raises:
            TransportError: As for `open_client`, or the server could not begin.
            RpcError: As for `open_client`.
        """
        nursery = self._nursery
        if nursery is None:
            self._manager = trio.open_nursery()
            nursery = await self._manager.__aenter__()
        block = open_client(self.client_transport, nursery=nursery, **self._client_options)
        try:
            nursery.start_soon(self._server.run)
            with self._server.opening:
                client = await block.__aenter__()
                self._client_block = block
                return client
            # Only a server that failed cancels the opening.
            raise self._server.failure or ConnectionClosed("the server has ended")
        except BaseException:
            await self._end(cancel=True)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client, then let the server drain; after an exception the server is cancelled instead.

        A checkpoint; takes no longer than the closing of the client and ``drain`` with its grace times.

        Raises:
            TransportError: The server failed.
        """
        assert self._client_block is not None
        await self._client_block.__aexit__(kind, error, traceback)
        await self._end(cancel=error is not None)
        if error is None and self._server.failure is not None:
            raise self._server.failure

    async def _end(self, *, cancel: bool) -> None:
        self.shutdown.set()
        if cancel:
            self._server.scope.cancel()
        with trio.CancelScope(shield=True):
            # Bounded by the drain and the grace of the server.
            await self._server.ended.wait()
        if self._manager is not None:
            await self._manager.__aexit__(None, None, None)


def _transports(
    use_bytes: bool, codec: Callable[[int], FrameCodec] | None, streams: StreamPair | None
) -> tuple[ServerTransport, ClientTransport]:
    if not use_bytes:
        return memory_transports()
    codec = codec or NewlineCodec
    near, far = (streams or byte_stream_pair)()
    return StreamServerTransport(far, codec=codec), StreamClientTransport(near, codec=codec)


class _Server:
    """The task of the server, which never raises into the nursery it runs in."""

    def __init__(self, handler: MessageHandler, transport: ServerTransport, **options: Any) -> None:
        self._arguments = (handler, transport)
        self._options = options
        self.scope = trio.CancelScope()
        self.opening = trio.CancelScope()
        self.ended = trio.Event()
        self.failure: TransportError | None = None

    async def run(self) -> None:
        try:
            with self.scope:
                await serve(*self._arguments, **self._options)
        except TransportError as error:
            self.failure = error
            # Nobody is left to answer a client that is just opening: it need not wait for its deadline.
            self.opening.cancel()
        finally:
            self.ended.set()
