"""Checks that content passes unchanged: strings that break naive framings, numbers, nesting, size.

Must never hold a value that JSON cannot.
"""

from __future__ import annotations

from typing import Any

from .bench import Bench
from .check import check

__all__ = ["large_messages_pass", "odd_content_passes"]


def odd_values() -> dict[str, Any]:
    """Return values that somebody's transport has broken before."""
    nested: Any = "bottom"
    for _ in range(100):
        nested = [nested]
    return {
        "line ends": "a\nb\r\nc\rd",
        "line separators": "a\u2028b\u2029c\x85d\x1ee",
        "null": "a\x00b",
        "escapes": '"\\/\b\f\t\x7f\x1b',
        "headers": "Content-Length: 5\r\n\r\n{}",
        "events": "data: x\n\ndata: y\n\n",
        "frame bytes": "\x00\x00\x00\x05{}\x81\x05",
        "bom": "\ufeffbom",
        "planes": "\U0001f600 \U0010ffff \ud7ff \ue000 é e\u0301",
        "right to left": "\u202eabc\u05d0",
        "empty": ["", {}, [], None, False, 0],
        "integers": [2**53 + 1, 2**63 - 1, -(2**63), 2**64, -(2**100), 10**60],
        "numbers": [1.5, -0.5, 1e300, 5e-324, 0.1],
        "nesting": nested,
        "nulls": {"a": None, "b": {"c": None}},
        "": "the empty key",
        "\u2028": "a separator as a key",
        "keys that look like messages": {"jsonrpc": "2.0", "id": 1, "method": "x", "result": {}},
    }


@check(when="each")
async def odd_content_passes(bench: Bench) -> None:
    """Line separators, NUL, every plane, big integers and deep nesting arrive unchanged, both ways."""
    served = await bench.serve()
    async with bench.connect(served) as client:
        for name, value in odd_values().items():
            result = await bench.ask(client, "check/echo", **{"key": "odd", name: value})
            echo = result.get("echo")
            bench.equal(echo, {"key": "odd", name: value}, f"{name!r}, echoed")


@check("large_messages")
async def large_messages_pass(bench: Bench) -> None:
    """A message of megabytes passes in each direction, beside small ones."""
    served = await bench.serve()
    size = bench.channel.large
    async with bench.connect(served) as client:
        text = "0123456789" * (size // 10)
        up = bench.start(client, "check/measure", text=text)
        small = [bench.start(client, "check/echo", number=number) for number in range(5)]
        down = bench.start(client, "check/blob", size=size)
        with bench.within(f"messages of {size} bytes in both directions, and small ones"):
            for one in (up, down, *small):
                await one.done.wait()
        bench.equal((up.result or {}).get("length"), len(text), "the length of what arrived at the handler")
        blob = (down.result or {}).get("blob", "")
        bench.true(blob == "x" * size, f"{size} bytes back", f"{len(blob)} came, {down.error!r}")
        echoes = [(one.result or {}).get("echo") for one in small]
        bench.equal(echoes, [{"number": number} for number in range(5)], "the small answers beside large ones")
