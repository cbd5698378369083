"""A client that keeps three kinds of deadlines, and says which one fired.

Its server is the example next to it, ``embed_in_app.py``, whose tool waits for as long as it is asked to.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from trio_mcp_transport import Client, DeadlineExceeded, Deadlines, StdioClientTransport, open_client

SERVER = [sys.executable, str(Path(__file__).with_name("embed_in_app.py"))]


async def count(client: Client, at_least: int, deadlines: Deadlines | None = None) -> str:
    params = {"name": "count", "arguments": {"at_least": at_least}}
    result = await client.request("tools/call", params, deadlines=deadlines)
    text: str = result["content"][0]["text"]
    return text


async def main() -> None:
    async with open_client(StdioClientTransport(SERVER, stderr="devnull")) as client:
        # In time: no deadline fires.
        with trio.fail_after(30):
            print("answered:", await count(client, 3))

        # The caller's own deadline is Trio's, and looks like it.
        try:
            with trio.fail_after(0.2):
                await count(client, 1_000_000)
        except DeadlineExceeded:
            print("not this one")
        except trio.TooSlowError:
            print("the caller's deadline fired")

        # The client's deadlines are part of the path, so they are transport errors, and tell their names.
        try:
            await count(client, 1_000_000, Deadlines(total=0.2))
        except DeadlineExceeded as error:
            print(f"the client's {error.deadline!r} deadline fired: {error}")

        # `idle` is the longest silence; each progress notification would restart it.
        try:
            await count(client, 1_000_000, Deadlines(idle=0.2))
        except DeadlineExceeded as error:
            print(f"the client's {error.deadline!r} deadline fired: {error}")

        # Each of them cancelled its own call at the server, and nothing else.
        print("still connected:", await count(client, 5))


if __name__ == "__main__":
    trio.run(main)
