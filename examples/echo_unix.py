"""A server on a Unix socket that tells every caller who it is, and a client of it, in one program.

Only the owner of the socket's file can connect, and the kernel says who did.  From a shell:

    trio-mcp call whoami --to unix:/path/to/socket
"""

from __future__ import annotations

import os
import stat
import tempfile
from functools import partial
from typing import Any

import trio

from trio_mcp_transport import (
    MessageContext,
    MessageHandler,
    Notification,
    Request,
    RpcError,
    ServerInfo,
    UnixClientTransport,
    UnixServerTransport,
    open_client,
    serve,
)

INFO = ServerInfo(name="echo", version="1.0")


class Echo(MessageHandler):
    async def handle_message(self, message: Request | Notification, context: MessageContext) -> Any:
        if message.method == "echo":
            return {"text": message.params.get("text")}
        if message.method == "whoami" and context.peer.credentials is not None:
            pid, uid, _gid = context.peer.credentials
            return {"pid": pid, "uid": uid}
        raise RpcError(-32601, f"no such method: {message.method}")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = trio.Path(folder, "socket")
        shutdown = trio.Event()
        async with trio.open_nursery() as nursery:
            transport = UnixServerTransport(path)
            await nursery.start(partial(serve, Echo(), transport, server_info=INFO, shutdown=shutdown))
            print("mode of the socket:", oct(stat.S_IMODE((await path.stat()).st_mode)))

            async with open_client(UnixClientTransport(path)) as client:
                print("answered:", (await client.request("echo", {"text": "hello"}))["text"])
                caller = await client.request("whoami")
                print("known to be this process:", caller == {**caller, "pid": os.getpid(), "uid": os.getuid()})
            shutdown.set()
        print("left behind:", os.listdir(folder))


if __name__ == "__main__":
    trio.run(main)
