"""A strict stdio server of the handshake era: ``python fake_legacy_server.py PROBE REVISION``.

PROBE says how it meets ``server/discover``: an error code; ``silent``; ``late``, which answers it only after the
handshake; or ``empty``, an empty result.  REVISION is what it answers ``initialize`` with.  Before
``notifications/initialized`` it serves nothing else, and nothing with a 2026 envelope ever.
"""

from __future__ import annotations

import json
import sys
from typing import Any

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"


def send(id_: Any, **members: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": id_, **members}), flush=True)


def refuse(id_: Any, code: int, message: str) -> None:
    send(id_, error={"code": code, "message": message})


def main(probe: str, revision: str) -> None:
    initialized = False
    late: list[Any] = []
    for line in sys.stdin:
        message = json.loads(line)
        method, id_ = message.get("method"), message.get("id")
        params = message.get("params", {})
        if method == "notifications/initialized":
            initialized = True
            for each in late:
                refuse(each, -32601, "Method not found")
        elif id_ is None or method is None:
            continue
        elif method == "server/discover":
            if probe == "late":
                late.append(id_)
            elif probe == "empty":
                send(id_, result={})
            elif probe != "silent":
                refuse(id_, int(probe), "what is this?")
        elif method == "initialize":
            server = {"name": "fake-legacy", "version": "1"}
            send(id_, result={"protocolVersion": revision, "capabilities": {"tools": {}}, "serverInfo": server})
        elif not initialized:
            refuse(id_, -32600, f"{method} before the handshake")
        elif VERSION_KEY in params.get("_meta", {}):
            refuse(id_, -32600, "an envelope of 2026 in a session")
        elif method == "tools/call":
            send(id_, result={"content": [{"type": "text", "text": params["arguments"]["text"]}]})
        else:
            refuse(id_, -32601, "Method not found")


main(*sys.argv[1:])
