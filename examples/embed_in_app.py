"""A Trio program that serves MCP beside its own work: a task that counts, and a tool that returns the count.

Both live in one nursery.  The program ends when its input ends: nobody can ask any more, so the counting stops too.
Try it from the folder that holds it:

    trio-mcp call tools/call '{"name": "count", "arguments": {"at_least": 3}}' -- python embed_in_app.py
"""

from __future__ import annotations

import sys
from typing import Any

import trio

from trio_mcp_transport import (
    MessageContext,
    MessageHandler,
    Notification,
    Request,
    RpcError,
    ServerInfo,
    StdioServerTransport,
    serve,
)

INFO = ServerInfo(name="counter", version="1.0", capabilities={"tools": {}})


class Counter:
    """The program's own work, which knows nothing of MCP."""

    def __init__(self) -> None:
        self.count = 0
        self._ticked = trio.Event()

    async def run(self) -> None:
        while True:
            await trio.sleep(0.02)
            self.count += 1
            self._ticked.set()
            self._ticked = trio.Event()

    async def wait_until(self, count: int) -> None:
        while self.count < count:
            await self._ticked.wait()


class Tools(MessageHandler):
    """Lets a model look at it."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter

    async def handle_message(self, message: Request | Notification, context: MessageContext) -> Any:
        if message.method == "tools/list":
            schema = {"type": "object", "properties": {"at_least": {"type": "integer"}}}
            tool = {"name": "count", "description": "Waits for a count.", "inputSchema": schema}
            return {"tools": [tool], "ttlMs": 0, "cacheScope": "public"}
        if message.method != "tools/call":
            raise RpcError(-32601, f"no such method: {message.method}")
        at_least = message.params.get("arguments", {}).get("at_least", 0)
        # Waits as long as it takes; if the caller loses patience, this is cancelled and nothing else is.
        await self.counter.wait_until(at_least)
        return {"content": [{"type": "text", "text": f"counted to at least {at_least}"}]}


async def main() -> None:
    counter = Counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(counter.run)
        await serve(Tools(counter), StdioServerTransport(), server_info=INFO)
        nursery.cancel_scope.cancel()
    # Standard output belongs to the protocol until `serve` returns.
    print("the input ended, and so did the counting", file=sys.stderr)


if __name__ == "__main__":
    trio.run(main)
