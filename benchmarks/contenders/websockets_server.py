"""An echo server on `websockets`, asyncio: every message is decoded and answered inline in the task of its connection.

It must stay what the library's documentation shows, with room for a large message. It prints its address first.
"""

from __future__ import annotations

import asyncio

from raw_framings import answer
from websockets.asyncio.server import ServerConnection, serve


async def handle(connection: ServerConnection) -> None:
    """Serve until the end of a connection."""
    async for message in connection:
        payload = message.encode() if isinstance(message, str) else message
        if (reply := answer(payload)) is not None:
            await connection.send(reply.decode())


async def main() -> None:
    """Listen, print the address, serve."""
    async with serve(handle, "127.0.0.1", 0, max_size=4 * 1024 * 1024) as server:
        print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
