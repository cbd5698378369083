"""The spec map as a page of the documentation: written from rows and marks, and read back for its test names.

Pure text: it must never run or collect a test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.spec.rows import SCOPES, Row

MAP_FILE = "docs/spec_map.rst"
"""Where the page is, relative to the root of a checkout."""

_INTRODUCTION = """\
.. Written by "python -m tests.spec.generate" from tests/spec/rows.toml and the marks on the tests.

Spec map
========

Every requirement of the Model Context Protocol that concerns a transport, in our words, and what proves that this
package meets it. Ids that begin with ``M`` belong to revision 2026-07-28, ``L25`` to 2025-11-25, ``L18`` to
2025-06-18, ``L03`` to 2025-03-26 and ``L11`` to 2024-11-05; ``X`` are the pairs of the compatibility matrix. The
level is the word the specification uses, or why the row exists without one; after it stands whose duty it is. Rows
without a test are either *offered* (the application decides), *carried* (passed through unharmed), a matter of
*documentation*, or come *later*, with a part of the package that does not exist yet.

The tests named here exist, ran and were not skipped in every full run of the test suite: a run that finds otherwise
fails.
"""

_WITHOUT_TEST = {"enforce": "**missing**", "expose": "offered", "carry": "carried", "doc": "documentation"}

_TEST_NAME = re.compile(r"``([^`\s]+\.py::[^`\s]+)``")


def render(rows: Mapping[str, Row], proofs: Mapping[str, Iterable[str]]) -> str:
    """Write the page for ``rows``, where ``proofs`` gives the names of the tests of each id."""
    sections = [_INTRODUCTION]
    for scope, title in SCOPES.items():
        members = [row for row in rows.values() if row.scope == scope]
        if members:
            sections.append(_section(title, members, proofs))
    return "\n".join(sections)


def named_tests(page: str) -> frozenset[str]:
    """Read the names of all tests that ``page`` mentions."""
    return frozenset(_TEST_NAME.findall(page))


def _section(title: str, rows: Sequence[Row], proofs: Mapping[str, Iterable[str]]) -> str:
    lines = [
        title,
        "-" * len(title),
        "",
        f"{sum(row.id in proofs for row in rows)} of {len(rows)} rows have a test.",
        "",
    ]
    lines += [".. list-table::", "   :header-rows: 1", "   :widths: 12 14 36 38", ""]
    lines += _cells("Id", "Level", "Requirement", ["Proof"])
    for row in rows:
        level = f"{row.level.strip('()')}, {row.role}"
        lines += _cells(row.id, level, _prose(row.text), list(_proof(row, sorted(proofs.get(row.id, ())))))
    return "\n".join([*lines, ""])


def _cells(id_: str, level: str, text: str, proof: list[str]) -> list[str]:
    # Several tests form a line block, so that each keeps a line of its own.
    block = proof if len(proof) == 1 else [f"| {line}" for line in proof]
    cells = [f"     - {cell}" for cell in (level, text, block[0])]
    return [f"   * - {id_}", *cells, *(f"       {line}" for line in block[1:])]


def _proof(row: Row, tests: list[str]) -> Iterator[str]:
    if tests:
        yield from (f"``{name}``" for name in tests)
    elif row.reason is not None:
        yield f"No test: {_prose(row.reason)}"
    else:
        yield _WITHOUT_TEST[row.own] if row.scope == "core" else "later"


def _prose(text: str) -> str:
    """Turn one line with `code` in single backticks into reStructuredText."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_|\\])", r"\\\1", prose) for prose in parts[::2]]
    return "``".join(parts)
