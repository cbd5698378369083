"""Objects with async `send`, `receive` and `close` as our transports, in both roles, and ours in that shape.

Must never start a task that outlives `run`, and must never change what the object is asked: whole messages, one at a
time.
"""

from __future__ import annotations

from typing import Any

import trio

from ..abc import ClientTransport, MessageHandler, ServerTransport
from ..client_block import open_client
from ..connect import ClientConnection, ClientSetup
from ..context import ConnectionInfo
from ..errors import ConfigError, LocalProtocolError, TransportError
from ..intake import Intake
from ..metrics import TransportMetrics, TransportStatistics
from ..pipe.client import CLIENT_MESSAGE_SIZE, PipeConnection
from ..pipe.end import connection_id
from ..pipe.server import SERVER_MESSAGE_SIZE, serve_link
from ..service import serve
from .buffered import BufferedTransport
from .bytes_link import BytesLink, BytesTransport
from .raw import as_bytes_transport
from .wrappers import OneAtATime

__all__ = [
    "BytesClientTransport",
    "BytesServerTransport",
    "BytesTransport",
    "as_bytes_transport",
    "open_bytes_client",
    "serve_bytes",
]


class _Adapter:
    """What both roles share: the object, made fit for being read and written by two tasks, and a single use of it."""

    def __init__(
        self,
        transport: BytesTransport,
        *,
        max_message_size: int | None = None,
        exclusive: bool = False,
        cancel_safe: bool = True,
        lockstep: bool = False,
    ) -> None:
        """Take an object over; it is closed at the end.

        Args:
            transport: Somebody's transport.
            max_message_size: Largest message it takes, in bytes: larger ones are refused before they reach it, each
                alone.  None: its attribute of this name, where it has one.
            exclusive: It cannot send while it receives, such as one that holds a lock meanwhile (Rust's ``&mut self``):
                a pending `receive` is cancelled for each `send` and called again.
            cancel_safe: Whether a cancelled `receive` leaves it usable.  If not, a task of its own receives, one
                message ahead, and is cancelled by nothing but the end.
            lockstep: Its `receive` fails instead of waiting when there is nothing, as a mock's does: it is called only
                while an answer is owed, on a server while none is.

        Raises:
            ConfigError: ``exclusive`` needs a `receive` that can be cancelled.
        """
        if exclusive and not cancel_safe:
            raise ConfigError("an exclusive transport whose receive cannot be cancelled can never send")
        self._max_message_size = max_message_size
        self._lockstep = lockstep
        if exclusive:
            transport = OneAtATime(transport)
        elif not cancel_safe:
            transport = BufferedTransport.for_reading(transport)
        self._transport = transport
        self._metrics = TransportMetrics()
        self._used = False

    def _use(self) -> None:
        if self._used:
            raise LocalProtocolError("a transport object runs once")
        self._used = True

    async def _beside(self, nursery: trio.Nursery) -> None:
        """Start what the object wants to have running, if anything."""
        background = getattr(self._transport, "run_background", None)
        if background is not None:
            await nursery.start(background)

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters."""
        return self._metrics.snapshot()


class BytesServerTransport(_Adapter, ServerTransport):
    """Serves one peer through a `BytesTransport`."""

    async def run(
        self, exchanges: Intake, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until the peer ends or shutdown; see `abc.ServerTransport.run`.

        An error named ``Closed`` from `receive`, or ``b""``, is the end of input: what was asked is still answered.
        Every other error ends the connection, and reaches ``handle_error`` as a `TransportError` with ``__cause__``.

        Raises:
            LocalProtocolError: It has run before.
        """
        self._use()
        limits = exchanges.limits
        link = BytesLink(
            self._transport,
            limits,
            largest=limits.message_size(SERVER_MESSAGE_SIZE),
            serving=True,
            lockstep=self._lockstep,
            max_message_size=self._max_message_size,
            metrics=self._metrics,
        )
        info = ConnectionInfo(transport="bytes", connection_id=connection_id("bytes"))
        async with trio.open_nursery() as nursery:
            await self._beside(nursery)
            task_status.started(("bytes:",))
            await serve_link(exchanges, link, info, self._metrics)
            nursery.cancel_scope.cancel()


class BytesClientTransport(_Adapter, ClientTransport):
    """Reaches one server through a `BytesTransport`."""

    @property
    def address(self) -> str:
        """``bytes:``."""
        return "bytes:"

    async def run(
        self, setup: ClientSetup, *, task_status: trio.TaskStatus[ClientConnection] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve the connection until either side ends it; see `abc.ClientTransport.run`.

        The object is first used by the first `send`: one that connects then does so once.

        Raises:
            LocalProtocolError: It has run before.
            TransportError: What the object raised, with it as ``__cause__``.
        """
        self._use()
        link = BytesLink(
            self._transport,
            setup.limits,
            largest=setup.limits.message_size(CLIENT_MESSAGE_SIZE),
            serving=False,
            lockstep=self._lockstep,
            max_message_size=self._max_message_size,
            metrics=self._metrics,
        )
        info = ConnectionInfo(transport="bytes", connection_id=connection_id("bytes"))
        failure: TransportError | None = None
        async with trio.open_nursery() as nursery:
            await self._beside(nursery)
            try:
                await PipeConnection(setup, link, info, self._metrics).run(task_status=task_status)
            except TransportError as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure


async def serve_bytes(
    handler: MessageHandler,
    transport: BytesTransport,
    *,
    max_message_size: int | None = None,
    exclusive: bool = False,
    cancel_safe: bool = True,
    lockstep: bool = False,
    task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED,
    **options: Any,
) -> None:
    """Serve one peer through somebody's `BytesTransport`, until it ends; `service.serve` around the adapter.

    A checkpoint.  Cancelled, it ends now.

    Args:
        handler: Gets every message the library does not answer itself.
        transport: The object; closed at the end.
        max_message_size: As for `BytesServerTransport`.
        exclusive: As for `BytesServerTransport`.
        cancel_safe: As for `BytesServerTransport`.
        lockstep: As for `BytesServerTransport`.
        task_status: Told the address once messages can come.
        **options: As for `service.serve`.

    Raises:
        TransportError: As for `service.serve`.
    """
    server = BytesServerTransport(
        transport,
        max_message_size=max_message_size,
        exclusive=exclusive,
        cancel_safe=cancel_safe,
        lockstep=lockstep,
    )
    await serve(handler, server, task_status=task_status, **options)


def open_bytes_client(
    transport: BytesTransport,
    *,
    max_message_size: int | None = None,
    exclusive: bool = False,
    cancel_safe: bool = True,
    lockstep: bool = False,
    **options: Any,
) -> open_client:
    """Return a block in which a client is open that reaches its server through somebody's `BytesTransport`.

    Args:
        transport: The object; closed at the end of the block.
        max_message_size: As for `BytesClientTransport`.
        exclusive: As for `BytesClientTransport`.
        cancel_safe: As for `BytesClientTransport`.
        lockstep: As for `BytesClientTransport`.
        **options: As for `open_client`.
    """
    client = BytesClientTransport(
        transport,
        max_message_size=max_message_size,
        exclusive=exclusive,
        cancel_safe=cancel_safe,
        lockstep=lockstep,
    )
    return open_client(client, **options)
