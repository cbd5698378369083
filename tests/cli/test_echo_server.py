"""The echo server's handler: each method and tool, and each way to ask for them wrongly."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from trio_mcp_transport import RpcError
from trio_mcp_transport.cli.echo_server import ECHO_INFO, LARGEST, TOOLS, Echo
from trio_mcp_transport.testing import connect


async def ask(method: str, params: dict[str, Any] | None = None, era: Any = "legacy") -> Any:
    async with connect(Echo(), era=era, server_info=ECHO_INFO) as client:
        return await client.request(method, params)


async def call_tool(name: str, **arguments: Any) -> Any:
    return await ask("tools/call", {"name": name, "arguments": arguments})


def text(content: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": content}]}


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_echo_returns_its_params_without_meta(era: str, autojump_clock: trio.testing.MockClock) -> None:
    result = await ask("echo", {"a": [1, {"b": None}], "_meta": {"progressToken": "t"}}, era)
    assert {key: value for key, value in result.items() if key not in ("resultType", "_meta")} == {
        "a": [1, {"b": None}]
    }


async def test_the_tool_echo_returns_exactly_the_text(autojump_clock: trio.testing.MockClock) -> None:
    assert await call_tool("echo", text="  hé\u2028\n") == text("  hé\u2028\n")


async def test_sleep_takes_as_long_as_asked(autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()
    assert await ask("sleep", {"seconds": 20}) == {}
    assert trio.current_time() - began == pytest.approx(20)
    assert await call_tool("sleep", seconds=2.5) == text("slept 2.5 s")
    assert trio.current_time() - began == pytest.approx(22.5)


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_progress_reports_every_step(era: Any, autojump_clock: trio.testing.MockClock) -> None:
    seen: list[tuple[Any, Any, Any]] = []

    def note(params: Any) -> None:
        seen.append((params["progress"], params["total"], params["message"]))

    async with connect(Echo(), era=era) as client:
        params = {"name": "progress", "arguments": {"steps": 3}}
        result = await client.request("tools/call", params, on_progress=note)
    assert result["content"] == text("3 steps")["content"]
    assert seen == [(step, 3, f"step {step} of 3") for step in (1, 2, 3)]


async def test_fail_is_a_result(autojump_clock: trio.testing.MockClock) -> None:
    assert (await call_tool("fail"))["isError"] is True


async def test_big_has_that_many_characters(autojump_clock: trio.testing.MockClock) -> None:
    for size in (0, 1, 3_000_000):
        assert await call_tool("big", bytes=size) == text("x" * size)


@pytest.mark.requirement("M-CH-01")
async def test_the_list_names_every_tool_and_is_cacheable_in_the_modern_era(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert await ask("tools/list") == {"tools": TOOLS}
    modern = await ask("tools/list", era="modern")
    assert modern["tools"] == TOOLS
    assert (modern["ttlMs"], modern["cacheScope"]) == (0, "public")
    assert [tool["name"] for tool in TOOLS] == ["echo", "sleep", "progress", "fail", "big"]
    for tool in TOOLS:
        assert tool["inputSchema"]["type"] == "object"
        assert tool["inputSchema"].get("required", []) == list(tool["inputSchema"]["properties"])


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("nothing", {}, -32601),
        ("sleep", {}, -32602),
        ("sleep", {"seconds": -1}, -32602),
        ("sleep", {"seconds": True}, -32602),
        ("sleep", {"seconds": "1"}, -32602),
        ("tools/call", {}, -32602),
        ("tools/call", {"name": "nothing"}, -32602),
        ("tools/call", {"name": "echo"}, -32602),
        ("tools/call", {"name": "echo", "arguments": []}, -32602),
        ("tools/call", {"name": "echo", "arguments": {"text": 1}}, -32602),
        ("tools/call", {"name": "progress", "arguments": {"steps": 1.0}}, -32602),
        ("tools/call", {"name": "big", "arguments": {"bytes": -1}}, -32602),
        ("tools/call", {"name": "big", "arguments": {"bytes": LARGEST + 1}}, -32602),
    ],
)
async def test_wrong_params_are_answered_with_the_right_code(
    method: str, params: dict[str, Any], code: int, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(RpcError) as caught:
        await ask(method, params)
    assert caught.value.code == code
