"""Two hundred connections, opened and closed: what the process holds afterwards is what it held before."""

from __future__ import annotations

import gc
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import (
    ConnectionFailed,
    Handlers,
    ServerInfo,
    StdioClientTransport,
    memory_transports,
    open_client,
    serve,
)
from trio_mcp_transport.testing import Footprint, connect

CYCLES = 200
ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
RESPONDER = [sys.executable, "-S", "-E", str(Path(__file__).with_name("responder.py"))]
ECHO = [sys.executable, "-m", "trio_mcp_transport", "echo", "stdio"]


async def echo(message: Any, context: Any) -> Any:
    return {"params": message.params}


async def nothing_left_by(cycle: Callable[[], Awaitable[None]], cycles: int = CYCLES) -> None:
    """Run a cycle again and again and compare the footprints: descriptors, tasks, children, threads, O_NONBLOCK."""
    # The first cycle starts what is kept on purpose: trio's idle worker threads, which start the processes.
    await cycle()
    before = Footprint.take()
    for _ in range(cycles):
        await cycle()
    after = Footprint.take()
    # A pool of threads may have replaced one by another; more than before are a leak.
    assert before.left_by(after, threads=False) == []
    assert len(after.threads) <= len(before.threads)


@ERAS
@pytest.mark.parametrize("way", ["objects", "bytes"])
async def test_connections_over_memory(era: Any, way: str, autojump_clock: trio.testing.MockClock) -> None:
    async def cycle() -> None:
        async with connect(Handlers(echo), era=era, bytes=way == "bytes") as client:
            await client.request("echo", {"text": "x"})

    await nothing_left_by(cycle)


@ERAS
async def test_connections_to_one_server(era: Any, autojump_clock: trio.testing.MockClock) -> None:
    server, transport = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve(Handlers(echo), server, server_info=ServerInfo("s", "1"), task_status=task_status)
        )

        async def cycle() -> None:
            async with open_client(transport, era=era) as client:
                await client.request("echo", {"text": "x"})
            # The server's half ends by itself, right after the client's.
            await trio.testing.wait_all_tasks_blocked()

        await nothing_left_by(cycle)
        statistics = server.statistics()
        assert statistics.connection_count == CYCLES + 1
        assert (statistics.in_flight, statistics.queued, statistics.pending, statistics.outbox_bytes) == (0, 0, 0, 0)
        nursery.cancel_scope.cancel()


async def test_connections_leave_no_objects(autojump_clock: trio.testing.MockClock) -> None:
    async def cycle() -> None:
        async with connect(Handlers(echo), era="modern") as client:
            await client.request("echo", {"text": "x"})

    async def held(cycles: int) -> int:
        for _ in range(cycles):
            await cycle()
        # Trio keeps scopes with a deadline in a heap until the deadline has passed.
        await trio.sleep(1000)
        gc.collect()
        return len(gc.get_objects())

    before = await held(3)
    # One object kept per connection would show as two hundred.
    assert await held(CYCLES) - before < CYCLES / 2


@ERAS
async def test_connections_to_a_process(era: Any) -> None:
    async def cycle() -> None:
        async with open_client(StdioClientTransport(RESPONDER), era=era) as client:
            result = await client.request("echo", {"text": "x"})
            assert result["params"]["text"] == "x"

    await nothing_left_by(cycle)


async def test_connections_to_the_echo_server() -> None:
    async def cycle() -> None:
        async with open_client(StdioClientTransport(ECHO, stderr="capture")) as client:
            await client.request("echo", {"text": "x"})

    # The same path with the whole server behind it; a start of it costs a tenth of a second and more.
    await nothing_left_by(cycle, 20)


async def test_connections_that_fail_to_open() -> None:
    async def cycle() -> None:
        with pytest.raises(Exception, match=r"exited with status 3"):
            async with open_client(
                StdioClientTransport([sys.executable, "-S", "-E", "-c", "raise SystemExit(3)"], stderr="capture")
            ):
                pass
        with pytest.raises(Exception, match="cannot start"):
            async with open_client(StdioClientTransport(["/no/such/program"], stderr="capture")):
                pass

    await nothing_left_by(cycle, 50)


async def test_a_codec_that_cannot_be_made() -> None:
    def codec(size: int) -> Any:
        raise KeyError("codec")

    async def cycle() -> None:
        with pytest.raises(ConnectionFailed, match="codec"):
            async with open_client(StdioClientTransport(RESPONDER, codec=codec)):
                pass

    await nothing_left_by(cycle, 5)


async def test_a_leak_would_be_seen() -> None:
    kept: list[Any] = []

    async def cycle() -> None:
        kept.append(open("/dev/null"))  # noqa: ASYNC230, SIM115

    try:
        with pytest.raises(AssertionError, match="dev/null"):
            await nothing_left_by(cycle, 1)
    finally:
        for file in kept:
            file.close()
