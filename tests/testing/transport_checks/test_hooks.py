"""A last hook that comes twice, too early or never is seen."""

from __future__ import annotations

import copy
from typing import Any

import trio

from tests.testing.certify import Pairs, broken_for, failure_of, see_exactly
from tests.testing.hub import HubServer
from trio_mcp_transport import MessageContext
from trio_mcp_transport.context import ConnectionInfo
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.testing.transport_checks import hooks
from trio_mcp_transport.wire.envelope import Envelope


@broken_for(hooks)
def test_a_broken_transport_fails_exactly(pairs: Pairs, names: tuple[str, ...]) -> None:
    see_exactly(pairs, names)


class MuteServer(HubServer):
    """Never runs the last hook."""

    async def serve_one(self, exchanges: Intake, stream: trio.abc.Stream) -> None:
        exchanges = copy.copy(exchanges)

        async def report_close(context: Any) -> None:
            await trio.lowlevel.checkpoint()

        exchanges.report_close = report_close  # type: ignore[method-assign]
        await super().serve_one(exchanges, stream)


class StrangeServer(HubServer):
    """Runs the last hook for a connection nobody knows."""

    async def serve_one(self, exchanges: Intake, stream: trio.abc.Stream) -> None:
        await super().serve_one(exchanges, stream)
        await exchanges.report_close(MessageContext(ConnectionInfo(transport="hub", connection_id="?"), Envelope()))


def test_a_hook_that_never_comes_is_seen() -> None:
    assert "handle_close after the client was closed" in str(failure_of("close_comes_last_and_once", MuteServer))


def test_a_hook_of_another_connection_is_seen() -> None:
    assert "the number of connections" in str(failure_of("close_comes_last_and_once", StrangeServer))
