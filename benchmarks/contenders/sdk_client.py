"""The official Python SDK's client over stdio, on asyncio, its faster backend, used as its documentation shows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from client_common import Plan, measure
from mcp import Client, StdioServerParameters


async def run_all(callers: list[Callable[[], Awaitable[None]]]) -> None:
    """Run all callers to their end."""
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(_await(caller))


async def _await(caller: Callable[[], Awaitable[None]]) -> None:
    await caller()


async def main(plan: Plan) -> None:
    """Connect to the raw server and measure."""
    async with Client(StdioServerParameters(command=plan.server[0], args=plan.server[1:])) as client:

        async def call(text: str) -> str:
            result = await client.call_tool("echo", {"text": text})
            answer: str = getattr(result.content[0], "text", "")
            return answer

        await measure(plan, call, run_all)


if __name__ == "__main__":
    asyncio.run(main(Plan()))
