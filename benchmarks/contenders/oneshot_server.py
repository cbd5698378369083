"""Our server with artificial correlation: a fresh one-item channel per request, on which its reply is awaited.

The claim to measure is that a server without it is faster. Everything else is our server and one small handler; with
`--direct` the handler is called without the channel, so that the pair differs in nothing but the correlation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import trio

from trio_mcp_transport import MessageHandler, ServerInfo, StdioServerTransport, serve

Job = tuple[Any, Any, trio.MemorySendChannel[Any]]


class Echo(MessageHandler):
    """The echo tool and nothing else."""

    async def handle_message(self, message: Any, context: Any) -> Any:
        """Return the text that was sent."""
        text = message.params["arguments"]["text"]
        return {"content": [{"type": "text", "text": text}]}


class OneShot(MessageHandler):
    """Hands every message to a worker and awaits the reply on a channel made for it."""

    def __init__(self, submit: Callable[[Job], Any]) -> None:
        self._submit = submit

    async def handle_message(self, message: Any, context: Any) -> Any:
        """Correlate one request with its reply."""
        reply_send, reply_receive = trio.open_memory_channel[Any](1)
        await self._submit((message, context, reply_send))
        return await reply_receive.receive()


async def work(jobs: trio.MemoryReceiveChannel[Job]) -> None:
    """Serve jobs one after the other, as the processor of a message-oriented framework does."""
    handle = Echo().handle_message
    async for message, context, reply in jobs:
        await reply.send(await handle(message, context))


async def main(direct: bool) -> None:
    """Serve until end of input."""
    info = ServerInfo("oneshot", "0", {"tools": {}})
    if direct:
        await serve(Echo(), StdioServerTransport(), server_info=info)
        return
    submit, jobs = trio.open_memory_channel[Job](64)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, jobs)
        await serve(OneShot(submit.send), StdioServerTransport(), server_info=info)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, "--direct" in sys.argv[1:])
