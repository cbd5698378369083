"""The client of the official Python SDK drives our echo server over stdio, in both eras and on both of its backends."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from mcp import MCPError
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import CallToolResult, TextContent

from tests.interop.official_schema import check_conversation
from tests.interop.wire_record import WireRecord

ECHO = [sys.executable, "-m", "trio_mcp_transport", "echo", "stdio"]
TOOLS = ["echo", "sleep", "progress", "fail", "big"]
MODERN, LEGACY = "2026-07-28", "2025-11-25"
REVISION = {"auto": MODERN, MODERN: MODERN, "legacy": LEGACY}
"""What each of the SDK's modes has to end in: probe and stay modern, modern without a probe, handshake."""

BOUND = 20.0
"""Seconds for one test; the slowest needs one."""

pytestmark = [
    pytest.mark.parametrize("backend", ["trio", "asyncio"]),
    pytest.mark.parametrize("mode", list(REVISION)),
]


@asynccontextmanager
async def connected(mode: str, record: WireRecord, home: Path) -> AsyncIterator[Client]:
    """Connect the SDK's client to our server, with the tap in between; nothing may be written to standard error."""
    command = record.command(ECHO)
    parameters = StdioServerParameters(command=command[0], args=command[1:], cwd=home)
    log = home / "stderr.txt"
    with log.open("w") as errlog, anyio.fail_after(BOUND):
        async with Client(stdio_client(parameters, errlog=errlog), mode=mode) as client:
            assert client.protocol_version == REVISION[mode]
            yield client
    assert log.read_text() == ""


def drive(
    backend: str, mode: str, record: WireRecord, home: Path, scenario: Callable[[Client], Awaitable[None]]
) -> None:
    """Run a scenario; afterwards the server must have ended by itself, at once and with success."""

    async def main() -> None:
        async with connected(mode, record, home) as client:
            await scenario(client)

    anyio.run(main, backend=backend)
    status, seconds = record.end()
    assert status == 0
    assert seconds < 1.5


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def test_lists_and_calls(backend: str, mode: str, record: WireRecord, home: Path) -> None:
    async def scenario(client: Client) -> None:
        assert [tool.name for tool in (await client.list_tools()).tools] == TOOLS
        text = "hé\u2028llo \U0001f40d\n"
        result = await client.call_tool("echo", {"text": text})
        assert text_of(result) == text and not result.is_error
        assert text_of(await client.call_tool("sleep", {"seconds": 0.01})) == "slept 0.01 s"

    drive(backend, mode, record, home, scenario)
    first = {"auto": "server/discover", MODERN: "tools/list", "legacy": "initialize"}[mode]
    assert record.methods("client")[0] == first


def test_progress_arrives_in_order_before_the_result(backend: str, mode: str, record: WireRecord, home: Path) -> None:
    async def scenario(client: Client) -> None:
        steps: list[tuple[float, float | None, str | None]] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            steps.append((progress, total, message))

        assert text_of(await client.call_tool("progress", {"steps": 5}, progress_callback=note)) == "5 steps"
        assert steps == [(step, 5, f"step {step} of 5") for step in range(1, 6)]

    drive(backend, mode, record, home, scenario)


def test_error_results_and_errors(backend: str, mode: str, record: WireRecord, home: Path) -> None:
    async def scenario(client: Client) -> None:
        failed = await client.call_tool("fail")
        assert failed.is_error and text_of(failed) == "this tool always fails"
        with pytest.raises(MCPError) as unknown:
            await client.call_tool("nobody")
        assert unknown.value.error.code == -32602 and "nobody" in unknown.value.error.message
        with pytest.raises(MCPError) as missing:
            await client.list_prompts()
        assert missing.value.error.code == -32601
        assert text_of(await client.call_tool("echo", {"text": "still here"})) == "still here"

    drive(backend, mode, record, home, scenario)


def test_every_frame_of_the_server_fits_the_schema(backend: str, mode: str, record: WireRecord, home: Path) -> None:
    async def scenario(client: Client) -> None:
        await client.list_tools()
        await client.call_tool("echo", {"text": "hello"})
        await client.call_tool("progress", {"steps": 2}, progress_callback=ignore)
        await client.call_tool("fail")
        with pytest.raises(MCPError):
            await client.call_tool("nobody")

    drive(backend, mode, record, home, scenario)
    results = check_conversation(REVISION[mode], record.messages("client"), record.messages("server"))
    handshakes = 0 if mode == MODERN else 1
    assert results == handshakes + 4


def test_a_cancelled_call_ends_at_the_server(backend: str, mode: str, record: WireRecord, home: Path) -> None:
    async def scenario(client: Client) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "sleep", {"seconds": 3600})
            while not sleeping(record):  # noqa: ASYNC110 - what another process writes sets no event
                await anyio.sleep(0.005)
            # Answered after the sleep was taken in: a server reads its input in order.
            assert text_of(await client.call_tool("echo", {"text": "between"})) == "between"
            tasks.cancel_scope.cancel()
        assert text_of(await client.call_tool("echo", {"text": "after"})) == "after"

    # With the sleep still running, the end of input would be followed by the drain of five seconds.
    drive(backend, mode, record, home, scenario)
    (sleep_id,) = sleeping(record)
    cancelled = [message for message in record.messages("client") if message["method"] == "notifications/cancelled"]
    assert [message["params"]["requestId"] for message in cancelled] == [sleep_id]
    assert sleep_id not in [message.get("id") for message in record.messages("server")]


def sleeping(record: WireRecord) -> list[object]:
    """Return the ids of the calls of the tool ``sleep`` that have reached the server."""
    calls = [message for message in record.messages("client") if message["method"] == "tools/call"]
    return [call["id"] for call in calls if call["params"]["name"] == "sleep"]


def test_results_of_megabytes(backend: str, mode: str, record: WireRecord, home: Path) -> None:
    sizes = [3_000_000, 8_000_000]

    async def scenario(client: Client) -> None:
        for size in sizes:
            assert text_of(await client.call_tool("big", {"bytes": size})) == "x" * size

    drive(backend, mode, record, home, scenario)
    assert [length > size for length, size in zip(record.long_lines("server"), sizes, strict=True)] == [True, True]


def test_a_hundred_calls_at_fifty_in_flight(backend: str, mode: str, record: WireRecord, home: Path) -> None:
    outcomes: list[str] = []

    async def call(client: Client, number: int) -> str:
        kind = number % 6
        if kind == 0:
            await client.call_tool("sleep", {"seconds": 0.02})
        elif kind == 1:
            assert text_of(await client.call_tool("big", {"bytes": 50_000 + number})) == "x" * (50_000 + number)
        elif kind == 2:
            assert text_of(await client.call_tool("progress", {"steps": 3}, progress_callback=ignore)) == "3 steps"
        elif kind == 3:
            with pytest.raises(MCPError):
                await client.call_tool(f"nobody {number}")
        elif kind == 4:
            with anyio.move_on_after(0.02) as scope:
                await client.call_tool("sleep", {"seconds": 3600})
            assert scope.cancelled_caught
        else:
            assert text_of(await client.call_tool("echo", {"text": f"number {number}"})) == f"number {number}"
        return f"{number} done"

    async def scenario(client: Client) -> None:
        places = anyio.CapacityLimiter(50)

        async def one(number: int) -> None:
            async with places:
                outcomes.append(await call(client, number))

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(one, number)

    drive(backend, mode, record, home, scenario)
    assert sorted(outcomes) == sorted(f"{number} done" for number in range(100))


async def ignore(progress: float, total: float | None, message: str | None) -> None:
    """Ask for progress and do nothing with it."""
