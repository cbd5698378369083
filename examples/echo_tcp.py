"""A server on TCP and a client of it, in one program: several calls at once over one connection, and an orderly end.

The two could as well be two programs: whoever is told the address can call,

    trio-mcp call echo '{"text": "hello"}' --to tcp://127.0.0.1:PORT
"""

from __future__ import annotations

from functools import partial
from typing import Any

import trio

from trio_mcp_transport import (
    Client,
    MessageContext,
    MessageHandler,
    Notification,
    Request,
    RpcError,
    ServerInfo,
    TcpClientTransport,
    TcpServerTransport,
    open_client,
    serve,
)
from trio_mcp_transport.addresses import TcpEndpoint, parse_endpoint

INFO = ServerInfo(name="echo", version="1.0")


class Echo(MessageHandler):
    async def handle_message(self, message: Request | Notification, context: MessageContext) -> Any:
        if message.method != "echo":
            raise RpcError(-32601, f"no such method: {message.method}")
        return {"text": message.params.get("text")}


async def call(client: Client, answers: list[str], text: str) -> None:
    result = await client.request("echo", {"text": text})
    answers.append(result["text"])


async def main() -> None:
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        # This host only, and any free port; ssl_context= would make it TLS, framing= change the framing.
        transport = TcpServerTransport("127.0.0.1", 0)
        (address,) = await nursery.start(partial(serve, Echo(), transport, server_info=INFO, shutdown=shutdown))
        endpoint = parse_endpoint(address)
        assert isinstance(endpoint, TcpEndpoint)
        print("serving:", endpoint.scheme, endpoint.host, endpoint.framing)

        answers: list[str] = []
        async with open_client(TcpClientTransport(endpoint.host, endpoint.port)) as client:
            async with trio.open_nursery() as calls:
                for text in ("one", "two", "three"):
                    calls.start_soon(call, client, answers, text)
        print("answered:", ", ".join(sorted(answers)))

        # No new connections from here on; what was asked is answered, and then `serve` returns.
        shutdown.set()
    print("connections:", transport.statistics().connection_count)


if __name__ == "__main__":
    trio.run(main)
