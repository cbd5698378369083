"""A server of 2026-07-28, without this library, that prints to its standard output like a careless one.

Usage: ``polluting_server.py``; each answer follows three lines that are no protocol.
"""

from __future__ import annotations

import json
import sys
from typing import Any

DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {},
    "ttlMs": 0,
    "cacheScope": "public",
}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a request; ``seen`` tells what kind of message the server got."""
    if request["method"] == "server/discover":
        return DISCOVERED
    return {"resultType": "complete", "method": request["method"]}


if __name__ == "__main__":
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "method" not in message:
            sys.exit(9)
        if "id" in message:
            sys.stdout.buffer.write(b"Loading model ... done\n\xff\xfe banner\n[1, 2\n")
            text = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer(message)})
            sys.stdout.buffer.write(text.encode() + b"\n")
            sys.stdout.buffer.flush()
