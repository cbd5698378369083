"""A WebSocket server and clients of it, in one program: both engines, and a web page that is turned away.

From a shell:

    trio-mcp call echo '{"text": "hello"}' --to ws://127.0.0.1:PORT/mcp
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import trio

from trio_mcp_transport import (
    ConnectionFailed,
    MessageContext,
    MessageHandler,
    Notification,
    Request,
    RpcError,
    ServerInfo,
    WebSocketClientTransport,
    WebSocketServerTransport,
    open_client,
    serve,
)

INFO = ServerInfo(name="echo", version="1.0")


class Echo(MessageHandler):
    async def handle_message(self, message: Request | Notification, context: MessageContext) -> Any:
        if message.method != "echo":
            raise RpcError(-32601, f"no such method: {message.method}")
        return {"text": message.params.get("text")}


async def serve_and_call(engine: Literal["trio-websocket", "native"]) -> None:
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        transport = WebSocketServerTransport("127.0.0.1", 0, path="/mcp", engine=engine)
        (url,) = await nursery.start(partial(serve, Echo(), transport, server_info=INFO, shutdown=shutdown))

        async with open_client(WebSocketClientTransport(url, engine=engine)) as client:
            result = await client.request("echo", {"text": "hello"})
            print(f"answered on {engine}: {result['text']}")

        # Browsers say which page asks.  This one is not among `allowed_origins`.
        page = {"Origin": "https://example.com"}
        try:
            async with open_client(WebSocketClientTransport(url, headers=page)):
                print("connected, which must not be")
        except ConnectionFailed as error:
            print("a foreign page is refused:", "403" in str(error))
        shutdown.set()


async def main() -> None:
    await serve_and_call("trio-websocket")
    await serve_and_call("native")


if __name__ == "__main__":
    trio.run(main)
