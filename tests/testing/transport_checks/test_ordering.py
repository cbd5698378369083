"""A response in front of its notifications is seen."""

from __future__ import annotations

from tests.testing.certify import Pairs, broken_for, see_exactly
from trio_mcp_transport.testing.transport_checks import ordering


@broken_for(ordering)
def test_a_broken_transport_fails_exactly(pairs: Pairs, names: tuple[str, ...]) -> None:
    see_exactly(pairs, names)
