"""The protocol revisions and which of the two eras each belongs to.

Must never decide anything about a message: routing by era is done in `transports.eras` with these tables.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "BATCHING",
    "LATEST_LEGACY",
    "LATEST_MODERN",
    "LEGACY",
    "MODERN",
    "choose_legacy",
    "is_modern",
]

MODERN: Final = ("2026-07-28",)
"""Stateless revisions, newest first: every request carries its own envelope."""

LEGACY: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Session revisions, newest first: one ``initialize`` handshake per connection or session."""

LATEST_MODERN: Final = MODERN[0]
LATEST_LEGACY: Final = LEGACY[0]

BATCHING: Final = "2025-03-26"
"""The only revision whose peers may send JSON-RPC batches (rows L03-01 to L03-06, L18-07)."""


def is_modern(revision: str) -> bool:
    """Tell whether a revision string names a supported modern revision."""
    return revision in MODERN


def choose_legacy(requested: object) -> str:
    """Return the legacy revision a server answers ``initialize`` with (L25-LC-07).

    Args:
        requested: The client's ``protocolVersion``, whatever its type.

    Returns:
        The requested revision when it is supported, else the newest legacy one.
    """
    return requested if isinstance(requested, str) and requested in LEGACY else LATEST_LEGACY
