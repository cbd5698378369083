"""`open_client`: what the block does with its body, with other tasks, and with failures of connecting."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.processes import ECHO, alive, has_children
from tests.support import StreamClient, Wire, echo_params
from trio_mcp_transport import (
    Client,
    ClientTransport,
    ConnectionClosed,
    ConnectionFailed,
    Handlers,
    LocalProtocolError,
    MemoryClientTransport,
    RpcError,
    ServerInfo,
    StdioClientTransport,
    memory_transports,
    open_client,
    serve,
)
from trio_mcp_transport.testing import CancelRegion, Footprint, cancel_at_every_checkpoint


@asynccontextmanager
async def served() -> AsyncIterator[tuple[MemoryClientTransport, trio.Nursery]]:
    """Serve an echo in memory; give the way to it, and the nursery."""
    server, transport = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(echo_params), server, server_info=ServerInfo("s", "1")))
        yield transport, nursery
        nursery.cancel_scope.cancel()


class Stuck(ClientTransport):
    """Never connects, and takes a second to end."""

    address = "stuck:"
    running = 0

    async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        self.running += 1
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            self.running -= 1


async def _raise_in(
    block: open_client, error: Exception, *, after: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
) -> None:
    async with block:
        try:
            await after()
        finally:
            raise error


async def test_the_bodys_own_exception_leaves_unwrapped(autojump_clock: trio.testing.MockClock) -> None:
    error = KeyError("the body's own")
    group = ExceptionGroup("the body's own too", [error])
    async with served() as (transport, nursery):
        for raised in (error, group, RpcError(1, "x")):
            for own in (None, nursery):
                block = open_client(transport, nursery=own)
                with pytest.raises(type(raised)) as caught:
                    await _raise_in(block, raised)
                assert caught.value is raised


async def test_a_dead_connection_does_not_cancel_the_body(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with open_client(StreamClient(ours), era="modern", discover=False) as client:
        await theirs.aclose()
        await trio.sleep(100)
        with pytest.raises(ConnectionClosed, match="the server closed the connection"):
            await client.request("x")
        went_on = True
    assert went_on


async def test_calls_left_open_by_the_body_are_cancelled_at_the_peer(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    wire = Wire(theirs)
    failed: list[str] = []

    async def call(client: Client) -> None:
        try:
            await client.request("x")
        except ConnectionClosed as error:
            failed.append(str(error))

    async with trio.open_nursery() as nursery:
        async with open_client(StreamClient(ours), era="modern", discover=False) as client:
            nursery.start_soon(call, client)
            request = await wire.receive()
        cancelled = await wire.receive()
        assert (cancelled["method"], cancelled["params"]["requestId"]) == ("notifications/cancelled", request["id"])
        assert await wire.receive_rest() == []
    assert failed == ["the client was closed"]


@pytest.mark.parametrize("shared", [False, True])
async def test_connect_errors_are_single_and_leave_nothing(shared: bool) -> None:
    async with trio.open_nursery() as nursery:
        before = Footprint.take()
        own = nursery if shared else None
        block = open_client(StdioClientTransport(["/nowhere/server"]), nursery=own)
        with pytest.raises(ConnectionFailed) as caught:
            await block.__aenter__()
        assert "/nowhere/server" in str(caught.value)
        assert before.left_by(Footprint.take(), threads=False) == []


@pytest.mark.parametrize("shared", [False, True])
async def test_cancelled_while_it_connects_it_waits_until_nothing_is_left(
    shared: bool, autojump_clock: trio.testing.MockClock
) -> None:
    stuck = Stuck()
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(5) as scope:
            async with open_client(stuck, nursery=nursery if shared else None):
                raise AssertionError("it never connects")
        assert scope.cancelled_caught
        assert stuck.running == 0
        assert trio.current_time() == pytest.approx(scope.deadline + 1)
        assert not nursery.child_tasks


async def test_a_nursery_that_is_cancelled_while_the_client_opens_is_a_typed_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        block = open_client(Stuck(), nursery=nursery)

        async def cancel() -> None:
            await trio.sleep(1)
            nursery.cancel_scope.cancel()

        with trio.CancelScope(shield=True):
            nursery.start_soon(cancel)
            with pytest.raises(ConnectionClosed, match="before it connected"):
                await block.__aenter__()


async def test_cancelled_in_the_body_the_cancellation_comes_out_and_nothing_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with served() as (transport, nursery):
        for own in (None, nursery):
            with trio.move_on_after(1) as scope:
                async with open_client(transport, nursery=own):
                    await trio.sleep_forever()
            assert scope.cancelled_caught
            # An error on the way out of a cancelled body goes first.
            block = open_client(transport, nursery=own)
            with pytest.raises(KeyError), trio.move_on_after(1) as scope:
                await _raise_in(block, KeyError(), after=trio.sleep_forever)
            assert not scope.cancelled_caught


async def test_with_a_nursery_it_is_left_in_any_task(autojump_clock: trio.testing.MockClock) -> None:
    async with served() as (transport, nursery):
        block = open_client(transport, nursery=nursery)
        clients: list[Client] = []

        async def enter() -> None:
            clients.append(await block.__aenter__())

        async with trio.open_nursery() as first:
            first.start_soon(enter)
        assert (await clients[0].request("echo", {"a": 1}))["a"] == 1
        async with trio.open_nursery() as second:
            second.start_soon(block.__aexit__, None, None, None)
        with pytest.raises(ConnectionClosed):
            await clients[0].request("echo")


async def test_without_one_another_task_is_refused_and_the_first_may_still_leave(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with served() as (transport, _):
        block = open_client(transport)
        await block.__aenter__()

        async def leave() -> None:
            with pytest.raises(RuntimeError, match="pass nursery="):
                await block.__aexit__(None, None, None)

        async with trio.open_nursery() as other:
            other.start_soon(leave)
        await block.__aexit__(None, None, None)


async def test_a_block_is_entered_once_and_left_only_then(autojump_clock: trio.testing.MockClock) -> None:
    async with served() as (transport, _):
        block = open_client(transport)
        with pytest.raises(LocalProtocolError, match="never entered"):
            await block.__aexit__(None, None, None)
        async with block:
            pass
        with pytest.raises(LocalProtocolError, match="entered once"):
            async with block:
                pass


async def test_closing_inside_the_block_is_no_harm(autojump_clock: trio.testing.MockClock) -> None:
    async with served() as (transport, _):
        async with open_client(transport) as client:
            await client.aclose()
            with pytest.raises(ConnectionClosed, match="the client was closed"):
                await client.request("echo")


async def test_one_stdio_transport_serves_one_client_at_a_time() -> None:
    transport = StdioClientTransport(ECHO, inherit_env=True)
    async with open_client(transport) as client:
        with pytest.raises(LocalProtocolError, match="already runs"):
            async with open_client(transport):
                raise AssertionError("two clients of one child")
        assert (await client.request("echo", {"a": 1}))["a"] == 1
        pid = transport.pid
    assert pid is not None
    assert not alive(pid)


async def test_a_child_that_never_answers_is_gone_after_the_cancellation() -> None:
    silent = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    transport = StdioClientTransport(silent)
    before = Footprint.take()
    with trio.move_on_after(0.2) as scope:
        async with open_client(transport):
            raise AssertionError("nobody answered")
    assert scope.cancelled_caught
    assert before.left_by(Footprint.take(), threads=False) == []


@pytest.mark.parametrize("shared", [False, True])
def test_cancelled_at_any_moment_it_leaves_nothing(shared: bool) -> None:
    async def scenario(region: CancelRegion) -> None:
        async with served() as (transport, nursery):
            with region:
                async with open_client(transport, nursery=nursery if shared else None) as client:
                    assert (await client.request("echo", {"a": 1}))["a"] == 1
            if shared:
                await trio.testing.wait_all_tasks_blocked()

    assert cancel_at_every_checkpoint(scenario) > 10


def test_an_interrupt_in_the_moment_the_child_has_started_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    open_process = trio.lowlevel.open_process
    started: list[int] = []

    async def interrupted(*args: Any, **options: Any) -> trio.Process:
        process = await open_process(*args, **options)
        started.append(process.pid)
        signal.raise_signal(signal.SIGINT)
        return process

    monkeypatch.setattr(trio.lowlevel, "open_process", interrupted)

    async def main() -> None:
        async with open_client(StdioClientTransport(ECHO, inherit_env=True)):
            raise AssertionError("the interrupt was lost")

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        trio.run(main)
    assert isinstance(caught.value, KeyboardInterrupt) or caught.value.subgroup(KeyboardInterrupt) is not None
    assert len(started) == 1
    assert not alive(started[0])
    assert not has_children()
