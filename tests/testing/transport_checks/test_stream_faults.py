"""What a misbehaving stream does to anybody else is seen."""

from __future__ import annotations

import trio

from tests.testing.certify import Pairs, broken_for, failure_of, see_exactly
from tests.testing.hub import HubServer
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.testing.transport_checks import stream_faults


@broken_for(stream_faults)
def test_a_broken_transport_fails_exactly(pairs: Pairs, names: tuple[str, ...]) -> None:
    see_exactly(pairs, names)


class SharedServer(HubServer):
    """Ends with its first connection that ends."""

    async def serve_one(self, exchanges: Intake, stream: trio.abc.Stream) -> None:
        await super().serve_one(exchanges, stream)
        raise RuntimeError("a connection has ended")


def test_a_server_that_ends_with_one_connection_is_seen() -> None:
    for check in ("a_cut_ends_its_connection_alone", "every_stream_call_may_fail"):
        assert failure_of(check, SharedServer).check == check
