"""The list of revisions and the choice a server makes among them."""

from __future__ import annotations

from typing import Any

import pytest

from trio_mcp_transport.wire import revisions


def test_no_revision_belongs_to_both_eras_and_the_newest_comes_first() -> None:
    assert not set(revisions.MODERN) & set(revisions.LEGACY)
    for group in (revisions.MODERN, revisions.LEGACY):
        assert list(group) == sorted(group, reverse=True)
    assert min(revisions.MODERN) > max(revisions.LEGACY)
    assert (revisions.LATEST_MODERN, revisions.LATEST_LEGACY) == ("2026-07-28", "2025-11-25")
    assert revisions.BATCHING in revisions.LEGACY


@pytest.mark.parametrize(
    ("revision", "modern"),
    [("2026-07-28", True), ("2025-11-25", False), ("2099-01-01", False), ("", False), ("2026-07-28 ", False)],
)
def test_is_modern(revision: str, modern: bool) -> None:
    assert revisions.is_modern(revision) is modern


@pytest.mark.parametrize("requested", revisions.LEGACY)
def test_a_supported_legacy_revision_is_granted(requested: str) -> None:
    assert revisions.choose_legacy(requested) == requested


@pytest.mark.parametrize("requested", ["2026-07-28", "1900-01-01", "", None, 5, [], {}, ["2025-06-18"]])
def test_anything_else_gets_the_newest_legacy_one(requested: Any) -> None:
    assert revisions.choose_legacy(requested) == "2025-11-25"
