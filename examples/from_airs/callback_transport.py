"""AIRS' event-driven ``Transport``: messages are pushed into a handler, and nobody asks for them.

``EventTransport`` turns a blocking `receive` into callbacks, as AIRS' ``StdioTransportAdapter`` does with an event
loop, a running flag, a shutdown channel and a task handle; here these four are one task in a nursery, which ends when
its scope is cancelled.  It runs as a server and as a client through the adapters, and a transport of the library runs
in its place.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import trio
from airs_errors import Closed
from custom_transport_template import CustomConfig, CustomTransport, echo

from trio_mcp_transport import Handlers, ServerInfo
from trio_mcp_transport.adapters.callback import as_callback_transport, open_callback_client, serve_callback
from trio_mcp_transport.testing import byte_stream_pair
from trio_mcp_transport.wire import messages


class EventTransport:
    def __init__(self, inner: CustomTransport, session: str) -> None:
        self.inner = inner
        self.session = session
        self.handler: Any = None
        self.running = False

    def set_message_handler(self, handler: Any) -> None:
        self.handler = handler

    def session_id(self) -> str | None:
        return self.session

    def is_connected(self) -> bool:
        return self.running

    async def start(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.running = True
        task_status.started()
        try:
            while True:
                message = messages.decode(await self.inner.receive())
                await self.handler.handle_message(message, {"session": self.session})
        except Closed:
            self.running = False
            await self.handler.handle_close()

    async def send(self, message: messages.Message) -> None:
        await self.inner.send(messages.encode(message))

    async def close(self) -> None:
        await self.inner.close()


async def main() -> None:
    async def serve_one(stream: trio.abc.Stream) -> None:
        transport = EventTransport(CustomTransport(CustomConfig(""), stream), "server")
        await serve_callback(Handlers(request=echo), transport, server_info=ServerInfo("events", "1.0"))

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        config = CustomConfig(f"127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        nursery.start_soon(partial(trio.serve_listeners, serve_one, listeners))
        async with open_callback_client(EventTransport(CustomTransport(config), "client")) as client:
            print("answered:", (await client.request("echo", {"text": "pushed"}))["text"])
        nursery.cancel_scope.cancel()

    # The other way round: a stream of the library in this shape, and in that of the TypeScript SDK.
    here, there = byte_stream_pair()
    got = trio.Event()
    async with as_callback_transport(here, form="object") as ours, as_callback_transport(there) as theirs:
        ours.onmessage = lambda message: (print("pushed:", json.dumps(message)), got.set())
        await ours.start()
        await theirs.start()
        await theirs.send({"jsonrpc": "2.0", "method": "notifications/hello"})
        await got.wait()


if __name__ == "__main__":
    trio.run(main)
