"""A server that takes the end of the input for the end of the client is seen."""

from __future__ import annotations

from tests.testing.certify import Pairs, broken_for, see_exactly
from trio_mcp_transport.testing.transport_checks import half_close


@broken_for(half_close)
def test_a_broken_transport_fails_exactly(pairs: Pairs, names: tuple[str, ...]) -> None:
    see_exactly(pairs, names)
