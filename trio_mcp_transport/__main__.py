"""``python -m trio_mcp_transport``, the same as the command ``trio-mcp``.

Must hold nothing but the call.
"""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
