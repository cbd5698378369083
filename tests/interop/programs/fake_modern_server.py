"""A strict stdio server of the envelope era: ``python fake_modern_server.py PROBE REVISION...``.

PROBE says how it meets ``server/discover``: ``ok``, or an error code.  It serves the revisions named, answers others
with -32022, and does not know ``initialize``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"


def answer(method: str, params: dict[str, Any], probe: str, revisions: list[str]) -> dict[str, Any]:
    asked = params.get("_meta", {}).get(VERSION_KEY)
    if method == "initialize" or asked is None:
        return {"error": {"code": -32602, "message": "the envelope is missing"}}
    if method == "server/discover" and probe != "ok":
        return {"error": {"code": int(probe), "message": "not like this"}}
    if asked not in revisions:
        data = {"supported": revisions, "requested": asked}
        return {"error": {"code": -32022, "message": "unsupported", "data": data}}
    result: dict[str, Any] = {"resultType": "complete"}
    if method == "server/discover":
        result |= {"supportedVersions": revisions, "capabilities": {}, "ttlMs": 0, "cacheScope": "public"}
    else:
        result["content"] = [{"type": "text", "text": params["arguments"]["text"]}]
    return {"result": result}


def main(probe: str, *revisions: str) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            response = answer(message["method"], message.get("params", {}), probe, list(revisions))
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **response}), flush=True)


main(*sys.argv[1:])
