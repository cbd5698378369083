"""A server under check: in this process behind its transport, or in another one that serves a `ProbeHandler`.

Must never look at what the server did; that is in its journal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import attrs
import trio

from ...abc import ClientTransport, ServerTransport
from ...errors import TransportError
from ...limits import Limits
from ...metrics import TransportStatistics
from ...service import serve
from ...wire.envelope import ServerInfo
from .journal import Journal, MemoryJournal
from .probe import ProbeHandler

__all__ = ["ClientFactory", "LocalServer", "RemoteServer", "ServeOptions", "Served"]

ClientFactory = Callable[[tuple[str, ...]], ClientTransport]
"""Makes a client transport that leads to a server with these addresses."""

PROBE_INFO = ServerInfo("probe", "1")


@attrs.frozen(kw_only=True)
class ServeOptions:
    """How a check wants its server.

    Attributes:
        limits: As for `serve`.
        drain: As for `serve`, in seconds.
    """

    limits: Limits = attrs.field(factory=Limits)
    drain: float = 5.0


class RemoteServer(ABC):
    """A server in another process, for transports that are one, such as standard input and output.

    The other process serves a `ProbeHandler` with the options it was told, and notes the event ``served`` before and
    ``done`` after each run of `serve`.
    """

    @abstractmethod
    def prepare(self, options: ServeOptions) -> tuple[str, ...]:
        """Take the options of the next servers and return the addresses for the client factory."""

    @property
    @abstractmethod
    def journal(self) -> Journal:
        """What the servers' handlers saw."""

    @abstractmethod
    def shutdown(self) -> None:
        """Ask the servers to answer what was asked and end."""

    @abstractmethod
    def cancel(self) -> None:
        """Ask the servers to end at once."""


class Served(ABC):
    """A running server.

    Attributes:
        addresses: What it reported.
        journal: What its handler saw.
    """

    addresses: tuple[str, ...]
    journal: Journal

    @abstractmethod
    def shutdown(self) -> None:
        """Let it answer what was asked and end."""

    @abstractmethod
    def cancel(self) -> None:
        """Let it end at once."""

    @abstractmethod
    async def wait_ended(self) -> None:
        """Wait until it has returned; a checkpoint."""

    def statistics(self) -> TransportStatistics:
        """Return the transport's counters; zeros where the server is another process."""
        return TransportStatistics()


class LocalServer(Served):
    """A server transport that serves in this process.

    Attributes:
        transport: The transport.
        options: How it is served.
        failure: What `serve` raised, or None.
    """

    def __init__(self, transport: ServerTransport, options: ServeOptions) -> None:
        self.transport = transport
        self.addresses: tuple[str, ...] = ()
        self._notebook = MemoryJournal()
        self.journal: Journal = self._notebook
        self.failure: TransportError | None = None
        self.options = options
        self._shutdown = trio.Event()
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until told to end; started with the addresses, also by a transport that never begins."""
        handler = ProbeHandler(self._notebook)
        status = _Status(self, task_status)
        try:
            with self._scope:
                await serve(
                    handler,
                    self.transport,
                    shutdown=self._shutdown,
                    drain=self.options.drain,
                    limits=self.options.limits,
                    server_info=PROBE_INFO,
                    task_status=status,  # type: ignore[arg-type]  # one in shape
                )
        except TransportError as error:
            self.failure = error
        finally:
            self._ended.set()
            status.over()

    def shutdown(self) -> None:
        """Set the event that makes it drain."""
        self._shutdown.set()

    def cancel(self) -> None:
        """Cancel it."""
        self._scope.cancel()

    async def wait_ended(self) -> None:
        """Wait until `serve` has returned; a checkpoint."""
        await self._ended.wait()

    def statistics(self) -> TransportStatistics:
        """Return the transport's counters."""
        return self.transport.statistics()


class _Status:
    """Passes the addresses on, once; what a transport reports a second time is its own affair."""

    def __init__(self, server: LocalServer, status: trio.TaskStatus[tuple[str, ...]]) -> None:
        self._server = server
        self._status: trio.TaskStatus[tuple[str, ...]] | None = status

    def started(self, addresses: tuple[str, ...]) -> None:
        self._server.addresses = addresses
        status, self._status = self._status, None
        if status is not None:
            status.started(addresses)

    def over(self) -> None:
        if self._status is not None:
            self.started(())


class ElsewhereServer(Served):
    """A `RemoteServer`, as the checks see it."""

    def __init__(self, remote: RemoteServer, options: ServeOptions) -> None:
        self._remote = remote
        self.addresses: tuple[str, ...] = remote.prepare(options)
        self.journal: Journal = remote.journal

    def shutdown(self) -> None:
        """Ask it to drain."""
        self._remote.shutdown()

    def cancel(self) -> None:
        """Ask it to end at once."""
        self._remote.cancel()

    async def wait_ended(self) -> None:
        """Wait until every run of it that began has returned; a checkpoint."""
        journal = self.journal
        while len(journal.select("served")) != len(journal.select("done")):
            await journal.changed()
        await trio.lowlevel.checkpoint()
