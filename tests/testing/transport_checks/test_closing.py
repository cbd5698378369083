"""Ends that lose answers, take too long or say the wrong thing are seen."""

from __future__ import annotations

from typing import Any

import trio

from tests.testing.certify import Pairs, broken_for, failure_of, see_exactly
from tests.testing.hub import HubServer
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.testing.transport_checks import closing


@broken_for(closing)
def test_a_broken_transport_fails_exactly(pairs: Pairs, names: tuple[str, ...]) -> None:
    see_exactly(pairs, names)


class AbruptServer(HubServer):
    """Takes a shutdown for a cancellation."""

    async def run(self, exchanges: Intake, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.cancel_at, exchanges.shutdown, nursery.cancel_scope)
            await super().run(exchanges, task_status=task_status)
            nursery.cancel_scope.cancel()


def test_answers_lost_in_a_shutdown_are_seen() -> None:
    failure = failure_of("shutdown_answers_what_was_asked", AbruptServer)
    assert "ConnectionClosed" in failure.found
    failure = failure_of("draining_has_an_end", AbruptServer)
    assert "an error answer for a request that was cut off" in failure.expected
