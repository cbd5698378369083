"""Our client drives a stdio server made with the official Python SDK, in both eras and on both of its backends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.interop.official_schema import check_conversation
from tests.interop.wire_record import WireRecord
from trio_mcp_transport import ConnectionClosed, Notification, Response, RpcError, StdioClientTransport, open_client

PROGRAM = Path(__file__).with_name("programs") / "official_server.py"
TOOLS = ["echo", "progress", "sleep", "big", "change", "die"]
MODERN, LEGACY = "2026-07-28", "2025-11-25"
REVISION = {"auto": MODERN, "modern": MODERN, "legacy": LEGACY}
BOUND = 20.0

eras = pytest.mark.parametrize("era", list(REVISION))
# One era per kind of session on the second backend: starting this server is the slow part.
pairs = pytest.mark.parametrize(
    ("backend", "era"),
    [("trio", "auto"), ("trio", "modern"), ("trio", "legacy"), ("asyncio", "auto"), ("asyncio", "legacy")],
)


def transport(home: Path, backend: str, record: WireRecord | None = None) -> StdioClientTransport:
    command = [sys.executable, str(PROGRAM), backend]
    return StdioClientTransport(command if record is None else record.command(command), cwd=home, stderr="capture")


def text_of(result: dict[str, Any]) -> str:
    (content,) = result["content"]
    assert content["type"] == "text"
    return str(content["text"])


@pairs
async def test_every_tool(era: Any, backend: str, record: WireRecord, home: Path) -> None:
    with trio.fail_after(BOUND):
        async with open_client(transport(home, backend, record), era=era) as client:
            assert client.revision == REVISION[era]
            assert client.server_info is not None and client.server_info["name"] == "official"
            assert "tools" in client.server_capabilities
            assert [tool["name"] for tool in (await client.request("tools/list"))["tools"]] == TOOLS

            text = "hé\u2028llo \U0001f40d\n"
            assert text_of(await client.request("tools/call", {"name": "echo", "arguments": {"text": text}})) == text

            steps: list[Any] = []
            call = {"name": "progress", "arguments": {"steps": 5}}
            assert text_of(await client.request("tools/call", call, on_progress=steps.append)) == "5 steps"
            assert [step["progress"] for step in steps] == [1, 2, 3, 4, 5]

            call = {"name": "big", "arguments": {"bytes": 8_000_000}}
            assert text_of(await client.request("tools/call", call)) == "x" * 8_000_000

            failed = await client.request("tools/call", {"name": "nobody"})
            assert failed["isError"] is True
            with pytest.raises(RpcError) as unknown:
                await client.request("nobody/knows")
            assert unknown.value.code == -32601
    assert record.end()[0] == 0
    # What we sent is what the schema says, the envelope included.
    sent = [message for message in record.messages("client") if message["method"] != "nobody/knows"]
    assert sum(message["method"] == "tools/call" for message in sent) == 4
    check_conversation(REVISION[era], record.messages("server"), sent)


@pairs
async def test_a_cancelled_call_ends_at_the_server(era: Any, backend: str, home: Path) -> None:
    with trio.fail_after(BOUND):
        async with open_client(transport(home, backend), era=era) as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.request, "tools/call", {"name": "sleep", "arguments": {"seconds": 3600}})
                nursery.start_soon(client.request, "tools/call", {"name": "sleep", "arguments": {"seconds": 1800}})
                await client.request("tools/list")
                nursery.cancel_scope.cancel()
            while sorted(outcomes(home)) != ["cancelled 1800", "cancelled 3600"]:  # noqa: ASYNC110 - another process
                await trio.sleep(0.005)
            call = {"name": "echo", "arguments": {"text": "after"}}
            assert text_of(await client.request("tools/call", call)) == "after"


def outcomes(home: Path) -> list[str]:
    """Return how the server's ``sleep`` calls ended, as far as they have."""
    file = home / "sleeps.txt"
    return file.read_text().splitlines() if file.exists() else []


@eras
async def test_a_hundred_calls_at_fifty_in_flight(era: Any, home: Path) -> None:
    done = []
    places = trio.CapacityLimiter(50)

    with trio.fail_after(BOUND):
        async with open_client(transport(home, "trio"), era=era) as client:

            async def one(number: int) -> None:
                async with places:
                    if number % 3 == 0:
                        call = {"name": "echo", "arguments": {"text": f"number {number}"}}
                        assert text_of(await client.request("tools/call", call)) == f"number {number}"
                    elif number % 3 == 1:
                        call = {"name": "progress", "arguments": {"steps": number}}
                        steps: list[Any] = []
                        await client.request("tools/call", call, on_progress=steps.append)
                        assert [step["progress"] for step in steps] == list(range(1, number + 1))
                    else:
                        with trio.move_on_after(0.05) as scope:
                            await client.request("tools/call", {"name": "sleep", "arguments": {"seconds": 3600}})
                        assert scope.cancelled_caught
                done.append(number)

            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(one, number)
    assert sorted(done) == list(range(100))


@eras
async def test_the_death_of_the_server_is_one_typed_error(era: Any, home: Path) -> None:
    errors: list[ConnectionClosed] = []

    with trio.fail_after(BOUND):
        async with open_client(transport(home, "trio"), era=era) as client:

            async def call(name: str, **arguments: object) -> None:
                with pytest.raises(ConnectionClosed) as caught:
                    await client.request("tools/call", {"name": name, "arguments": arguments})
                errors.append(caught.value)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: call("sleep", seconds=3600))
                nursery.start_soon(lambda: call("die"))
            await call("echo", text="too late")
    assert [error.exit_status for error in errors] == [7, 7, 7]
    assert all("last words" in error.stderr_tail for error in errors)
    assert len({id(error) for error in errors}) == 3


async def test_a_listen_gets_its_acknowledgement_and_the_change(home: Path) -> None:
    wanted = {"notifications": {"toolsListChanged": True}}
    with trio.fail_after(BOUND):
        async with open_client(transport(home, "trio"), era="auto") as client:
            async with client.open_exchange("subscriptions/listen", wanted) as replies:
                acknowledged = await replies.receive()
                assert isinstance(acknowledged, Notification)
                assert acknowledged.method == "notifications/subscriptions/acknowledged"
                await client.request("tools/call", {"name": "change"})
                changed = await replies.receive()
                assert not isinstance(changed, Response)
                assert changed.method == "notifications/tools/list_changed"
                assert changed.meta["io.modelcontextprotocol/subscriptionId"] == replies.request_id
            assert text_of(await client.request("tools/call", {"name": "echo", "arguments": {"text": "on"}})) == "on"
