"""MCP over standard input and output: the server's side of its own descriptors, the client's side of a child.

Must never leave descriptor 0 or 1, their flags, a child or a helper of a child behind, on any exit path.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence

import trio

from ..abc import ClientTransport, FrameCodec, ServerTransport
from ..connect import ClientConnection, ClientSetup
from ..context import ConnectionInfo, Peer
from ..errors import ConnectionClosed, ConnectionFailed, LocalProtocolError, TransportError
from ..intake import Intake
from ..metrics import TransportMetrics, TransportStatistics
from ..pipe.client import CLIENT_MESSAGE_SIZE, PipeConnection
from ..pipe.end import connection_id
from ..pipe.framed import FramedLink
from ..pipe.server import SERVER_MESSAGE_SIZE, serve_link
from ..wire.newline import NewlineCodec
from .child import GRACE, Child
from .hangup import wait_hangup
from .restart import RestartPolicy
from .spawn import spawn
from .stderr_policy import StderrPolicy
from .stdio_guard import StdioGuard

__all__ = ["StdioClientTransport", "StdioServerTransport"]


class StdioServerTransport(ServerTransport):
    """Serves this process's standard input and output, one message per line.

    While it runs, descriptor 0 is ``/dev/null`` and descriptor 1 leads to standard error, so that a stray `print` or a
    child process cannot reach the wire; afterwards both are what they were.  End of input means: answer what was asked,
    within ``drain``, then end.  There is no write deadline: a debugger may hold the other end for minutes.
    """

    def __init__(self, *, codec: Callable[[int], FrameCodec] = NewlineCodec) -> None:
        """Choose the framing.

        Args:
            codec: Makes the codec for a largest message in bytes; newline-delimited unless chosen otherwise.
        """
        self._codec = codec
        self._metrics = TransportMetrics()
        self._used = False

    async def run(
        self, exchanges: Intake, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until end of input or shutdown; see `abc.ServerTransport.run`.

        Raises:
            LocalProtocolError: It has run before, or another transport holds standard input.
            ConnectionFailed: Descriptor 0 or 1 is closed.
        """
        if self._used:
            raise LocalProtocolError("a transport object runs once")
        self._used = True
        limits = exchanges.limits
        with StdioGuard() as guard:
            codec = self._codec(limits.message_size(SERVER_MESSAGE_SIZE))
            link = FramedLink(guard.pair, codec, limits, metrics=self._metrics)
            info = ConnectionInfo(transport="stdio", connection_id=connection_id("stdio"))
            task_status.started(("stdio:",))
            given_up = functools.partial(_wait_given_up, guard, exchanges.shutdown)
            await serve_link(exchanges, link, info, self._metrics, given_up=given_up)

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters."""
        return self._metrics.snapshot()


async def _wait_given_up(guard: StdioGuard, shutdown: trio.Event) -> TransportError | None:
    """Wait until the answers have no reader, or a request to stop follows the end of input."""
    failure: TransportError | None = None
    async with trio.open_nursery() as nursery:
        if not shutdown.is_set():
            nursery.start_soon(_cancel_at, shutdown, nursery.cancel_scope)
        fd = guard.send_stream.fileno()
        if fd != -1:  # Otherwise there was nothing to answer, and the end is here.
            await wait_hangup(fd)
            failure = ConnectionFailed("nobody reads standard output any more")
            nursery.cancel_scope.cancel()
    return failure


async def _cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


class StdioClientTransport(ClientTransport):
    """Starts a program and speaks with it over its standard input and output.

    The program leads a process group of its own, and whatever is left of the group is killed in the end.  The command
    is a list of arguments, never a string for a shell.

    Attributes:
        restart: When to start the program again after it ended by itself; None for never.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        inherit_env: bool = False,
        cwd: str | os.PathLike[str] | None = None,
        stderr: StderrPolicy = "inherit",
        restart: RestartPolicy | None = None,
        eof_grace: float = GRACE,
        term_grace: float = GRACE,
        kill_grace: float = GRACE,
        codec: Callable[[int], FrameCodec] = NewlineCodec,
    ) -> None:
        """Describe the program; it is started when a client opens this transport.

        Args:
            command: The program and its arguments.
            env: Variables added to a short list of harmless ones that the program always gets.
            inherit_env: Pass this program's whole environment instead of that list.
            cwd: Its working directory; None for this program's.
            stderr: ``inherit``, ``capture`` (a bounded tail, shown in errors), ``devnull``, or a function called with
                each line.
            restart: Start it again after an unexpected end; open listens are sent again, other calls are lost.
            eof_grace: Seconds it has after the end of its input.
            term_grace: Seconds it has after SIGTERM.
            kill_grace: Seconds it has after SIGKILL.
            codec: Makes the codec for a largest message in bytes.
        """
        self._command = command
        self._environment = {"env": env, "inherit_env": inherit_env, "cwd": cwd, "stderr": stderr}
        self._graces = {"eof_grace": eof_grace, "term_grace": term_grace, "kill_grace": kill_grace}
        self._codec = codec
        self._metrics = TransportMetrics()
        self._child: Child | None = None
        self.restart = restart

    @property
    def address(self) -> str:
        """``stdio:`` and the program's name; arguments may hold secrets."""
        return f"stdio:{self._command[0]}" if self._command and not isinstance(self._command, str) else "stdio:"

    @property
    def pid(self) -> int | None:
        """Process id of the running program, or None."""
        return None if self._child is None else self._child.pid

    @property
    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines of the program's standard error, where they are captured."""
        return () if self._child is None else self._child.stderr_tail

    # An interrupt between the start of the child and the block that ends it would leave the child behind; it goes to
    # the main task instead.
    @trio.lowlevel.enable_ki_protection
    async def run(
        self, setup: ClientSetup, *, task_status: trio.TaskStatus[ClientConnection] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Start the program and serve the connection to its end; see `abc.ClientTransport.run`.

        Whatever ends it, the program is ended: its input is closed, then SIGTERM, then SIGKILL to its group, each after
        its grace, under any cancellation.

        Raises:
            ConfigError: The command or an option is unusable.
            ConnectionFailed: The program cannot be started.
            ConnectionClosed: It ended; the error has its exit status and its last lines of standard error.
        """
        if self._child is not None and self._child.exit_status is None:
            raise LocalProtocolError("this transport already runs")
        # Before there is a child: whatever raises between its start and the block below would leave it running.
        codec = self._codec(setup.limits.message_size(CLIENT_MESSAGE_SIZE))
        child = await spawn(self._command, **self._environment)  # type: ignore[arg-type]  # checked by __init__
        self._child = child
        link = FramedLink(child.pair, codec, setup.limits, owns_stream=False, metrics=self._metrics)
        info = ConnectionInfo(transport="stdio", connection_id=connection_id("stdio"), peer=Peer(address=self.address))

        async def explain(error: TransportError) -> TransportError:
            await child.settle()
            failure = child.exit_error(established=self._metrics.messages_received > received_before)
            failure.__cause__ = error if not isinstance(error, ConnectionClosed) else None
            return failure

        received_before = self._metrics.messages_received
        connection = PipeConnection(setup, link, info, self._metrics, explain=explain)
        failure: TransportError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child.drain_stderr)
                try:
                    await connection.run(task_status=task_status)
                except TransportError as error:
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            await child.shutdown(**self._graces)
        if failure is not None:
            raise failure

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters, over all restarts."""
        return self._metrics.snapshot()
