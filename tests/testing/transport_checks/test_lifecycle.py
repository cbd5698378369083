"""What a transport object says of itself, and what it leaves behind, is seen."""

from __future__ import annotations

import os
from typing import Any

import pytest
import trio

from tests.testing.certify import Pairs, broken_for, failure_of, see_exactly
from tests.testing.hub import HubServer
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.testing.transport_checks import lifecycle


@broken_for(lifecycle)
def test_a_broken_transport_fails_exactly(pairs: Pairs, names: tuple[str, ...]) -> None:
    see_exactly(pairs, names)


class LeakyServer(HubServer):
    """Keeps a descriptor of every connection."""

    async def serve_one(self, exchanges: Intake, stream: trio.abc.Stream) -> None:
        LEAKED.append(os.open(os.devnull, os.O_RDONLY))
        await super().serve_one(exchanges, stream)


LEAKED: list[int] = []


def test_a_descriptor_is_seen() -> None:
    try:
        failure = failure_of("nothing_is_left", LeakyServer)
    finally:
        while LEAKED:
            os.close(LEAKED.pop())
    assert "(/dev/null) was left" in failure.found


@pytest.mark.parametrize("addresses", [(), ["hub:"], ("hub",), (":hub",), (b"hub:",), None])
def test_addresses_nobody_can_use(addresses: Any) -> None:
    class Server(HubServer):
        pass

    Server.addresses = addresses
    assert "it was" in failure_of("addresses_are_reported", Server).found


def test_a_server_that_never_starts() -> None:
    class Server(HubServer):
        async def run(self, exchanges: Intake, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            await trio.sleep_forever()

    assert "task_status.started" in failure_of("addresses_are_reported", Server).expected
