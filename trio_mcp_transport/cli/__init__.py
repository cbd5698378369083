"""The command ``trio-mcp``: try things, call servers, see every transport work.

Must never hold anything that an embedding program needs: the command uses the public names like everybody else.
"""

from __future__ import annotations

from .main import main

__all__ = ["main"]
