"""Runs `examine_transport` over hubs, broken or not, under a virtual clock.

Must never judge; the tests do.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import trio
import trio.testing

from tests.testing.broken import BROKEN_CLIENTS, BROKEN_SERVERS
from tests.testing.hub import HubClient, HubServer
from trio_mcp_transport.testing import CheckFailed, CheckReport, examine_transport
from trio_mcp_transport.testing.injection import repeatable


class Pairs:
    """Makes pairs of a hub, and opens raw streams to the latest."""

    def __init__(self, server: Any = HubServer, client: Any = HubClient) -> None:
        self._make_server = server
        self._make_client = client
        self._server = HubServer()

    def __call__(self) -> Any:
        self._server = server = self._make_server()
        return server, lambda addresses: self._make_client(server)

    async def connect_stream(self, addresses: tuple[str, ...]) -> trio.abc.Stream:
        return await self._server.connect()


def examine(pairs: Pairs, **options: Any) -> CheckReport:
    """Run the checks, all of them unless told otherwise."""

    async def run() -> CheckReport:
        return await examine_transport(pairs, connect_stream=pairs.connect_stream, **options)

    with repeatable(0):  # a fault may show in another check when the tasks take turns in another order
        return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def failure_of(check: str, server: Any = HubServer, client: Any = HubClient, **options: Any) -> CheckFailed:
    """Run one check and return what it says, where it must fail."""
    report = examine(Pairs(server, client), only=[check], **options)
    assert report.failures, f"{check} passed"
    return report.failures[0]


def broken_for(module: ModuleType) -> pytest.MarkDecorator:
    """Parametrize a test by the broken transports that are there for the checks of a module."""
    rows: list[tuple[Pairs, tuple[str, ...], Any]]
    rows = [(Pairs(server), names, server) for server, names in BROKEN_SERVERS if names[0] in module.__all__]
    rows += [(Pairs(client=client), names, client) for client, names in BROKEN_CLIENTS if names[0] in module.__all__]
    assert {names[0] for _, names, _ in rows} == {name for name in module.__all__ if hasattr(module, name)}
    params = [pytest.param(pairs, names, id=getattr(kind, "__name__", "")) for pairs, names, kind in rows]
    return pytest.mark.parametrize(("pairs", "names"), params)


def see_exactly(pairs: Pairs, names: tuple[str, ...]) -> None:
    """See that a broken transport fails these checks and no other."""
    report = examine(pairs)
    assert sorted(report.failed) == sorted(names), str(report)
