"""Our client drives the reference server ``server-everything``, a Node program of the legacy era, over stdio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.interop.install_peers import peer_command, peer_environment
from tests.interop.official_schema import check_conversation
from tests.interop.wire_record import WireRecord
from trio_mcp_transport import (
    Client,
    ClientInfo,
    Handlers,
    LegacyMessageContext,
    MessageContext,
    Notification,
    Request,
    RpcError,
    StdioClientTransport,
    UnsupportedRevision,
    open_client,
)

CAN_EVERYTHING = ClientInfo("everything-client", "1", {"sampling": {}, "elicitation": {}, "roots": {}})
LEGACY = "2025-11-25"
BOUND = 20.0

either_era = pytest.mark.parametrize("era", ["auto", "legacy"])


def transport(home: Path, record: WireRecord) -> StdioClientTransport:
    command = record.command([*peer_command("@modelcontextprotocol/server-everything"), "stdio"])
    # A short grace: with an operation still running it does not end at the end of its input.
    return StdioClientTransport(
        command, cwd=home, env={"PATH": peer_environment()["PATH"]}, stderr="capture", eof_grace=0.5
    )


async def tool(client: Client, name: str, /, *, on_progress: Any = None, **arguments: object) -> str:
    """Call a tool and return the texts of its result."""
    result = await client.request("tools/call", {"name": name, "arguments": arguments}, on_progress=on_progress)
    return "\n".join(content["text"] for content in result["content"])


@either_era
async def test_lists_calls_and_errors(era: Any, record: WireRecord, home: Path) -> None:
    with trio.fail_after(BOUND):
        async with open_client(transport(home, record), era=era) as client:
            assert (client.era, client.revision) == ("legacy", LEGACY)
            assert client.server_info is not None and client.server_info["name"] == "mcp-servers/everything"
            names = [each["name"] for each in (await client.request("tools/list"))["tools"]]
            assert "echo" in names and "trigger-long-running-operation" in names
            assert await tool(client, "echo", message="hé 🐍") == "Echo: hé 🐍"
            assert await client.request("ping") == {}
            assert (await client.request("resources/list"))["resources"]
            with pytest.raises(RpcError) as unknown:
                await client.request("nobody/knows")
            assert unknown.value.code == -32601
    asked = record.methods("client")
    assert asked[: 2 + (era == "auto")] == ["server/discover"] * (era == "auto") + [
        "initialize",
        "notifications/initialized",
    ]


async def test_a_modern_client_says_that_it_found_no_common_revision(record: WireRecord, home: Path) -> None:
    with trio.fail_after(BOUND):
        with pytest.raises(UnsupportedRevision, match="2026-07-28"):
            async with open_client(transport(home, record), era="modern"):
                pass
    assert record.methods("client") == ["server/discover"]


@either_era
async def test_a_long_operation_reports_progress(era: Any, record: WireRecord, home: Path) -> None:
    steps: list[Any] = []
    with trio.fail_after(BOUND):
        async with open_client(transport(home, record), era=era) as client:
            name = "trigger-long-running-operation"
            text = await tool(client, name, on_progress=steps.append, duration=0.2, steps=4)
            assert text.startswith("Long running operation completed")
    assert [(step["progress"], step["total"]) for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]


@either_era
async def test_a_cancelled_operation_is_never_answered(era: Any, record: WireRecord, home: Path) -> None:
    name = "trigger-long-running-operation"
    with trio.fail_after(BOUND):
        async with open_client(transport(home, record), era=era) as client:
            with trio.CancelScope() as scope:
                await tool(client, name, on_progress=lambda _: scope.cancel(), duration=0.4, steps=4)
            assert scope.cancelled_caught
            # By the end of this one the cancelled one would have been answered.
            await tool(client, name, duration=0.6, steps=1)
    cancelled, *_ = [each for each in record.messages("client") if each["method"] == "tools/call"]
    notes = [each for each in record.messages("client") if each["method"] == "notifications/cancelled"]
    assert [note["params"]["requestId"] for note in notes] == [cancelled["id"]]
    assert cancelled["id"] not in [each.get("id") for each in record.messages("server")]


@either_era
async def test_requests_of_the_server_reach_the_handler(era: Any, record: WireRecord, home: Path) -> None:
    asked: list[str] = []

    async def answer(request: Request, context: MessageContext) -> dict[str, Any]:
        assert isinstance(context, LegacyMessageContext)
        asked.append(request.method)
        if request.method == "sampling/createMessage":
            # Asking back while the server waits for us must not deadlock.
            assert await context.request("ping") == {}
            return {"role": "assistant", "model": "none", "content": {"type": "text", "text": "a model's words"}}
        if request.method == "elicitation/create":
            return {"action": "accept", "content": {"name": "Ada"}}
        if request.method == "roots/list":
            return {"roots": [{"uri": "file:///srv", "name": "a root"}]}
        raise RpcError(-32601, f"{request.method} is not known here")

    with trio.fail_after(BOUND):
        async with open_client(
            transport(home, record), era=era, client_info=CAN_EVERYTHING, handler=Handlers(answer)
        ) as client:
            assert "a model's words" in await tool(client, "trigger-sampling-request", prompt="hello")
            assert "Ada" in await tool(client, "trigger-elicitation-request")
            assert "a root" in await tool(client, "get-roots-list")
    assert {"sampling/createMessage", "elicitation/create", "roots/list"} <= set(asked)


@either_era
async def test_updates_of_a_subscribed_resource_arrive(era: Any, record: WireRecord, home: Path) -> None:
    uri = "demo://resource/dynamic/text/1"
    updated = trio.Event()

    async def note(notification: Notification, context: MessageContext) -> None:
        if notification.method == "notifications/resources/updated" and notification.params == {"uri": uri}:
            updated.set()

    with trio.fail_after(BOUND):
        async with open_client(transport(home, record), era=era, handler=Handlers(notification=note)) as client:
            assert await client.request("resources/subscribe", {"uri": uri}) == {}
            await tool(client, "toggle-subscriber-updates")
            await updated.wait()
            await tool(client, "toggle-subscriber-updates")


async def test_our_handshake_and_calls_fit_the_schema(record: WireRecord, home: Path) -> None:
    with trio.fail_after(BOUND):
        async with open_client(transport(home, record), era="legacy", client_info=CAN_EVERYTHING) as client:
            await client.request("tools/list")
            await tool(client, "echo", message="hello")
    assert "notifications/initialized" in record.methods("client")
    check_conversation(LEGACY, record.messages("server"), record.messages("client"))
