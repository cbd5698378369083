"""Our echo server with artificial correlation: a fresh one-item channel per request, on which its reply is awaited.

The claim to measure is that a server without it is faster. Transport, options and handler are those of the command
line's echo server, so that the pair differs in nothing but the correlation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import outcome
import trio

from trio_mcp_transport import EraPolicy, MessageHandler, StdioServerTransport, serve
from trio_mcp_transport.cli.echo_server import ECHO_INFO, Echo

Job = tuple[Any, Any, trio.MemorySendChannel[outcome.Outcome[Any]]]


class OneShot(MessageHandler):
    """Hands every message to a worker and awaits the reply on a channel made for it."""

    def __init__(self, submit: Callable[[Job], Awaitable[None]]) -> None:
        self._submit = submit

    async def handle_message(self, message: Any, context: Any) -> Any:
        """Correlate one request with its reply."""
        reply_send, reply_receive = trio.open_memory_channel[outcome.Outcome[Any]](1)
        await self._submit((message, context, reply_send))
        return (await reply_receive.receive()).unwrap()


async def work(jobs: trio.MemoryReceiveChannel[Job]) -> None:
    """Serve jobs one after the other, as the processor of a message-oriented framework does."""
    handle = Echo().handle_message
    async for message, context, reply in jobs:
        await reply.send(await outcome.acapture(handle, message, context))


async def main() -> None:
    """Serve until end of input."""
    submit, jobs = trio.open_memory_channel[Job](64)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, jobs)
        eras = EraPolicy(plain=True)
        await serve(OneShot(submit.send), StdioServerTransport(), server_info=ECHO_INFO, eras=eras)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
