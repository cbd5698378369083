"""A client with one stderr policy; prints what it got, and by how much its memory grew, as one JSON object.

Usage: ``stderr_client.py inherit|capture|callback|devnull SERVER...``.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

import trio

from trio_mcp_transport import Deadlines, StdioClientTransport, open_client


def peak() -> int:
    """Return the largest resident set so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def main(policy: str, command: list[str]) -> None:
    """Ask one question, and report."""
    called = {"characters": 0, "longest": 0, "last": ""}

    def take(line: str) -> None:
        called["characters"] += len(line)
        called["longest"] = max(called["longest"], len(line))
        called["last"] = line or called["last"]

    stderr: Any = take if policy == "callback" else policy
    transport = StdioClientTransport(command, stderr=stderr, inherit_env=True)
    before = peak()
    async with open_client(transport, era="modern", deadlines=Deadlines(connect=30)) as client:
        answer = await client.request("echo", {"after": "the flood"})
        tail = transport.stderr_tail
    print(json.dumps({"answer": answer["after"], "growth": peak() - before, "tail": tail, "called": called}))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2:])
