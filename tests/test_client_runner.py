"""Connecting, losing the connection, and connecting again; the test is the server, the clock is virtual."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import StreamClient, Wire
from trio_mcp_transport import (
    Client,
    ClientTransport,
    ConnectionClosed,
    ConnectionFailed,
    DeadlineExceeded,
    Deadlines,
    Limits,
    RestartPolicy,
    RpcError,
    run_client,
)
from trio_mcp_transport.testing import byte_stream_pair

RESTART = RestartPolicy(initial=1, cap=1, limit=3, window=1000)
PLAIN: dict[str, Any] = {"era": "modern", "discover": False}


class Line(ClientTransport):
    """Gives the other end of every connection to the test; ``hangs`` connections never stand."""

    address = "line:"

    def __init__(self, restart: RestartPolicy | None = None) -> None:
        self.restart = restart
        self.send_wires, self.wires = trio.open_memory_channel[Wire](100)
        self.hangs = False
        self.fails: Exception | None = None
        self.runs = 0
        self.running = 0

    async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        self.runs += 1
        self.running += 1
        try:
            if self.fails is not None:
                raise self.fails
            if self.hangs:
                await trio.sleep_forever()
            ours, theirs = trio.testing.memory_stream_pair()
            self.send_wires.send_nowait(Wire(theirs))
            await StreamClient(ours).run(setup, task_status=task_status)
        finally:
            self.running -= 1


@asynccontextmanager
async def running(line: Line, **options: Any) -> AsyncIterator[tuple[Client, Wire, trio.Event]]:
    """Run a client; give it, the first connection, and an event that tells that `run_client` has returned."""
    ended = trio.Event()

    async def run(*, task_status: Any) -> None:
        await run_client(line, **{**PLAIN, **options}, task_status=task_status)
        ended.set()

    async with trio.open_nursery() as nursery:
        client = await nursery.start(run)
        yield client, await line.wires.receive(), ended
        nursery.cancel_scope.cancel()
    assert line.running == 0


async def answer(wire: Wire) -> Any:
    """Answer the next request with its own method; return it."""
    request = await wire.receive()
    await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "result": {"method": request["method"]}})
    return request


async def test_a_dead_connection_is_told_to_its_callers_and_to_nobody_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = Line()
    async with running(line) as (client, wire, ended):
        failures: list[BaseException] = []

        async def call() -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await client.request("x")
            failures.append(caught.value)

        async with trio.open_nursery() as callers:
            callers.start_soon(call)
            callers.start_soon(call)
            await wire.receive()
            await wire.stream.aclose()
        await ended.wait()
        await call()
        assert len({id(error) for error in failures}) == 3, "each caller has an error, and a traceback, of its own"
        assert {str(error) for error in failures} == {"the server closed the connection"}
        assert line.runs == 1


async def test_after_a_restart_a_lost_call_has_failed_and_a_new_one_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = Line(RESTART)
    async with running(line) as (client, wire, _):
        async with trio.open_nursery() as nursery:

            async def lose() -> None:
                with pytest.raises(ConnectionClosed, match="the server closed the connection"):
                    await client.request("lost")
                # Held until the next connection stands, after a pause of at most a second.
                began = trio.current_time()
                assert (await client.request("next"))["method"] == "next"
                assert trio.current_time() - began <= 1

            nursery.start_soon(lose)
            await wire.receive()
            await wire.stream.aclose()
            assert (await answer(await line.wires.receive()))["method"] == "next"
    assert line.runs == 2


async def test_a_listen_is_sent_again_with_a_new_id_and_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    line = Line(RESTART)
    async with running(line) as (client, wire, _):
        async with client.open_exchange("subscriptions/listen", {"notifications": {}}) as replies:
            first = await wire.receive()
            assert replies.request_id == first["id"]
            await wire.stream.aclose()
            wire = await line.wires.receive()
            second = await answer(wire)
            assert (second["method"], second["params"]) == (first["method"], first["params"])
            assert second["id"] == replies.request_id != first["id"]
            assert (await replies.receive()).result["method"] == "subscriptions/listen"


async def test_too_many_restarts_end_the_client_with_the_cause(autojump_clock: trio.testing.MockClock) -> None:
    line = Line(RESTART)
    async with running(line) as (client, wire, ended):
        async with client.open_exchange("subscriptions/listen", {"notifications": {}}) as replies:
            await wire.receive()
            line.fails = ConnectionFailed("cannot start", exit_status=1)
            await wire.stream.aclose()
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ConnectionFailed, match="cannot start"):
                await client.request("x")
            await ended.wait()
            with pytest.raises(ConnectionFailed, match="cannot start") as caught:
                await replies.receive()
            assert caught.value.exit_status == 1
    assert line.runs == 1 + RESTART.limit


async def test_a_handshake_refused_after_a_restart_is_a_failure_and_no_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = Line(RestartPolicy(initial=1, limit=1, window=1000))

    async def serve_once_and_refuse() -> None:
        wire = await line.wires.receive()
        initialize = await wire.receive()
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
        await wire.send_line({"jsonrpc": "2.0", "id": initialize["id"], "result": result})
        await wire.receive()
        await wire.stream.aclose()
        wire = await line.wires.receive()
        initialize = await wire.receive()
        error = {"code": -32000, "message": "full"}
        await wire.send_line({"jsonrpc": "2.0", "id": initialize["id"], "error": error})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_once_and_refuse)
        client = await nursery.start(partial(run_client, line, era="legacy"))
        await trio.sleep(10)
        with pytest.raises(ConnectionFailed, match="line: refused the handshake") as caught:
            await client.request("x")
        assert isinstance(caught.value.__cause__, RpcError)
    assert line.runs == 2


async def test_the_first_handshake_refused_is_the_servers_answer(autojump_clock: trio.testing.MockClock) -> None:
    line = Line(RESTART)
    async with trio.open_nursery() as nursery:

        async def refuse() -> None:
            wire = await line.wires.receive()
            initialize = await wire.receive()
            error = {"code": -32000, "message": "full"}
            await wire.send_line({"jsonrpc": "2.0", "id": initialize["id"], "error": error})

        nursery.start_soon(refuse)
        with pytest.raises(RpcError, match="full"):
            await run_client(line, era="legacy")
    assert (line.runs, line.running) == (1, 0)


@pytest.mark.parametrize("moment", ["pause", "connecting"])
async def test_closing_ends_a_reconnection_at_once(moment: str, autojump_clock: trio.testing.MockClock) -> None:
    line = Line(RestartPolicy(initial=1000, cap=1000) if moment == "pause" else RESTART)
    options: dict[str, Any] = {"deadlines": Deadlines(connect=None, probe=None)}
    async with running(line, **options) as (client, wire, ended):
        line.hangs = True
        await wire.stream.aclose()
        await trio.sleep(2)
        assert line.runs == (1 if moment == "pause" else 2)
        began = trio.current_time()
        await client.aclose()
        assert trio.current_time() - began < 1
        await ended.wait()
        with pytest.raises(ConnectionClosed):
            await client.request("x")


async def test_connecting_has_a_deadline_that_says_so_and_leaves_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = Line()
    line.hangs = True
    began = trio.current_time()
    with pytest.raises(DeadlineExceeded) as caught:
        await run_client(line, deadlines=Deadlines(connect=3), **PLAIN)
    assert (caught.value.deadline, caught.value.seconds) == ("connect", 3)
    assert trio.current_time() - began == pytest.approx(3)
    assert line.running == 0


async def test_the_deadline_covers_the_negotiation(autojump_clock: trio.testing.MockClock) -> None:
    line = Line()
    with pytest.raises(DeadlineExceeded, match="connect deadline of 3 s"):
        await run_client(line, deadlines=Deadlines(connect=3, probe=None), era="modern")
    assert line.running == 0


async def test_a_hard_end_of_the_first_connection_is_no_reason_to_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = Line(RESTART)
    line.fails = OSError("no such thing")
    with pytest.raises(ConnectionFailed, match="no such thing"):
        await run_client(line, **PLAIN)
    assert line.runs == 1


async def test_a_listen_that_waits_for_room_when_the_connection_dies_goes_to_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Narrow(Line):
        async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            ours, theirs = byte_stream_pair(10)
            self.send_wires.send_nowait(Wire(theirs))
            await StreamClient(ours).run(setup, task_status=task_status)

    line = Narrow(RESTART)
    filters = {"notifications": {"toolsListChanged": True}}
    async with (
        running(line, limits=Limits(outbox_bytes=100)) as (client, wire, _),
        trio.open_nursery() as nursery,
    ):

        async def listen() -> None:
            async with client.open_exchange("subscriptions/listen", filters) as replies:
                message = await replies.receive()
                assert message.result["method"] == "subscriptions/listen"

        nursery.start_soon(listen)
        nursery.start_soon(listen)
        await wire.receive()
        await wire.receive()
        await wire.stream.aclose()
        # The first of the two is too large for the stream, so that the second waits; neither is read.
        wire = await line.wires.receive()
        await trio.testing.wait_all_tasks_blocked()
        await wire.stream.aclose()
        wire = await line.wires.receive()
        await answer(wire)
        await answer(wire)
