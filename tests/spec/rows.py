"""The rows of the spec map, as ``rows.toml`` states them; judges nothing and must never import pytest."""

from __future__ import annotations

import tomllib
from pathlib import Path

import attrs
from attrs.validators import in_, matches_re

ROWS_FILE = "tests/spec/rows.toml"
"""Where the rows are, relative to the root of a checkout."""

SCOPES = {
    "core": "Core and stdio",
    "streams": "Byte streams and custom transports",
    "http": "Streamable HTTP",
    "auth": "Authorization",
    "production": "Deployment",
}
"""The parts of the package that answer for rows, with their titles, in reading order."""

DONE = frozenset({"core", "streams"})
"""The parts that are built: what they enforce must be proved."""

_ONE_LINE = matches_re(r"\S[^\n]*\S")


@attrs.frozen(kw_only=True)
class Row:
    """One requirement of the specification: who must do it, and what this package does about it."""

    id: str = attrs.field(validator=matches_re(r"[A-Z0-9]+-[A-Z]*-?\d\d"))
    revision: str = attrs.field(validator=matches_re(r"\d{4}-\d\d-\d\d"))
    role: str = attrs.field(validator=in_({"client", "server", "both", "intermediary", "proxy"}))
    level: str = attrs.field(validator=_ONE_LINE)
    own: str = attrs.field(validator=in_({"enforce", "expose", "carry", "doc"}))
    scope: str = attrs.field(validator=in_(SCOPES))
    text: str = attrs.field(validator=_ONE_LINE)
    source: str = attrs.field(validator=_ONE_LINE)
    reason: str | None = attrs.field(default=None, validator=attrs.validators.optional(_ONE_LINE))

    @property
    def needs_proof(self) -> bool:
        """Tell whether the row must have a test, or a stated reason for having none, today."""
        return self.scope in DONE and self.own == "enforce"


def load_rows(root: Path) -> dict[str, Row]:
    """Read all rows below ``root``, keyed by id, in the order of the file.

    Raises:
        OSError: when there is no such file.
        ValueError: when the file is not TOML, an id occurs twice or a column has no legal value.
        TypeError: when a column is missing or unknown.
    """
    tables = tomllib.loads((root / ROWS_FILE).read_text(encoding="utf-8"))
    return {id_: Row(id=id_, **columns) for id_, columns in tables.items()}
