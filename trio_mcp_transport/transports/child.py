"""A child process that serves a protocol on its standard input and output: watching it and ending it.

The operating system's side only: this module must never look at what passes over the pipes, and never leave a process,
a descriptor or a zombie behind once `Child.shutdown` has run.
"""

from __future__ import annotations

import contextlib
import enum
import os
import signal
from typing import TYPE_CHECKING, cast

import attrs
import trio

from trio_mcp_transport.errors import ConnectionClosed, ConnectionFailed
from trio_mcp_transport.transports.exit_watch import ExitWatch

if TYPE_CHECKING:
    from trio_mcp_transport.transports.fdstream import FdPair, FdReceiveStream, FdSendStream
    from trio_mcp_transport.transports.stderr_policy import StderrCollector

__all__ = ["Child", "ChildExit", "ExitStage"]

GRACE = 2.0
"""Seconds a child has for each step of the shutdown; the official Python SDK gives the same."""
STDERR_GRACE = 0.5
"""Seconds to read on after the child's end, while a process that left its group holds standard error open."""


class ExitStage(enum.Enum):
    """What it took to end a child (M-IO-15)."""

    EXITED = "exited"
    """It had ended before it was asked to."""
    INPUT_CLOSED = "input closed"
    """It ended at the end of its input."""
    TERMINATED = "terminated"
    """It took SIGTERM."""
    KILLED = "killed"
    """It took SIGKILL."""
    ABANDONED = "abandoned"
    """It outlived even SIGKILL, stuck inside the kernel; the last grace is over."""


@attrs.frozen
class ChildExit:
    """How a child ended.

    Attributes:
        status: Its exit status, the negative number of the signal that ended it, or None if it was abandoned.
        stage: What it took.
    """

    status: int | None
    stage: ExitStage


