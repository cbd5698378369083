"""A server over a bounded stream, a handler that waits until it is released, and the ways to end both.

Must never judge what happens; tests do.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
import trio.testing

from tests.support import Wire
from trio_mcp_transport import LegacyMessageContext, MessageContext, MessageHandler, ServerInfo, serve
from trio_mcp_transport.errors import TransportError
from trio_mcp_transport.exchange import CancelCause
from trio_mcp_transport.testing import StreamServerTransport, byte_stream_pair
from trio_mcp_transport.wire.newline import NewlineCodec


async def settle() -> None:
    """Wait until every other task waits for something."""
    await trio.testing.wait_all_tasks_blocked()


class Slow(MessageHandler):
    """Waits until it is released, and keeps what it learns."""

    def __init__(self) -> None:
        self.began: list[Any] = []
        self.causes: list[CancelCause | None] = []
        self.errors: list[TransportError] = []
        self.closed = 0
        self.release = trio.Event()
        self.reply: dict[str, Any] = {}

    async def handle_message(self, message: Any, context: MessageContext) -> Any:
        self.began.append(getattr(message, "id", None))
        if message.method == "ask":
            assert isinstance(context, LegacyMessageContext)
            return await context.request("roots/list")
        if message.method == "quick":
            return self.reply
        if message.method == "stubborn":
            with trio.CancelScope(shield=True):
                await self.release.wait()
            return {}
        try:
            await self.release.wait()
        except trio.Cancelled:
            self.causes.append(context.cancel_cause)
            raise
        return self.reply

    async def handle_error(self, error: TransportError, context: MessageContext) -> None:
        self.errors.append(error)

    async def handle_close(self, context: MessageContext) -> None:
        self.closed += 1


class Served:
    """A served bounded stream: both ends, the statistics, and the ways to end it."""

    def __init__(self, handler: MessageHandler, capacity: int, codec: Any = NewlineCodec, **options: Any) -> None:
        self.near, far = byte_stream_pair(capacity)
        self.wire = Wire(self.near)
        self.transport = StreamServerTransport(far, codec=codec)
        self.shutdown = trio.Event()
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        options.setdefault("server_info", ServerInfo("s", "1"))
        self._serve = partial(serve, handler, self.transport, shutdown=self.shutdown, **options)

    async def run(self) -> None:
        with self.scope:
            await self._serve()
        self.ended.set()

    async def write(self, *messages: Any) -> None:
        await self.near.send_all(b"".join(json.dumps(message).encode() + b"\n" for message in messages))


@asynccontextmanager
async def served(handler: MessageHandler, capacity: int = 64 * 1024, **options: Any) -> AsyncIterator[Served]:
    async with trio.open_nursery() as nursery:
        one = Served(handler, capacity, **options)
        nursery.start_soon(one.run)
        yield one
        one.scope.cancel()
