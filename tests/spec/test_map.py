"""The spec map holds: its rows are whole, what the core enforces is proved, and the committed page says so."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.spec.document import MAP_FILE, named_tests, render
from tests.spec.generate import ROOT, collect_proofs
from tests.spec.rows import Row, load_rows

ROWS = load_rows(ROOT)
MOST_REASONS = 5


@pytest.fixture(scope="module")
def proofs() -> dict[str, list[str]]:
    return collect_proofs(ROOT)


def test_the_rows_are_all_there() -> None:
    requirements = [row.revision for row in ROWS.values() if not row.id.startswith("X-")]
    assert len(ROWS) == len(requirements) + 7  # the pairs of the compatibility matrix
    assert Counter(requirements) == {
        "2026-07-28": 257,
        "2025-11-25": 68,
        "2025-06-18": 9,
        "2025-03-26": 9,
        "2024-11-05": 7,
    }


def test_ids_are_numbered_without_gaps() -> None:
    seen: Counter[str] = Counter()
    for id_ in ROWS:
        prefix, _, number = id_.rpartition("-")
        seen[prefix] += 1
        assert int(number) == seen[prefix], id_


def test_texts_are_short_and_unlike_each_other() -> None:
    texts = Counter(row.text for row in ROWS.values())
    assert [text for text, count in texts.items() if count > 1 or len(text) > 120] == []


def test_what_the_core_enforces_is_proved(proofs: dict[str, list[str]]) -> None:
    unproved = [row for row in ROWS.values() if row.needs_proof and row.id not in proofs and row.reason is None]
    if unproved:
        pytest.fail("\n".join(f"missing: {row.id} {row.text}" for row in unproved), pytrace=False)


def test_reasons_are_few_and_stand_only_where_a_test_is_missing(proofs: dict[str, list[str]]) -> None:
    excused = [row for row in ROWS.values() if row.reason is not None]
    assert [row.id for row in excused if not row.needs_proof or row.id in proofs] == []
    assert len(excused) <= MOST_REASONS, [row.id for row in excused]


def test_the_committed_page_is_up_to_date(proofs: dict[str, list[str]]) -> None:
    page = (ROOT / MAP_FILE).read_text(encoding="utf-8")
    collected = frozenset(name for tests in proofs.values() for name in tests)
    changes = [f"named but not collected: {name}" for name in sorted(named_tests(page) - collected)]
    changes += [f"collected but not named: {name}" for name in sorted(collected - named_tests(page))]
    if changes or page != render(ROWS, proofs):
        pytest.fail("\n".join([f"{MAP_FILE} is stale: run python -m tests.spec.generate", *changes]), pytrace=False)


def test_no_default_option_narrows_a_run(pytestconfig: pytest.Config) -> None:
    # A test deselected by default would be named in the map and never run.
    defaults = pytestconfig.getini("addopts")
    narrowing = ("-m", "-k", "--ignore", "--deselect")
    assert [option for option in defaults if option.startswith(narrowing)] == []


def test_a_row_needs_proof_only_where_a_finished_part_enforces_it() -> None:
    columns = {"revision": "2026-07-28", "role": "both", "level": "MUST", "text": "Do it.", "source": "basic"}
    judged = {
        (scope, own): Row(id="M-XX-01", scope=scope, own=own, **columns).needs_proof
        for scope in ("core", "streams", "http")
        for own in ("enforce", "expose", "carry", "doc")
    }
    assert [case for case, needed in judged.items() if needed] == [("core", "enforce"), ("streams", "enforce")]
