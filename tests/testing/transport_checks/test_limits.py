"""Limits that nobody keeps are seen, one byte above."""

from __future__ import annotations

from tests.testing.certify import Pairs, broken_for, examine, failure_of, see_exactly
from tests.testing.hub import HubServer
from trio_mcp_transport import FrameCodec, NewlineCodec
from trio_mcp_transport.testing.transport_checks import limits


@broken_for(limits)
def test_a_broken_transport_fails_exactly(pairs: Pairs, names: tuple[str, ...]) -> None:
    see_exactly(pairs, names)


class TightServer(HubServer):
    """Counts the delimiter."""

    def codec(self, size: int) -> FrameCodec:
        return NewlineCodec(max(1, size - 1))


def test_a_limit_that_is_one_too_small_is_seen() -> None:
    failure = failure_of("a_server_keeps_its_limit", TightServer)
    assert failure.expected == "an answer to a message of 8192 bytes at a limit of 8192"


def test_the_policy_is_held_to_what_was_said() -> None:
    assert failure_of("a_server_keeps_its_limit", oversize="closes").found == "it goes on"
    failed = examine(Pairs(), only=["a_server_keeps_its_limit"], oversize="goes on").failed
    assert failed == frozenset()
