"""The compatibility matrix X-1 to X-7 over TCP and WebSocket: the cases of stdio with real sockets between the sides.

What crosses is written down in the middle.  Our own server is reached through its own transport as well; the strict
fakes speak through their standard streams.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.channels import Channel, Kind
from tests.interop import test_matrix
from tests.interop.wire_record import WireRecord
from tests.suites import Case, cases
from trio_mcp_transport import ClientTransport, EraPolicy, serve
from trio_mcp_transport.cli.echo_server import ECHO_INFO, Echo

LEFT_OUT = {"test_x7_an_unsupported_answer_to_initialize_disconnects": "ends with the exit status of a child"}
MATRIX = list(cases(test_matrix, through=("server",), without=LEFT_OUT))
SOCKETS: tuple[Kind, ...] = ("tcp", "ws-trio-websocket", "ws-native")


class Between:
    """What stands between a client under test and each of its servers."""

    def __init__(self, channel: Channel, nursery: trio.Nursery) -> None:
        self._channel = channel
        self._nursery = nursery

    def server(self, record: WireRecord, program: str, *arguments: str) -> ClientTransport:
        """Do as `test_matrix.server`: return a transport that leads to a server, and to its record."""
        address, accept = self._channel.listen()
        self._nursery.start_soon(self._serve, accept, record, program, arguments)
        return self._channel.client(address)

    async def _serve(
        self,
        accept: Callable[[], Awaitable[trio.abc.HalfCloseableStream]],
        record: WireRecord,
        program: str,
        arguments: tuple[str, ...],
    ) -> None:
        async with await accept() as near:
            if program == "our_server":
                await self._serve_ours(near, record.folder / "wire.jsonl", arguments[0])
            else:
                script = str(test_matrix.PROGRAMS / f"{program}.py")
                await self._serve_program(near, record, [sys.executable, script, *arguments])

    async def _serve_ours(self, near: trio.abc.HalfCloseableStream, path: Path, eras: str) -> None:
        policy = EraPolicy(legacy=eras == "both")
        async with trio.open_nursery() as nursery:
            run = partial(serve, Echo(), self._channel.server(), server_info=ECHO_INFO, eras=policy)
            (address,) = await nursery.start(run)
            async with await self._channel.dial(address) as far:
                await both_ways(near, far, path)
            nursery.cancel_scope.cancel()

    async def _serve_program(self, near: trio.abc.HalfCloseableStream, record: WireRecord, command: list[str]) -> None:
        process = await trio.lowlevel.open_process(
            record.command(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=record.folder
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            await both_ways(near, trio.StapledStream(process.stdin, process.stdout), None)
        finally:
            with trio.CancelScope(shield=True):
                await process.stdin.aclose()
                await process.stdout.aclose()
                with trio.move_on_after(2):
                    await process.wait()
                process.kill()
                await process.wait()


async def both_ways(near: trio.abc.HalfCloseableStream, far: Any, path: Path | None) -> None:
    """Carry lines until either side ends."""
    async with trio.open_nursery() as nursery:
        for source, target, side in ((near, far, "client"), (far, near, "server")):
            nursery.start_soon(carry, source, target, path, side, nursery.cancel_scope)


async def carry(source: Any, target: Any, path: Path | None, side: str, scope: trio.CancelScope) -> None:
    """Carry the lines of one direction, each written down before it goes on."""
    buffer = b""
    try:
        while chunk := await source.receive_some():
            *lines, buffer = (buffer + bytes(chunk)).split(b"\n")
            for line in lines:
                if path is not None:
                    with path.open("a") as file:
                        file.write(json.dumps({"from": side, "line": line.decode()}) + "\n")
                await target.send_all(line + b"\n")
    except trio.BrokenResourceError:
        pass  # the other side has gone first
    scope.cancel()


@pytest.fixture
def channel(kind: Kind, tmp_path: Path) -> Iterator[Channel]:
    """Return a channel of a kind."""
    channel = Channel(kind, tmp_path)
    yield channel
    channel.close()


@pytest.fixture
def run_case(case: Case, request: pytest.FixtureRequest) -> Callable[[], Any]:
    """Return a case with all its arguments."""
    return case.bind(request)


@pytest.mark.requirement("M-CT-05", "M-BC-01", "M-BC-02", "M-BC-03", "M-BC-04", "M-VN-03")
@pytest.mark.requirement("X-01", "X-02", "X-03", "X-04", "X-05", "X-06", "X-07", "L25-CT-01")
@pytest.mark.parametrize("kind", SOCKETS)
@pytest.mark.parametrize("case", MATRIX, ids=lambda case: case.id)
async def test_the_matrix(channel: Channel, run_case: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        monkeypatch.setattr(test_matrix, "server", Between(channel, nursery).server)
        await run_case()
        nursery.cancel_scope.cancel()
    assert channel.connections > 0


def test_every_pair_of_the_matrix_is_there() -> None:
    assert {case.id[:2] for case in MATRIX} >= {f"x{number}" for number in range(1, 8)}
    assert hasattr(test_matrix, *LEFT_OUT)
