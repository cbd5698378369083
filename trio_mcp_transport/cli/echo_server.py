"""The echo server's handler: a small, real MCP server that shows every way a call can go.

Must never be more than a thing to try: it keeps nothing and touches nothing outside its messages.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Mapping
from typing import Any

import trio

from .. import __version__
from ..abc import MessageHandler
from ..context import MessageContext
from ..errors import RpcError
from ..wire.codes import INVALID_PARAMS, METHOD_NOT_FOUND
from ..wire.envelope import ServerInfo
from ..wire.messages import Notification, Request

__all__ = ["ECHO_INFO", "TOOLS", "Echo"]

ECHO_INFO = ServerInfo(
    "trio-mcp-echo",
    __version__,
    capabilities={"tools": {}},
    instructions="Tools to try things with: echo, sleep, progress, fail, big.",
)


def _tool(name: str, description: str, **properties: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    if properties:
        schema["required"] = list(properties)
    return {"name": name, "description": description, "inputSchema": schema}


TOOLS = [
    _tool("echo", "Returns the text it is given.", text="string"),
    _tool("sleep", "Answers after a number of seconds.", seconds="number"),
    _tool("progress", "Reports progress in a number of steps.", steps="integer"),
    _tool("fail", "Returns an error result."),
    _tool("big", "Returns a text of a number of characters.", bytes="integer"),
]

LARGEST = 64 * 1024 * 1024
"""Most characters ``big`` makes."""


class Echo(MessageHandler):
    """Serves ``echo``, ``sleep``, ``tools/list`` and ``tools/call``."""

    async def handle_message(self, message: Request | Notification, context: MessageContext) -> Any:
        """Answer a request; a notification is ignored.

        Raises:
            RpcError: -32601 for an unknown method, -32602 for params that do not fit.
        """
        if type(message) is Notification:
            return None
        method = message.method
        if method == "tools/call":
            answer = _call_tool(message.params, context)
            return answer if type(answer) is dict else await answer  # type: ignore[misc]  # a tool that takes its time
        if method == "echo":
            return {key: value for key, value in message.params.items() if key != "_meta"}
        if method == "sleep":
            await trio.sleep(_number(message.params, "seconds"))
            return {}
        if method == "tools/list":
            tools: dict[str, Any] = {"tools": TOOLS}
            if context.envelope.modern:
                tools.update(ttlMs=0, cacheScope="public")
            return tools
        raise RpcError(METHOD_NOT_FOUND, f"{method} is not known here")


def _call_tool(params: Mapping[str, Any], context: MessageContext) -> dict[str, Any] | Awaitable[dict[str, Any]]:
    name = params.get("name")
    arguments = params.get("arguments", {})
    if type(arguments) is not dict:
        raise RpcError(INVALID_PARAMS, "arguments is an object")
    if name == "echo":
        text = arguments.get("text")
        if type(text) is not str:
            raise RpcError(INVALID_PARAMS, "text is a string")
        return _text(text)
    if name == "sleep":
        return _sleep(_number(arguments, "seconds"))
    if name == "progress":
        return _report(_count(arguments, "steps"), context)
    if name == "big":
        return _text("x" * _count(arguments, "bytes"))
    if name == "fail":
        return {**_text("this tool always fails"), "isError": True}
    raise RpcError(INVALID_PARAMS, f"there is no tool {name!r}")


async def _sleep(seconds: float) -> dict[str, Any]:
    await trio.sleep(seconds)
    return _text(f"slept {seconds:g} s")


async def _report(steps: int, context: MessageContext) -> dict[str, Any]:
    for step in range(1, steps + 1):
        await context.progress(step, steps, f"step {step} of {steps}")
    return _text(f"{steps} steps")


def _text(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def _number(params: Mapping[str, Any], name: str) -> float:
    value = params.get(name)
    if type(value) not in (int, float) or not 0 <= value < math.inf:  # type: ignore[operator]  # a number by the first test
        raise RpcError(INVALID_PARAMS, f"{name} is a number from 0")
    return float(value)  # type: ignore[arg-type]  # as above


def _count(params: Mapping[str, Any], name: str) -> int:
    value = params.get(name)
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise RpcError(INVALID_PARAMS, f"{name} is an integer from 0 to {LARGEST}")
    return value
