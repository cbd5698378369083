"""A client that starts a stdio server, calls one method of it and then waits to be killed.

Usage: ``parent.py ERA METHOD SERVER...``; prints the server's process id once the connection stands.
"""

from __future__ import annotations

import sys

import trio

from trio_mcp_transport import StdioClientTransport, open_client


async def main(era: str, method: str, command: list[str]) -> None:
    """Connect, say so, call."""
    transport = StdioClientTransport(command, inherit_env=True)
    async with open_client(transport, era=era) as client:
        print(transport.pid, flush=True)
        await client.request(method)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3:])
