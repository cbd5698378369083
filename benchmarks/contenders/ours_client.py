"""Our client over stdio, used as its documentation shows."""

from __future__ import annotations

import trio
from client_common import Plan, measure
from trio_load import run_all

from trio_mcp_transport import StdioClientTransport, open_client


async def main(plan: Plan) -> None:
    """Connect to the raw server and measure."""
    async with open_client(StdioClientTransport(plan.server)) as client:

        async def call(text: str) -> str:
            result = await client.request("tools/call", {"name": "echo", "arguments": {"text": text}})
            answer: str = result["content"][0]["text"]
            return answer

        await measure(plan, call, run_all)


if __name__ == "__main__":
    trio.run(main, Plan())
