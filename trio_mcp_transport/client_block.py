"""`open_client`: a client for the length of an ``async with`` block.

Must never be a generator: a block that holds a nursery and a ``yield`` cannot be closed safely, and with ``nursery=``
this one may be left in any task.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import trio

from .abc import ClientTransport, MessageHandler
from .client import Client
from .client_lifecycle import run_client
from .deadlines import Deadlines
from .errors import ConnectionClosed, LocalProtocolError, RpcError, TransportError
from .limits import Limits
from .transports.negotiation import Era
from .wire.envelope import ClientInfo

__all__ = ["open_client"]


class open_client:  # in lower case: used as a function in front of ``async with``, as trio.open_nursery is
    """A block in which a client is open.

    With ``nursery`` the client's tasks live there, and the block may be left in any task.  Without it the block holds a
    nursery of its own and must be entered and left in one task; the body's exceptions leave unwrapped, and a dead
    connection does not cancel the body.
    """

    def __init__(
        self,
        transport: ClientTransport,
        *,
        nursery: trio.Nursery | None = None,
        client_info: ClientInfo | None = None,
        handler: MessageHandler | None = None,
        era: Era = "auto",
        limits: Limits | None = None,
        deadlines: Deadlines | None = None,
        **options: Any,
    ) -> None:
        """Take the options of `run_client`; nothing happens before the block is entered.

        Args:
            transport: How to reach the server.
            nursery: Where the client's tasks live; None for one of the block's own.
            client_info: As for `run_client`.
            handler: As for `run_client`.
            era: As for `run_client`.
            limits: As for `run_client`.
            deadlines: As for `run_client`.
            **options: The further options of `run_client`.
        """
        self._nursery = nursery
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._task: trio.lowlevel.Task | None = None
        self._opening: _Opening | None = None
        self._transport = transport
        self._options: dict[str, Any] = {
            "client_info": client_info,
            "handler": handler,
            "era": era,
            "limits": limits,
            "deadlines": deadlines,
            **options,
        }

    async def __aenter__(self) -> Client:
        """Connect and find out the era.  A checkpoint; cancelled, nothing is left open.

        Raises:
            TransportError: As for `run_client`.
            RpcError: As for `run_client`.
            LocalProtocolError: The block was entered before.
        """
        if self._opening is not None:
            raise LocalProtocolError("an open_client block is entered once")
        self._opening = opening = _Opening(self._transport, self._options)
        nursery = self._nursery
        if nursery is None:
            self._task = trio.lowlevel.current_task()
            self._manager = trio.open_nursery()
            nursery = await self._manager.__aenter__()
        nursery.start_soon(opening.run)
        try:
            return await opening.client()
        except BaseException as error:
            opening.scope.cancel()
            await self._wait_until_gone(opening, error)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client and wait until nothing is left.

        A checkpoint; under cancellation the closing keeps its own bounds.

        Raises:
            RuntimeError: The block has a nursery of its own and is left in another task than it was entered in.
        """
        opening = self._opening
        if opening is None:
            raise LocalProtocolError("this open_client block was never entered")
        opening.close()
        if self._manager is not None and trio.lowlevel.current_task() is not self._task:
            raise RuntimeError("open_client without nursery= is entered and left in one task; pass nursery=")
        await self._wait_until_gone(opening, error)

    async def _wait_until_gone(self, opening: _Opening, error: BaseException | None) -> None:
        if self._manager is None:
            with trio.CancelScope(shield=True):
                # Bounded by the transport: it flushes, ends its child and closes within grace times of its own.
                await opening.ended.wait()
            return
        try:
            await self._manager.__aexit__(None, None, None)
        except* trio.Cancelled:
            # The body's own exception goes first.  A cancellation that still stands comes again at the next checkpoint.
            if error is None:
                raise


class _Opening:
    """The task behind one `open_client` block, which never raises an error into the nursery it runs in."""

    def __init__(self, transport: ClientTransport, options: Mapping[str, Any]) -> None:
        self._transport = transport
        self._options = options
        self._changed = trio.Event()
        self._client: Client | None = None
        self._error: TransportError | RpcError | None = None
        self.scope = trio.CancelScope()
        self.ended = trio.Event()

    def started(self, client: Client) -> None:
        """Take the client; `run_client` calls this as ``task_status.started``."""
        self._client = client
        self._changed.set()

    async def run(self) -> None:
        try:
            with self.scope:
                await run_client(self._transport, **self._options, task_status=self)  # type: ignore[arg-type]  # in shape
        except (TransportError, RpcError) as error:
            self._error = error
        finally:
            self._changed.set()
            self.ended.set()

    async def client(self) -> Client:
        await self._changed.wait()
        if self._client is None:
            raise self._error or ConnectionClosed("the client was cancelled before it connected")
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