class Child:
    """A running child process; made by `spawn`.

    Its owner starts `drain_stderr` in a nursery at once, and calls `shutdown` in the end, on every path.

    Attributes:
        name: The program, as it was given: the first element of the command.  Arguments may hold secrets and appear
            nowhere.
        pid: Its process number, which is also the number of its process group and session.
        pair: Its standard input and output as one duplex stream.
    """

    def __init__(
        self, name: str, process: trio.Process, pair: FdPair, stderr: FdReceiveStream | None, collector: StderrCollector
    ) -> None:
        self.name = name
        self.pid: int = process.pid
        self.pair = pair
        self._watch = ExitWatch(process)
        self._stderr = stderr
        self._collector = collector
        self._drain_lock = trio.Lock()
        self._stderr_ended = trio.Event()
        if stderr is None:
            self._stderr_ended.set()
        self._shutdown_lock = trio.Lock()
        self._exit: ChildExit | None = None

    @property
    def stdin(self) -> FdSendStream:
        """The way to its standard input."""
        return self.pair.send_stream

    @property
    def stdout(self) -> FdReceiveStream:
        """What it writes to its standard output."""
        return self.pair.receive_stream

    @property
    def exit_status(self) -> int | None:
        """Its exit status, the negative number of the signal that ended it, or None while it runs."""
        return self._exit.status if self._exit is not None else self._watch.poll()

    @property
    def stderr_tail(self) -> tuple[str, ...]:
        """The last 20 lines of its standard error, oldest first; empty unless the policy reads it."""
        return self._collector.tail()

    async def wait(self) -> int:
        """Wait until it has ended, by whatever cause, and return its exit status.

        Any number of tasks may wait.  Always a checkpoint; cancellable.  It stays a zombie until `shutdown`.
        """
        return await self._watch.wait()

    async def settle(self, seconds: float = 1.0) -> None:
        """Wait until it has ended and its standard error was read to the end, but no longer than ``seconds``.

        For the moment after its output ended: only then does `exit_error` know the cause.  Always a checkpoint.
        """
        with trio.move_on_after(seconds):
            await self._watch.wait()
            await self._stderr_ended.wait()

    async def drain_stderr(self) -> None:
        """Read its standard error to the end, so that it never blocks on it (M-IO-07); returns at once if inherited.

        Cancellable without loss.  A second caller takes over when the first is cancelled.
        """
        async with self._drain_lock:
            if self._stderr is not None:
                with contextlib.suppress(trio.ClosedResourceError, trio.BrokenResourceError):
                    while data := await self._stderr.receive_some():
                        self._collector.feed(data)
                self._collector.finish()
                self._stderr_ended.set()

    async def shutdown(
        self, *, eof_grace: float = GRACE, term_grace: float = GRACE, kill_grace: float = GRACE
    ) -> ChildExit:
        """End it, gently first, and leave nothing behind (M-IO-15).

        Closes its standard input and waits; sends SIGTERM to its process group and waits; sends SIGKILL and waits.
        Each wait ends as soon as the child itself has ended.  Then whatever still lives in its group is killed, even
        after a clean exit: a server that needs a helper to outlive it has to give it a group of its own.  Call it when
        nobody needs the output any more: what nobody is reading is thrown away, so that it cannot block the child.

        Takes at most the three graces and half a second, under any cancellation: everything is shielded.  May be
        called again, from any task, and then gives the same result.

        Args:
            eof_grace: Seconds after the end of its input.
            term_grace: Seconds after SIGTERM.
            kill_grace: Seconds after SIGKILL.
        """
        with trio.CancelScope() as scope:
            scope.shield = True
            async with self._shutdown_lock:
                if self._exit is None:
                    self._exit = await self._end((eof_grace, term_grace, kill_grace))
        return cast("ChildExit", self._exit)  # A scope that nobody can cancel swallows nothing.

    def exit_error(self, *, established: bool = True) -> ConnectionFailed:
        """Build the one error that says what became of the child; call `settle` first.

        Args:
            established: Whether the connection had been of use before: makes it `ConnectionClosed`.
        """
        status, tail = self.exit_status, self.stderr_tail
        message = f"{self.name!r} {_describe(status)}"
        if tail:
            message += "; its last lines on standard error:\n" + "\n".join("  " + line for line in tail)
        kind = ConnectionClosed if established else ConnectionFailed
        return kind(message, exit_status=status, stderr_tail=tail)

    async def _end(self, graces: tuple[float, float, float]) -> ChildExit:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._discard_output)
                nursery.start_soon(self.drain_stderr)
                stage = await self._escalate(graces)
                self._signal_group(signal.SIGKILL)
                with trio.move_on_after(STDERR_GRACE):
                    await self._stderr_ended.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.pair.close()
            if self._stderr is not None:
                self._stderr.close()
            self._collector.finish()
            status = self._watch.reap()
        return ChildExit(status, stage)

    async def _escalate(self, graces: tuple[float, float, float]) -> ExitStage:
        if self._watch.poll() is not None:
            return ExitStage.EXITED
        self.stdin.close()
        steps = (
            (None, ExitStage.INPUT_CLOSED),
            (signal.SIGTERM, ExitStage.TERMINATED),
            (signal.SIGKILL, ExitStage.KILLED),
        )
        for grace, (number, stage) in zip(graces, steps, strict=True):
            if number is not None:
                self._signal_group(number)
                self._signal_group(signal.SIGCONT)  # A stopped process would never see SIGTERM.
            with trio.move_on_after(grace):
                await self._watch.wait()
            if self._watch.poll() is not None:
                return stage
        return ExitStage.ABANDONED

    def _signal_group(self, number: signal.Signals) -> None:
        # Only before it is reaped: until then no other group can have this number.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _discard_output(self) -> None:
        # Busy: somebody is reading, which is as good.
        with contextlib.suppress(trio.ClosedResourceError, trio.BrokenResourceError, trio.BusyResourceError):
            while await self.stdout.receive_some():
                pass


def _describe(status: int | None) -> str:
    if status is None:
        return "closed its standard output and still runs"
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
