"""A stdio server made with the official Python SDK: ``python official_server.py trio|asyncio``.

Its tools mirror those of our echo server.  Writes the outcome of each `sleep` to the file ``sleeps.txt``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("official")


@server.tool(structured_output=False)
async def echo(text: str) -> str:
    """Return the text."""
    return text


@server.tool(structured_output=False)
async def progress(steps: int, ctx: Context) -> str:
    """Report progress in a number of steps."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step} of {steps}")
    return f"{steps} steps"


@server.tool(structured_output=False)
async def sleep(seconds: float) -> str:
    """Answer after a number of seconds."""
    outcome = "cancelled"
    try:
        await anyio.sleep(seconds)
        outcome = "slept"
    finally:
        note(f"{outcome} {seconds:g}")
    return f"slept {seconds:g} s"


def note(line: str) -> None:
    with Path("sleeps.txt").open("a") as file:
        file.write(line + "\n")


@server.tool(structured_output=False)
async def big(bytes: int) -> str:
    """Return a text of a number of characters."""
    return "x" * bytes


@server.tool(structured_output=False)
async def change(ctx: Context) -> str:
    """Tell subscribers that the list of tools has changed."""
    await ctx.notify_tools_changed()
    return "changed"


@server.tool(structured_output=False)
async def die() -> str:
    """End the process without an answer."""
    print("last words", file=sys.stderr, flush=True)
    os._exit(7)


anyio.run(server.run_stdio_async, backend=sys.argv[1])
