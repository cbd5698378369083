"""A bare trio-websocket echo server: every message is decoded and answered inline in the task of its connection.

It must stay what the library's documentation shows, with two options raised, so that it is no easy prey: 64 KiB per
read instead of 4 KiB, which halves the cost of a large message, and room for one. It prints its address first.
"""

from __future__ import annotations

import trio
from raw_framings import answer
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket


async def serve(request: WebSocketRequest) -> None:
    """Serve until the end of a connection."""
    connection = await request.accept(subprotocol="mcp")
    while True:
        try:
            message = await connection.get_message()
            payload = message.encode() if isinstance(message, str) else message
            if (reply := answer(payload)) is not None:
                await connection.send_message(reply.decode())
        except ConnectionClosed:
            return


async def main() -> None:
    """Listen, print the address, serve."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            lambda task_status: serve_websocket(
                serve,
                "127.0.0.1",
                0,
                None,
                max_message_size=4 * 1024 * 1024,
                receive_buffer_size=65536,
                task_status=task_status,
            )
        )
        print(f"ws://127.0.0.1:{server.port}/", flush=True)


if __name__ == "__main__":
    trio.run(main)
