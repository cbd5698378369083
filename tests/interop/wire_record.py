"""Reads what `programs/tap.py` wrote down: both directions of one stdio conversation, and how the server ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TAP = Path(__file__).with_name("programs") / "tap.py"


class WireRecord:
    """One recorded conversation.

    Args:
        path: Where the tap writes; need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def folder(self) -> Path:
        """The folder the record is in."""
        return self._path.parent

    def command(self, server: Sequence[str]) -> list[str]:
        """Return the command that starts a server with the tap in front of it."""
        # Isolated and without site packages, which it does not need: it is to start fast.
        return [sys.executable, "-I", "-S", str(TAP), str(self._path), *server]

    def messages(self, side: str) -> list[Any]:
        """Return the decoded lines of ``client`` or ``server`` so far; fails when one is no JSON."""
        return [json.loads(entry["line"]) for entry in self._entries() if entry.get("from") == side and "line" in entry]

    def methods(self, side: str) -> list[str]:
        """Return the methods of the requests and notifications of a side, in order."""
        return [message["method"] for message in self.messages(side) if "method" in message]

    def long_lines(self, side: str) -> list[int]:
        """Return the lengths in bytes of the lines too long to be kept."""
        return [entry["bytes"] for entry in self._entries() if entry.get("from") == side and "bytes" in entry]

    def end(self) -> tuple[int, float]:
        """Return the server's exit status and the seconds from the end of its input to its exit.

        Raises:
            IndexError: The tap was killed before the server ended.
            TypeError: The server ended before its input did.
        """
        end = [entry for entry in self._entries() if "exit" in entry][-1]
        return end["exit"], float(end["seconds"])

    def _entries(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        # The last line may be half written while the server runs.
        return [json.loads(line) for line in self._path.read_text("utf-8").splitlines(True) if line.endswith("\n")]
