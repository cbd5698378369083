"""One run of a client transport: its connection once it stands, its failure once it ended.

Must never decide what a failure means: whether to connect again is the business of `client_runner`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import trio

from .abc import ClientTransport
from .call import Call
from .connect import ClientConnection, ClientSetup
from .deadlines import Deadlines
from .errors import ConnectionClosed, TransportError
from .transports.firewall import run_contained
from .wire.messages import Request

__all__ = ["Attempt", "ask"]


class Attempt:
    """Runs a transport once and remembers what came of it.

    Attributes:
        ended: Set when the transport has returned, whatever the cause.
        failure: What it ended with, or None; meaningful once it has ended.
    """

    def __init__(self, transport: ClientTransport, setup: ClientSetup) -> None:
        self._transport = transport
        self._setup = setup
        self._connection: ClientConnection | None = None
        self._changed = trio.Event()
        self.ended: trio.Event = trio.Event()
        self.failure: TransportError | None = None

    def started(self, connection: ClientConnection) -> None:
        """Take the connection; the transport calls this as ``task_status.started``."""
        self._connection = connection
        self._changed.set()

    async def run(self) -> None:
        """Run the transport to its end; nothing but cancellation is raised."""
        run = partial(self._transport.run, self._setup, task_status=self)  # type: ignore[arg-type]  # one in shape
        try:
            self.failure = await run_contained(run)
        finally:
            self.ended.set()
            self._changed.set()

    async def connection(self) -> ClientConnection:
        """Wait for the connection; a checkpoint, cancel-safe.

        Raises:
            TransportError: There will be none.
        """
        await self._changed.wait()
        if self._connection is None:
            raise self.failure or ConnectionClosed(f"{self._transport.address} ended before it connected")
        return self._connection

    def close(self) -> bool:
        """Begin to close the connection without waiting; return whether there is one."""
        if self._connection is not None:
            self._connection.close()
        return self._connection is not None


async def ask(connection: ClientConnection, setup: ClientSetup, method: str, params: Mapping[str, Any]) -> Any:
    """Send a request as it is and return the decoded result; for the negotiation, before there are terms.

    A checkpoint.  Has no deadline of its own: the whole of connecting has one.

    Raises:
        RpcError: The server answered with an error.
        TransportError: There will be no answer.
    """
    call = Call(Request(connection.next_id(), method, params), Deadlines(total=None), setup.limits)
    await connection.send_call(call)
    response = await call.answer()
    if response.error is not None:
        raise response.error
    return response.result
