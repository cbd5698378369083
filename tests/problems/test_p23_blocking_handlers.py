"""Problem 23: one handler that blocks freezes the server.

The published test: a handler that sleeps in a thread leaves ping and every other call as quick as before; a handler
that blocks the event loop all the same is named by the watchdog.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import trio

from tests.processes import PROGRAMS, handshake, request, running
from trio_mcp_transport import StdioClientTransport, open_client

UNRULY = [sys.executable, str(PROGRAMS / "unruly_server.py")]
QUICK = 0.05 * 3
"""The published 50 ms, three times over for a busy machine."""
BLOCK = 1.0


@pytest.mark.requirement("L25-PI-01")
async def test_ping_and_other_calls_are_quick_beside_a_blocking_handler(tmp_path: Path) -> None:
    async with running(UNRULY, tmp_path) as server:
        await server.send(*handshake())
        assert (await server.message())["id"] == 0
        await server.send(request("slow", "sleep_in_thread", seconds=BLOCK))
        began = time.monotonic()
        for number, method in enumerate(["ping", "quick"] * 5):
            asked = time.monotonic()
            answer = await server.ask(request(number, method))
            assert time.monotonic() - asked < QUICK
            assert answer == {"jsonrpc": "2.0", "id": number, "result": {}}
        assert time.monotonic() - began < BLOCK
        assert (await server.message()) == {"jsonrpc": "2.0", "id": "slow", "result": {"slept": True}}
        assert time.monotonic() - began >= BLOCK * 0.9


async def test_blocking_handlers_run_beside_each_other(tmp_path: Path) -> None:
    async with running(UNRULY, tmp_path) as server:
        await server.ask(request("first", "quick"))
        began = time.monotonic()
        await server.send(*(request(number, "sleep_in_thread", seconds=0.3) for number in range(10)))
        answers = [await server.message() for _ in range(10)]
        assert time.monotonic() - began < 10 * 0.3 / 2
    assert sorted(one["id"] for one in answers) == list(range(10))


async def test_a_cancelled_call_of_a_blocking_handler_returns_at_once(tmp_path: Path) -> None:
    with trio.fail_after(10):
        async with open_client(StdioClientTransport(UNRULY, inherit_env=True), era="modern") as client:
            with trio.move_on_after(0.1) as scope:
                await client.request("sleep_in_thread", {"seconds": BLOCK})
            assert scope.cancelled_caught
            began = time.monotonic()
            await client.request("quick")
            assert time.monotonic() - began < QUICK


async def test_the_watchdog_names_the_handler_that_blocks_the_loop(tmp_path: Path) -> None:
    async with running([*UNRULY, "--watch", "0.2"], tmp_path) as server:
        for number in range(3):
            await server.ask(request(number, "quick"))
        await server.ask(request("thread", "sleep_in_thread", seconds=0.4))
        assert "has not run" not in server.stderr
        assert (await server.ask(request("loop", "sleep_on_the_loop", seconds=0.6)))["result"] == {"slept": True}
        await server.end_input()
        assert await server.wait(2) == 0
        log = server.stderr
    (stall,) = [line for line in log.splitlines() if "has not run" in line]
    assert "the handler sleep_on_the_loop blocks it at" in stall
    assert "unruly_server.py:" in stall
    assert "time.sleep" in log
