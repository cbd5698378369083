"""Client and server in one process: nothing is shared, nobody starves, and the end is an error."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import (
    Client,
    Deadlines,
    Handlers,
    LegacyMessageContext,
    MessageContext,
    Request,
    RpcError,
    ServerInfo,
    memory_transports,
    open_client,
    serve,
)
from trio_mcp_transport.errors import ConnectionClosed, ConnectionFailed, LocalProtocolError, TransportError
from trio_mcp_transport.testing import connect

INFO = ServerInfo("s", "1")


async def echo(request: Request, context: MessageContext) -> Any:
    return {"text": request.params.get("text")}


async def test_the_two_sides_share_no_object() -> None:
    kept: list[dict[str, Any]] = []
    answer: dict[str, Any] = {"list": [1]}

    async def handle(request: Request, context: MessageContext) -> Any:
        kept.append(request.params)
        request.params["list"].append("changed by the handler")
        return answer

    async with connect(Handlers(handle), era="legacy") as client:
        params = {"list": ["original"]}
        result = await client.request("m", params)
        assert params == {"list": ["original"]}
        result["list"].append("changed by the client")
        assert answer == {"list": [1]}
        assert (await client.request("m", params))["list"] == [1]
    assert kept[0]["list"] == ["original", "changed by the handler"]


async def test_what_json_cannot_hold_fails_as_it_would_on_a_wire() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        return {"x": object() if request.method == "object" else float("nan")}

    async with connect(Handlers(handle)) as client:
        for method in ("nan", "object"):
            with pytest.raises(RpcError) as caught:
                await client.request(method)
            assert caught.value.code == -32603
        with pytest.raises(LocalProtocolError):
            await client.request("m", {"x": float("inf")})
        with pytest.raises(LocalProtocolError):
            await client.notify("m", {"x": object()})


async def test_any_number_of_clients_with_equal_ids_get_their_own_answers() -> None:
    server, first = memory_transports()
    async with trio.open_nursery() as nursery:
        assert await nursery.start(partial(serve, Handlers(echo), server, server_info=INFO)) == ("memory:",)
        got: dict[int, list[str]] = {}

        async def use(number: int) -> None:
            async with open_client(first if number == 0 else server.client()) as client:
                got[number] = [(await client.request("m", {"text": f"{number}.{n}"}))["text"] for n in range(20)]

        async with trio.open_nursery() as clients:
            for number in range(30):
                clients.start_soon(use, number)
        assert got == {number: [f"{number}.{n}" for n in range(20)] for number in range(30)}
        assert server.statistics().connection_count == 30
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("bytes_", [False, True], ids=["objects", "bytes"])
async def test_two_peers_that_call_each_other_never_starve(bytes_: bool) -> None:
    async def serve_side(request: Request, context: MessageContext) -> Any:
        assert isinstance(context, LegacyMessageContext)
        return await context.request("back", request.params)

    async def client_side(request: Request, context: MessageContext) -> Any:
        await trio.lowlevel.checkpoint()
        return {"text": request.params["text"] + " and back"}

    outcomes: list[Any] = []
    server, client_handler = Handlers(serve_side), Handlers(client_side)
    async with connect(server, era="legacy", bytes=bytes_, client_handler=client_handler) as client:
        limiter = trio.CapacityLimiter(50)

        async def call(number: int) -> None:
            async with limiter:
                try:
                    result = await client.request("there", {"text": f"{number}"})
                    outcomes.append(result["text"] == f"{number} and back")
                except RpcError as error:
                    outcomes.append(error.reason() == "busy")

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for number in range(300):
                    nursery.start_soon(call, number)
    assert outcomes == [True] * 300


async def test_a_hundred_handlers_that_ask_and_a_hundred_behind_them_all_complete() -> None:
    waiting = trio.Event()
    asked = 0

    async def serve_side(request: Request, context: MessageContext) -> Any:
        assert isinstance(context, LegacyMessageContext)
        return await context.request("back", request.params)

    async def client_side(request: Request, context: MessageContext) -> Any:
        nonlocal asked
        asked += 1
        if asked == 100:
            waiting.set()
        await waiting.wait()
        return request.params

    done: list[int] = []
    async with connect(Handlers(serve_side), era="legacy", client_handler=Handlers(client_side)) as client:

        async def call(number: int) -> None:
            done.append((await client.request("there", {"n": number}))["n"])

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(call, number)
    assert sorted(done) == list(range(200))


async def test_a_server_that_has_ended_refuses_at_once() -> None:
    server, client = memory_transports()
    shutdown = trio.Event()
    shutdown.set()
    await serve(Handlers(), server, shutdown=shutdown)
    with pytest.raises(ConnectionFailed, match="ended"):
        async with open_client(client):
            raise AssertionError("nobody serves")


async def test_a_connection_nobody_took_before_the_shutdown_ends_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server, _ = memory_transports()
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        outcomes: list[Any] = []

        async def connect_early() -> None:
            try:
                async with open_client(server.client(), era="legacy", deadlines=Deadlines(connect=60.0)):
                    raise AssertionError("nobody serves")
            except (TransportError, RpcError) as error:
                outcomes.append(error)

        # They are waiting in line when the service begins with its shutdown already set.
        for _ in range(5):
            nursery.start_soon(connect_early)
        await trio.testing.wait_all_tasks_blocked()
        shutdown.set()
        await serve(Handlers(), server, shutdown=shutdown)
    assert len(outcomes) == 5
    assert trio.current_time() < 1


async def test_the_end_of_either_side_is_an_error_at_the_other() -> None:
    closed: list[MessageContext] = []
    server, transport = memory_transports()
    async with trio.open_nursery() as nursery:
        handler = Handlers(lambda request, context: trio.sleep_forever(), close=closed.append)  # noqa: ASYNC105
        await nursery.start(partial(serve, handler, server, server_info=INFO))
        async with open_client(transport) as client:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                with pytest.raises(ConnectionClosed):
                    await client.request("m")
    assert len(closed) == 1


async def test_a_transport_runs_once() -> None:
    server, _ = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(), server))
        with pytest.raises(LocalProtocolError, match="once"):
            await serve(Handlers(), server)
        nursery.cancel_scope.cancel()


def test_the_address_is_in_the_grammar() -> None:
    assert memory_transports()[1].address == "memory:"


async def test_whoever_connects_while_the_others_drain_is_refused_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server, client = memory_transports()
    shutdown = trio.Event()

    async def slow(request: Request, context: MessageContext) -> Any:
        await trio.sleep(4)

    async def ask(one: Client) -> None:
        with pytest.raises(ConnectionClosed):
            await one.request("slow")

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(slow), server, shutdown=shutdown))
        async with open_client(client, era="modern", discover=False) as one:
            nursery.start_soon(ask, one)
            await trio.testing.wait_all_tasks_blocked()
            shutdown.set()
            await trio.testing.wait_all_tasks_blocked()
            started = trio.current_time()
            with pytest.raises(ConnectionFailed):
                async with open_client(server.client(), era="modern"):
                    raise AssertionError("nobody serves it")
            assert trio.current_time() == started
