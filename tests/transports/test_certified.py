"""Every transport of this package passes `check_transport`."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import trio
import trio.testing

from trio_mcp_transport import MemoryServerTransport, StdioClientTransport
from trio_mcp_transport.testing import (
    CheckReport,
    StreamClientTransport,
    StreamServerTransport,
    byte_stream_pair,
    check_transport,
)
from trio_mcp_transport.testing.transport_checks.program import ProbeProgram


def report_of(report: CheckReport, *, without: set[str]) -> None:
    """See that exactly what the channel cannot do was left out."""
    assert set(report.left_out) == without, str(report)


async def test_memory(autojump_clock: trio.testing.MockClock) -> None:
    def make_pair() -> Any:
        server = MemoryServerTransport()
        return server, lambda addresses: server.client()

    report = await check_transport(make_pair, limits=False)
    streams = {name for name, why in report.left_out.items() if why == "no connect_stream was given"}
    limits = {"a_server_keeps_its_limit", "a_client_keeps_its_limit", "outgoing_limits_hold"}
    assert len(streams) == 7
    report_of(report, without=streams | limits)


async def test_a_stream(autojump_clock: trio.testing.MockClock) -> None:
    near: list[Any] = []

    def make_pair() -> Any:
        ours, theirs = byte_stream_pair()
        near[:] = [ours]
        return StreamServerTransport(theirs), lambda addresses: StreamClientTransport(ours)

    async def connect_stream(addresses: tuple[str, ...]) -> trio.abc.Stream:
        return near[0]

    report = await check_transport(make_pair, connect_stream=connect_stream, several_clients=False)
    assert set(report.left_out.values()) == {"several_clients=False"}


class ChildStream(trio.abc.HalfCloseableStream):
    """The two pipes of a child, which ends with them."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stdin.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stdin.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._stdout.receive_some(max_bytes))

    async def send_eof(self) -> None:
        await self._stdin.aclose()

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stdin)
            await trio.aclose_forcefully(self._stdout)
            with trio.move_on_after(2):
                await self._process.wait()
            self._process.kill()
            await self._process.wait()


async def test_stdio(tmp_path: Path) -> None:
    programs: list[ProbeProgram] = []

    def make_pair() -> Any:
        programs[:] = [program := ProbeProgram(tmp_path)]
        return program, lambda addresses: StdioClientTransport(program.command, inherit_env=True)

    async def connect_stream(addresses: tuple[str, ...]) -> trio.abc.Stream:
        command = programs[0].command
        return ChildStream(await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    report = await check_transport(
        make_pair,
        connect_stream=connect_stream,
        write_deadline=False,  # a debugger may hold the other end for minutes
        oversize="goes on",
        injection_points=8,  # each of them starts a process
    )
    report_of(
        report,
        without={"an_object_runs_once", "statistics_count", "a_peer_that_stops_reading_is_given_up"},
    )
