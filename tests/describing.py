"""A server that answers with what it was given, in words: ``python -m tests.describing`` for standard streams.

Must never judge: two runs are compared by a test.
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

INFO = ServerInfo("describing", "1")


class Describing(MessageHandler):
    """Describes every request, and in its answer the notifications since the last one."""

    def __init__(self) -> None:
        self._notified: list[Any] = []

    async def handle_message(self, message: Request | Notification, context: MessageContext) -> Any:
        envelope = context.envelope
        sender = (envelope.modern, envelope.revision, envelope.client_info, envelope.client_capabilities)
        seen = [type(message).__name__, message.method, repr(message.params), repr(sender)]
        if isinstance(message, Notification):
            self._notified.append(seen)
            return None
        params = {key: value for key, value in message.params.items() if key != "_meta"}
        await context.progress(0.5, 2**53 + 1, repr(params))
        notified, self._notified = self._notified, []
        if message.method == "fail":
            raise RpcError(7, "as asked", {"params": params})
        return {"id": repr(message.id), "seen": seen, "notified": notified, "params": params}


if __name__ == "__main__":
    run(Describing(), StdioServerTransport(), server_info=INFO)
