"""The raw Trio limit of a WebSocket echo server: frames cut by hand on `trio.SocketStream`, answered inline.

One write per chunk, no tasks per request, no checks, no control frames: a yardstick that must never grow a feature
with a cost. It prints its address first.
"""

from __future__ import annotations

import trio
from raw_framings import Closed, Frames, accept_upgrade, take_masked, text_header
from raw_socket_server import serve_frames


async def serve(stream: trio.SocketStream) -> None:
    """Shake hands, and serve until the end of a connection."""
    request = b""
    while b"\r\n\r\n" not in request:
        if not (piece := await stream.receive_some()):
            return
        request += piece
    await stream.send_all(accept_upgrade(request))
    try:
        await serve_frames(stream, Frames(take_masked).cut, text_header)
    except Closed:
        return


async def main() -> None:
    """Listen, print the address, serve."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/", flush=True)
    await trio.serve_listeners(serve, listeners)


if __name__ == "__main__":
    trio.run(main)
