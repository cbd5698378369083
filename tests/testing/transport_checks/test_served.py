"""A served transport can be drained, cancelled and waited for, and says how it failed."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.testing.hub import HubServer
from trio_mcp_transport import LocalProtocolError
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.testing.transport_checks.journal import Event, Journal, MemoryJournal
from trio_mcp_transport.testing.transport_checks.served import (
    ElsewhereServer,
    LocalServer,
    RemoteServer,
    ServeOptions,
)


@pytest.mark.parametrize("ending", ["shutdown", "cancel"])
async def test_a_server_here(ending: str) -> None:
    served = LocalServer(HubServer(), ServeOptions())
    async with trio.open_nursery() as nursery:
        assert await nursery.start(served.run) == ("hub:",) == served.addresses
        getattr(served, ending)()
        await served.wait_ended()
    assert served.failure is None
    assert served.statistics().connection_count == 0


async def test_a_server_that_fails_is_started_without_addresses() -> None:
    transport = HubServer()
    transport.used = True
    served = LocalServer(transport, ServeOptions())
    async with trio.open_nursery() as nursery:
        assert await nursery.start(served.run) == ()
    assert isinstance(served.failure, LocalProtocolError)


async def test_a_transport_that_reports_twice_is_heard_once() -> None:
    class Server(HubServer):
        async def run(self, exchanges: Intake, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            task_status.started(("a:",))
            task_status.started(("b:",))

    served = LocalServer(Server(), ServeOptions())
    async with trio.open_nursery() as nursery:
        assert await nursery.start(served.run) == ("a:",)
    assert served.addresses == ("b:",)


class Remote(RemoteServer):
    def __init__(self) -> None:
        self.log = MemoryJournal()
        self.calls: list[object] = []

    def prepare(self, options: ServeOptions) -> tuple[str, ...]:
        self.calls.append(options)
        return ("far:",)

    @property
    def journal(self) -> Journal:
        return self.log

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def cancel(self) -> None:
        self.calls.append("cancel")


async def test_a_server_elsewhere_has_ended_when_all_of_its_runs_have() -> None:
    remote, options = Remote(), ServeOptions(drain=1.0)
    served = ElsewhereServer(remote, options)
    assert served.addresses == ("far:",) and served.journal is remote.log
    served.shutdown()
    served.cancel()
    assert remote.calls == [options, "shutdown", "cancel"]
    await served.wait_ended()  # nothing ever ran
    for pid in ("1", "2"):
        remote.log.add(Event("served", detail=pid))
    ended = trio.Event()
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            await served.wait_ended()
            ended.set()

        nursery.start_soon(wait)
        remote.log.add(Event("done", detail="1"))
        await trio.testing.wait_all_tasks_blocked()
        assert not ended.is_set()
        remote.log.add(Event("done", detail="2"))
    assert ended.is_set()
    assert served.statistics().messages_sent == 0
