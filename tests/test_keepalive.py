"""Periodic pings: an answer of any kind is life, and silence ends the client."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import client_and_wire, client_over_bytes
from trio_mcp_transport import (
    Client,
    ConfigError,
    ConnectionClosed,
    DeadlineExceeded,
    Handlers,
    ServerInfo,
    TransportError,
    keep_alive,
    open_client,
)
from trio_mcp_transport.testing import connect

INFO = ServerInfo("s", "1")


class Clocked:
    """Runs `keep_alive` in a task and keeps how it ended."""

    def __init__(self, client: Client, **options: float) -> None:
        self._run = partial(keep_alive, client, **options)
        self.ended = trio.Event()
        self.error: TransportError | None = None

    async def run(self) -> None:
        try:
            await self._run()
        except TransportError as error:
            self.error = error
        self.ended.set()


@pytest.mark.requirement("L25-PI-02")
async def test_a_legacy_server_is_pinged_at_every_interval(autojump_clock: trio.testing.MockClock) -> None:
    transport, wire = client_and_wire()
    async with trio.open_nursery() as nursery:
        clients: list[Client] = []

        async def use() -> None:
            async with open_client(transport, era="legacy") as client:
                clients.append(client)
                await keep_alive(client, interval=30, timeout=10)

        nursery.start_soon(use)
        first = await wire.receive()
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
        await wire.send_line({"jsonrpc": "2.0", "id": first["id"], "result": result})
        await wire.receive()
        times: list[float] = []
        for number in range(3):
            with trio.move_on_after(29):
                await wire.assert_silent(60)
            ping = await wire.receive()
            times.append(trio.current_time())
            assert (ping["method"], ping.get("params")) == ("ping", None)
            # An error is an answer too: somebody is there.
            body: Any = {"result": {}} if number else {"error": {"code": -32601, "message": "no"}}
            await wire.send_line({"jsonrpc": "2.0", "id": ping["id"], **body})
        assert times == pytest.approx([30, 60, 90])
        clients[0].close()


@pytest.mark.requirement("L25-PI-02")
async def test_silence_is_logged_and_ends_the_client(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_over_bytes() as (client, _), trio.open_nursery() as nursery:
        watch = Clocked(client, interval=5.0, timeout=2.0)
        nursery.start_soon(watch.run)
        with pytest.raises(ConnectionClosed):
            await client.request("never answered")
        await watch.ended.wait()
        assert trio.current_time() == pytest.approx(7)
        assert isinstance(watch.error, DeadlineExceeded)
        assert (watch.error.deadline, watch.error.seconds) == ("ping", 2.0)
        with pytest.raises(ConnectionClosed):
            await client.request("later")
    assert "not answered within 2 s" in caplog.text


async def test_a_modern_server_is_asked_what_every_modern_server_answers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:
        nursery.start_soon(partial(keep_alive, client, interval=1.0))
        with trio.fail_after(2):
            assert (await wire.receive())["method"] == "server/discover"
        nursery.cancel_scope.cancel()


async def test_it_ends_quietly_with_the_client_and_loudly_with_the_connection(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(Handlers(), server_info=INFO) as client, trio.open_nursery() as nursery:
        watch = Clocked(client, interval=1.0)
        nursery.start_soon(watch.run)
        await trio.sleep(10)
        assert not watch.ended.is_set()
        await client.aclose()
        await watch.ended.wait()
        assert watch.error is None
    async with client_over_bytes() as (client, wire):
        watch = Clocked(client, interval=1.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            await wire.receive()
            await wire.end()
            await watch.ended.wait()
        assert isinstance(watch.error, ConnectionClosed)
    assert "server/discover failed" in caplog.text


async def test_cancelled_it_leaves_the_client_open() -> None:
    async with connect(Handlers(lambda request, context: {})) as client:
        with trio.move_on_after(0) as scope:
            await keep_alive(client)
        assert scope.cancelled_caught
        await client.request("m")


@pytest.mark.parametrize("options", [{"interval": 0}, {"interval": -1}, {"timeout": 0}, {"timeout": float("nan")}])
async def test_its_times_are_above_zero(options: dict[str, float]) -> None:
    async with connect(Handlers()) as client:
        with pytest.raises(ConfigError, match="above 0"):
            await keep_alive(client, **options)
