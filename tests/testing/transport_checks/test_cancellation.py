"""A cancellation that comes late, wrongly named or not at all is seen."""

from __future__ import annotations

from typing import Any

import trio

from tests.testing.certify import Pairs, broken_for, failure_of, see_exactly
from tests.testing.hub import HubServer
from trio_mcp_transport.abc import MessageLink
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.testing import DropLink
from trio_mcp_transport.testing.transport_checks import cancellation


@broken_for(cancellation)
def test_a_broken_transport_fails_exactly(pairs: Pairs, names: tuple[str, ...]) -> None:
    see_exactly(pairs, names)


class DeafServer(HubServer):
    """Never reads a cancellation."""

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return DropLink(link, lambda message: getattr(message, "method", "") == "notifications/cancelled")


class StubbornServer(HubServer):
    """Does not end when it is cancelled, for a while."""

    async def run(self, exchanges: Intake, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        try:
            await super().run(exchanges, task_status=task_status)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(20)


def test_no_cancellation_at_all_is_seen() -> None:
    failure = failure_of("leaving_cancels_the_handler", DeafServer)
    assert failure.expected == "the handler of a request that its client left to be cancelled"


def test_a_server_that_ignores_its_cancellation_is_seen() -> None:
    failure = failure_of("a_cancelled_server_fails_its_clients", StubbornServer)
    assert failure.expected == "a cancelled server to return"
