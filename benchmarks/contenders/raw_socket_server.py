"""The raw Trio limit of an echo server on a TCP or Unix socket: what no framework on Trio's streams can beat.

As raw_server.py over stdio, on `trio.SocketStream`: one task per connection reads, cuts, decodes, encodes the answer
inline and writes once per chunk. No tasks per request, no limits, no validation. It prints its address first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import raw_server
import trio
from raw_framings import Frames, Payload, answer, prefix, take_prefixed


async def serve_newline(stream: trio.SocketStream) -> None:
    """Serve lines until the end of a connection."""
    await raw_server.serve(stream.receive_some, stream.send_all)


async def serve_frames(
    stream: trio.SocketStream, cut: Callable[[bytes], list[Payload]], header: Callable[[bytes], bytes]
) -> None:
    """Serve frames until the end of a connection; `header` makes what stands in front of a payload."""
    while chunk := await stream.receive_some():
        out: list[bytes] = []
        for payload in cut(chunk):
            if (reply := answer(payload)) is not None:
                out += header(reply), reply
        if out:
            await stream.send_all(b"".join(out))


async def serve_length_prefix(stream: trio.SocketStream) -> None:
    """Serve length-prefixed frames until the end of a connection."""
    await serve_frames(stream, Frames(take_prefixed).cut, prefix)


async def main(path: str | None, framing: str) -> None:
    """Listen where the options say, print the address, serve."""
    if path is None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        address = f"tcp://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    else:
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind(path)
        sock.listen()
        listeners = [trio.SocketListener(sock)]
        address = f"unix:{path}"
    print(address, flush=True)
    await trio.serve_listeners(serve_newline if framing == "newline" else serve_length_prefix, listeners)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("wire", choices=["tcp", "unix"])
    parser.add_argument("--path")
    parser.add_argument("--framing", choices=["newline", "length-prefix"], default="newline")
    options = parser.parse_args()
    trio.run(main, options.path, options.framing)
