"""``trio-mcp demo``: every transport in every era, driven by our own client, as a table.

Must never let one row decide over another, and never run longer than `TOTAL` and the end of one server.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import attrs
import trio

from ..abc import ClientTransport
from ..client import Client
from ..client_block import open_client
from ..errors import ConnectionFailed, RpcError, TransportError
from ..registry import client_transport_for
from ..service import serve
from ..transports.memory import memory_transports
from ..transports.negotiation import Era
from ..transports.stdio import StdioClientTransport
from .echo_server import ECHO_INFO, Echo
from .terminal import ERROR_ANSWER, SUCCESS, one_line, write_out

__all__ = ["Row", "run_demo", "run_row"]

TOTAL = 16.0
"""Seconds for all rows; with the start of Python and the end of a stuck server that makes less than 20."""
LONGEST_ROW = 5.0
"""Seconds for one row, most of it the start of a process on a busy machine."""
GRACE = 0.5
"""Seconds a server of ours has for each step of its end."""
STEPS = 5
"""Length of the call that reports progress."""
PATIENCE = 0.05
"""Seconds after which the call that would take an hour is cancelled."""

ECHO_COMMAND = ["-m", "trio_mcp_transport", "echo"]

Drive = Callable[[ClientTransport], Awaitable[None]]


class WrongAnswer(Exception):
    """The server answered, but not what it should."""


@attrs.define
class Row:
    """What one row tells.

    Attributes:
        transport: Name of the transport.
        era: ``modern`` or ``legacy``.
        latencies: Seconds of every round trip whose answer was right.
        reason: Why the row failed, in one line, or None.
    """

    transport: str
    era: Era
    latencies: list[float] = attrs.field(factory=list)
    reason: str | None = None

    @property
    def p50(self) -> float | None:
        """The median round trip in seconds, or None without one."""
        return statistics.median(self.latencies) if self.latencies else None

    def as_json(self) -> str:
        """Return the row as one JSON object."""
        p50 = self.p50
        return json.dumps(
            {
                "transport": self.transport,
                "era": self.era,
                "round_trips": len(self.latencies),
                "p50_us": None if p50 is None else round(p50 * 1e6, 1),
                "outcome": "ok" if self.reason is None else "failed",
                "reason": self.reason,
            }
        )

    def as_line(self) -> str:
        """Return the row as a line of the table."""
        outcome = "ok" if self.reason is None else f"FAILED: {self.reason}"
        return _line(self.transport, self.era, str(len(self.latencies)), _duration(self.p50), outcome)


def run_demo(options: argparse.Namespace) -> int:
    """Run every row and print it as it ends; return the exit code, 1 when a row failed."""
    if not options.json and not write_out(_encoded(_line("transport", "era", "round trips", "p50", "outcome"))):
        return ERROR_ANSWER
    failed = False
    for row in _rows(options.round_trips):
        failed = failed or row.reason is not None
        if not write_out(_encoded(row.as_json() if options.json else row.as_line())):
            return ERROR_ANSWER
    return ERROR_ANSWER if failed else SUCCESS


def _rows(round_trips: int) -> Iterator[Row]:
    eras: tuple[Era, ...] = ("modern", "legacy")
    pending = [(name, era) for name in SERVERS for era in eras]
    end = time.monotonic() + TOTAL
    while pending:
        # A fair share of what is left: servers that hang use up their own share only.
        seconds = min(LONGEST_ROW, max(0.0, end - time.monotonic()) / len(pending))
        name, era = pending.pop(0)
        yield trio.run(run_row, name, era, round_trips, seconds)


async def run_row(name: str, era: Era, round_trips: int, seconds: float) -> Row:
    """Start the server of one transport, drive it in one era, end it, and return what came of it.

    Args:
        name: A key of `SERVERS`.
        era: Which era to speak.
        round_trips: Number of echo calls.
        seconds: For everything but the end of the server.
    """
    row = Row(name, era)
    failure: BaseExceptionGroup[Exception] | None = None
    try:
        with trio.fail_after(seconds):
            await SERVERS[name](partial(_drive, row, round_trips))
    except* (TransportError, RpcError, WrongAnswer, trio.TooSlowError) as group:
        failure = group
    if failure is not None:
        row.reason = one_line(_told(failure, row, round_trips, seconds))
    return row


def _told(failure: BaseException, row: Row, round_trips: int, seconds: float) -> str:
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    if type(failure) is trio.TooSlowError:
        return f"not done after {seconds:.1f} s, with {len(row.latencies)} of {round_trips} round trips"
    return str(failure)


async def _with_memory(drive: Drive) -> None:
    server, client = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Echo(), server, server_info=ECHO_INFO))
        await drive(client)
        nursery.cancel_scope.cancel()


async def _with_stdio(drive: Drive) -> None:
    command = [sys.executable, *ECHO_COMMAND, "stdio"]
    await drive(
        StdioClientTransport(
            command, inherit_env=True, stderr="capture", eof_grace=GRACE, term_grace=GRACE, kill_grace=GRACE
        )
    )


async def _with_echo(drive: Drive, kind: str, *arguments: str, **options: str) -> None:
    """Start an echo server that prints its address, drive it, and end it."""
    command = [sys.executable, *ECHO_COMMAND, kind, *arguments]
    start = partial(trio.run_process, command, stdout=subprocess.PIPE, check=False, deliver_cancel=_end)
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(start)
        assert process.stdout is not None
        async with process.stdout:
            await drive(client_transport_for(await _first_line(process.stdout), **options))
        nursery.cancel_scope.cancel()


async def _end(process: trio.Process) -> None:
    process.terminate()
    await trio.sleep(GRACE)
    process.kill()


async def _first_line(output: trio.abc.ReceiveStream) -> str:
    received = b""
    while b"\n" not in received:
        data = await output.receive_some()
        if not data:
            raise ConnectionFailed("the server ended before it was ready")
        received += data
    return received.partition(b"\n")[0].decode()


async def _with_tcp(drive: Drive) -> None:
    await _with_echo(drive, "tcp")


async def _with_unix(drive: Drive) -> None:
    with tempfile.TemporaryDirectory(prefix="trio-mcp-") as folder:
        await _with_echo(drive, "unix", "--path", f"{folder}/socket")


async def _with_websocket(engine: str, drive: Drive) -> None:
    await _with_echo(drive, "ws", "--engine", engine, engine=engine)


SERVERS: dict[str, Callable[[Drive], Awaitable[None]]] = {
    "memory": _with_memory,
    "stdio": _with_stdio,
    "tcp": _with_tcp,
    "unix": _with_unix,
    "ws": partial(_with_websocket, "trio-websocket"),
    "ws-native": partial(_with_websocket, "native"),
}
"""Every transport that exists: starts its echo server, drives it, ends it."""


async def _drive(row: Row, round_trips: int, transport: ClientTransport) -> None:
    async with open_client(transport, era=row.era) as client:
        for number in range(round_trips):
            started = time.perf_counter()
            await _echo(client, f"round trip {number}")
            row.latencies.append(time.perf_counter() - started)
        await _follow_progress(client)
        await _cancel(client)


async def _echo(client: Client, text: str) -> None:
    result = await client.request("tools/call", {"name": "echo", "arguments": {"text": text}})
    if result.get("content") != [{"type": "text", "text": text}]:
        raise WrongAnswer(f"echo of {text!r} answered {result}")


async def _follow_progress(client: Client) -> None:
    seen: list[object] = []
    await client.request(
        "tools/call",
        {"name": "progress", "arguments": {"steps": STEPS}},
        on_progress=lambda params: seen.append(params.get("progress")),
    )
    if seen != list(range(1, STEPS + 1)):
        raise WrongAnswer(f"progress in {STEPS} steps was reported as {seen}")


async def _cancel(client: Client) -> None:
    with trio.move_on_after(PATIENCE) as scope:
        await client.request("tools/call", {"name": "sleep", "arguments": {"seconds": 3600}})
    if not scope.cancelled_caught:
        raise WrongAnswer("a call that takes an hour was over at once")
    await _echo(client, "still here")


def _line(transport: str, era: str, round_trips: str, p50: str, outcome: str) -> str:
    return f"{transport:<10}{era:<8}{round_trips:>12}{p50:>12}  {outcome}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1e6:.0f} us" if seconds < 0.01 else f"{seconds * 1e3:.1f} ms"


def _encoded(line: str) -> bytes:
    return line.encode() + b"\n"
