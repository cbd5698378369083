"""Ids that change their type are seen."""

from __future__ import annotations

from tests.testing.certify import Pairs, broken_for, see_exactly
from trio_mcp_transport.testing.transport_checks import ids


@broken_for(ids)
def test_a_broken_transport_fails_exactly(pairs: Pairs, names: tuple[str, ...]) -> None:
    see_exactly(pairs, names)
