"""The page of the spec map shows each row with its proof, and gives the names of its tests back."""

from __future__ import annotations

import attrs

from tests.spec.document import named_tests, render
from tests.spec.rows import Row

ROW = Row(
    id="M-XX-01",
    revision="2026-07-28",
    role="server",
    level="(derived)",
    own="enforce",
    scope="core",
    text="Keys with a * in `_meta` stay.",
    source="basic",
)
LAST_CELL = "     - "


def proof_cell(row: Row, *tests: str) -> str:
    page = render({row.id: row}, {row.id: tests})
    return page.rpartition(LAST_CELL)[2].rstrip("\n")


def test_a_row_shows_id_level_role_and_text() -> None:
    page = render({ROW.id: ROW}, {})
    assert "   * - M-XX-01\n     - derived, server\n     - Keys with a \\* in ``_meta`` stay.\n" in page


def test_one_test_is_a_literal_and_several_are_a_line_block() -> None:
    assert proof_cell(ROW, "tests/a.py::test_x") == "``tests/a.py::test_x``"
    assert proof_cell(ROW, "tests/b.py::test_y", "tests/a.py::test_x") == (
        "| ``tests/a.py::test_x``\n       | ``tests/b.py::test_y``"
    )


def test_without_a_test_the_page_says_why() -> None:
    assert proof_cell(ROW) == "**missing**"
    assert proof_cell(attrs.evolve(ROW, reason="The `kernel` does it.")) == "No test: The ``kernel`` does it."
    assert proof_cell(attrs.evolve(ROW, own="doc")) == "documentation"
    assert proof_cell(attrs.evolve(ROW, scope="http")) == "later"


def test_the_names_are_read_back() -> None:
    tests = {"tests/a.py::test_x", "tests/a.py::TestThing::test_y"}
    assert named_tests(render({ROW.id: ROW}, {ROW.id: tests})) == tests
