"""An echo server that first writes a flood to standard error, before it looks at its input.

Usage: ``flood.py MEBIBYTES lines|solid``; ``solid`` has no line end before the two last lines.
"""

from __future__ import annotations

import os
import sys

from trio_mcp_transport.cli import main

MIB = 1 << 20
LINE = b"x" * 1023 + b"\n"


def flood(mebibytes: int, block: bytes) -> None:
    """Write blocks, waiting for whoever reads them."""
    for _ in range(mebibytes):
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(2, rest) :]


if __name__ == "__main__":
    flood(int(sys.argv[1]), LINE * (MIB // len(LINE)) if sys.argv[2] == "lines" else b"x" * MIB)
    os.write(2, b"\nthe flood is over\nserving now\n")
    sys.exit(main(["echo", "stdio"]))
