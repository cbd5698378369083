"""AIRS' integration test of a custom transport: a server of two functions, and a client that is answered "pong".

There it is ``JsonRpcServer::new(transport).run(request_handler, notification_handler)``; here the two functions are
``Handlers(request=, notification=)``, and the server is ``serve_bytes``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import trio
from custom_transport_template import CustomConfig, CustomTransport

from trio_mcp_transport import Handlers, MessageContext, Notification, Request, ServerInfo
from trio_mcp_transport.adapters.blocking import open_bytes_client, serve_bytes


async def test_custom_transport_integration() -> None:
    notified: list[str] = []

    async def request_handler(request: Request, context: MessageContext) -> Any:
        return {"value": "pong"}

    async def notification_handler(notification: Notification, context: MessageContext) -> None:
        notified.append(notification.method)

    handlers = Handlers(request=request_handler, notification=notification_handler)
    config = CustomConfig(endpoint="", timeout_ms=5000, max_message_size=1024 * 1024)

    async def serve_one(stream: trio.abc.Stream) -> None:
        transport = CustomTransport(config, stream)
        await serve_bytes(handlers, transport, server_info=ServerInfo("integration", "1.0"))

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        config.endpoint = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.start_soon(partial(trio.serve_listeners, serve_one, listeners))
        for era in ("modern", "legacy"):
            async with open_bytes_client(CustomTransport(config), era=era) as client:
                await client.notify("example/notice")
                answer = await client.request("example/ping")
            assert answer["value"] == "pong"
            assert notified.count("example/notice") == (1 if era == "modern" else 2)
            print(f"passed: {era}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(test_custom_transport_integration)
