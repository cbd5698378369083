"""`check_transport` passes what is right, and names what is wrong: one broken transport, or more, for every check."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing

from tests.testing.broken import BROKEN_CLIENTS, BROKEN_SERVERS
from tests.testing.hub import HubClient, HubServer
from trio_mcp_transport.testing import CheckReport, examine_transport
from trio_mcp_transport.testing.transport_checks.catalogue import CHECKS

NAMES = {check.name for check in CHECKS}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Handlers crash here by the hundred; a failed test is read more easily without their tracebacks."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


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
    async def run() -> CheckReport:
        return await examine_transport(pairs, connect_stream=pairs.connect_stream, **options)

    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_hub_passes_everything() -> None:
    report = examine(Pairs())
    assert report.failures == ()
    assert {name for name, _ in report.passed} == NAMES
    assert report.left_out == {}
    assert {("requests_arrive", "modern"), ("requests_arrive", "legacy")} <= set(report.passed)


def test_every_check_has_a_broken_transport() -> None:
    assert {names[0] for _, names in (*BROKEN_SERVERS, *BROKEN_CLIENTS)} == NAMES


@pytest.mark.parametrize(("server", "names"), BROKEN_SERVERS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_server_fails_exactly(server: Any, names: tuple[str, ...]) -> None:
    assert sorted(examine(Pairs(server)).failed) == sorted(names)


@pytest.mark.parametrize(("client", "names"), BROKEN_CLIENTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_client_fails_exactly(client: Any, names: tuple[str, ...]) -> None:
    assert sorted(examine(Pairs(client=client)).failed) == sorted(names)
