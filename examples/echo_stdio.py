"""A minimal server: answers ``echo`` with the params it was given, over standard input and output.

Try it from the folder that holds it:

    trio-mcp call echo '{"text": "hello"}' -- python echo_stdio.py
"""

from __future__ import annotations

from typing import Any

from trio_mcp_transport import (
    MessageContext,
    MessageHandler,
    Notification,
    Request,
    RpcError,
    ServerInfo,
    StdioServerTransport,
    run,
)


class Echo(MessageHandler):
    async def handle_message(self, message: Request | Notification, context: MessageContext) -> Any:
        if message.method != "echo":
            raise RpcError(-32601, f"no such method: {message.method}")
        return {"text": message.params.get("text")}


if __name__ == "__main__":
    run(Echo(), StdioServerTransport(), server_info=ServerInfo(name="echo", version="1.0"))
