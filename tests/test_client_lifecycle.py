"""`run_client`: one task owns the client; whoever has it may use it and close it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import StreamClient, Wire, echo_params
from trio_mcp_transport import (
    Client,
    ClientInfo,
    ClientTransport,
    ConnectionClosed,
    ConnectionFailed,
    Deadlines,
    EraPolicy,
    Handlers,
    LocalProtocolError,
    MemoryServerTransport,
    ServerInfo,
    UnsupportedRevision,
    memory_transports,
    open_client,
    run_client,
    serve,
)
from trio_mcp_transport.testing import CancelRegion, cancel_at_every_checkpoint

INFO = ServerInfo("server", "1")


async def start_server(nursery: trio.Nursery, transport: MemoryServerTransport, **options: Any) -> None:
    await nursery.start(partial(serve, Handlers(echo_params), transport, server_info=INFO, **options))


def wire_pair() -> tuple[Wire, StreamClient]:
    ours, theirs = trio.testing.memory_stream_pair()
    return Wire(ours), StreamClient(theirs)


async def test_opened_in_one_task_used_from_fifty_and_closed_by_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server, transport = memory_transports()
    async with trio.open_nursery() as owner:
        await start_server(owner, server)
        opened: list[Client] = []

        async def open_it() -> None:
            opened.append(await owner.start(run_client, transport))

        async with trio.open_nursery() as first:
            first.start_soon(open_it)
        (client,) = opened
        answers: dict[int, Any] = {}

        async def use(number: int) -> None:
            answers[number] = (await client.request("echo", {"number": number}))["number"]

        async with trio.open_nursery() as users:
            for number in range(50):
                users.start_soon(use, number)
        assert answers == {number: number for number in range(50)}
        async with trio.open_nursery() as last:
            last.start_soon(client.aclose)
            last.start_soon(client.aclose)
        with pytest.raises(ConnectionClosed, match="the client was closed"):
            await client.request("echo")
        with pytest.raises(ConnectionClosed, match="the client was closed"):
            await client.notify("x")
        await client.aclose()
        owner.cancel_scope.cancel()


async def test_it_returns_when_the_client_is_closed_and_not_before(autojump_clock: trio.testing.MockClock) -> None:
    server, transport = memory_transports()
    async with trio.open_nursery() as nursery:
        await start_server(nursery, server)
        returned = trio.Event()

        async def run(*, task_status: Any) -> None:
            await run_client(transport, task_status=task_status)
            returned.set()

        client = await nursery.start(run)
        await trio.testing.wait_all_tasks_blocked()
        assert not returned.is_set()
        client.close()
        with trio.fail_after(1):
            await returned.wait()
        nursery.cancel_scope.cancel()


async def test_the_options_reach_the_wire(autojump_clock: trio.testing.MockClock) -> None:
    wire, transport = wire_pair()
    info = ClientInfo("mine", "2", capabilities={"sampling": {}})
    async with trio.open_nursery() as nursery:
        start = partial(run_client, transport, client_info=info, era="modern", discover=False)
        client = await nursery.start(start)
        nursery.start_soon(client.request, "x", {"a": 1})
        request = await wire.receive()
        assert request["params"] == {
            "a": 1,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {"sampling": {}},
                "io.modelcontextprotocol/clientInfo": {"name": "mine", "version": "2"},
            },
        }
        nursery.cancel_scope.cancel()


async def test_the_identity_can_be_kept_back(autojump_clock: trio.testing.MockClock) -> None:
    wire, transport = wire_pair()
    async with trio.open_nursery() as nursery:
        client = await nursery.start(partial(run_client, transport, era="modern", discover=False, send_info=False))
        nursery.start_soon(client.request, "x")
        assert "io.modelcontextprotocol/clientInfo" not in (await wire.receive())["params"]["_meta"]
        nursery.cancel_scope.cancel()


async def test_the_handler_serves_what_a_legacy_server_asks(autojump_clock: trio.testing.MockClock) -> None:
    async def ask_back(request: Any, context: Any) -> Any:
        return {"got": await context.request("sampling/createMessage", {"n": 1})}

    async def answer(request: Any, context: Any) -> Any:
        return {"method": request.method, "n": request.params["n"]}

    server, transport = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(ask_back), server, server_info=INFO))
        info = ClientInfo("c", "1", capabilities={"sampling": {}})
        start = partial(run_client, transport, era="legacy", handler=Handlers(answer), client_info=info)
        client = await nursery.start(start)
        assert await client.request("x") == {"got": {"method": "sampling/createMessage", "n": 1}}
        nursery.cancel_scope.cancel()


async def test_no_common_era_is_one_error_and_no_group(autojump_clock: trio.testing.MockClock) -> None:
    wire, transport = wire_pair()

    async def refuse() -> None:
        probe = await wire.receive()
        error = {"code": -32601, "message": "no such method"}
        await wire.send_line({"jsonrpc": "2.0", "id": probe["id"], "error": error})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        with pytest.raises(UnsupportedRevision):
            await run_client(transport, era="modern")


class Broken(ClientTransport):
    """A custom transport with a mistake in it."""

    async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fail)

    async def _fail(self) -> None:
        raise ZeroDivisionError("a mistake")


async def test_whatever_a_custom_transport_raises_arrives_as_a_transport_error() -> None:
    with pytest.raises(ConnectionFailed) as caught:
        await run_client(Broken())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_server_transport_runs_once_and_a_client_of_it_as_often_as_wanted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server, transport = memory_transports()
    async with trio.open_nursery() as nursery:
        await start_server(nursery, server)
        with pytest.raises(LocalProtocolError, match="runs once"):
            await serve(Handlers(), server)
        for _ in range(2):
            async with open_client(transport) as client:
                assert (await client.request("echo", {"a": 1}))["a"] == 1
        nursery.cancel_scope.cancel()
    with pytest.raises(LocalProtocolError, match="runs once"):
        await serve(Handlers(), server)


async def test_after_the_server_has_ended_nobody_connects(autojump_clock: trio.testing.MockClock) -> None:
    server, transport = memory_transports()
    async with trio.open_nursery() as nursery:
        await start_server(nursery, server)
        nursery.cancel_scope.cancel()
    with pytest.raises(ConnectionFailed, match="has ended"):
        await run_client(transport)


@pytest.mark.parametrize("era", ["auto", "modern", "legacy"])
def test_cancelled_at_any_moment_it_leaves_nothing(era: Any) -> None:
    async def scenario(region: CancelRegion) -> None:
        server, transport = memory_transports()
        async with trio.open_nursery() as nursery:
            await start_server(nursery, server, eras=EraPolicy())
            with region:
                async with trio.open_nursery() as owner:
                    start = partial(run_client, transport, era=era, deadlines=Deadlines(connect=60))
                    client = await owner.start(start)
                    assert (await client.request("echo", {"a": 1}))["a"] == 1
                    await client.aclose()
            nursery.cancel_scope.cancel()

    assert cancel_at_every_checkpoint(scenario) > 10
