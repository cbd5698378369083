"""AIRS' stdio ping: send the bytes of one message, receive the bytes of the answer, close.

``as_bytes_transport`` gives a transport of this library the shape of AIRS' first ``Transport``; nothing is negotiated
and nothing is answered for whoever uses it.  The server is the library's own, as a child process.
"""

from __future__ import annotations

import sys

import trio

from trio_mcp_transport import StdioClientTransport
from trio_mcp_transport.adapters.blocking import as_bytes_transport

SERVER = [sys.executable, "-m", "trio_mcp_transport", "echo", "stdio"]


async def main() -> None:
    async with as_bytes_transport(StdioClientTransport(SERVER)) as transport:
        await transport.send(b'{"jsonrpc":"2.0","method":"ping","id":"1"}')  # the newline is added
        response = await transport.receive()  # and taken away
        print("Received:", response.decode())


if __name__ == "__main__":
    trio.run(main)
