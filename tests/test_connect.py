"""What a client and its transport promise each other: how a connection ends, and who is told."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.support import (
    LEGACY,
    StreamClient,
    Wire,
    client_and_wire,
    client_over_bytes,
    legacy_request,
)
from trio_mcp_transport import (
    Client,
    ClientTransport,
    Handlers,
    LegacyMessageContext,
    MessageContext,
    MessageHandler,
    Response,
    RestartPolicy,
    RpcError,
    open_client,
)
from trio_mcp_transport.errors import (
    ConnectionClosed,
    ConnectionFailed,
    FramingError,
    MessageError,
    TransportError,
)
from trio_mcp_transport.testing import StreamClientTransport, byte_stream_pair
from trio_mcp_transport.wire.newline import NewlineCodec

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


def answer(id_: Any, result: Any = None) -> Any:
    return {"jsonrpc": "2.0", "id": id_, "result": {"resultType": "complete", **(result or {})}}


def initialized(id_: Any) -> Any:
    result = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
    return {"jsonrpc": "2.0", "id": id_, "result": result}


async def collect(outcomes: dict[Any, Any], key: Any, call: Any) -> None:
    try:
        outcomes[key] = await call
    except (TransportError, RpcError) as error:
        outcomes[key] = error


async def test_a_closing_client_cancels_its_open_calls_and_flushes_first() -> None:
    outcomes: dict[Any, Any] = {}
    async with trio.open_nursery() as nursery:
        async with client_over_bytes() as (client, wire):
            for number in range(3):
                nursery.start_soon(collect, outcomes, number, client.request("m"))
            ids = {(await wire.receive())["id"] for _ in range(3)}
        rest = await wire.receive_rest()
        assert {line["params"]["requestId"] for line in rest} == ids
        assert {line["method"] for line in rest} == {"notifications/cancelled"}
    assert all(type(error) is ConnectionClosed for error in outcomes.values())


async def test_a_server_that_closes_fails_every_call_with_an_error_of_its_own() -> None:
    outcomes: dict[Any, Any] = {}
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(collect, outcomes, number, client.request("m"))
        await settle()
        await wire.end()
        await settle()
        assert all("the server closed the connection" in str(error) for error in outcomes.values())
        assert len({id(error) for error in outcomes.values()}) == 3
        with pytest.raises(ConnectionClosed, match="the server closed"):
            await client.request("later")
        with pytest.raises(ConnectionClosed, match="the server closed"):
            await client.notify("later")


async def test_what_the_server_wrote_before_it_broke_off_is_still_read() -> None:
    outcomes: dict[Any, Any] = {}
    near, far = byte_stream_pair(100)
    async with client_over_bytes(streams=(near, far)) as (client, wire), trio.open_nursery() as nursery:
        nursery.start_soon(collect, outcomes, "first", client.request("m"))
        first = await wire.receive()
        await wire.send_line(answer(first["id"], {"last": "words"}))
        await near.aclose()
        await collect(outcomes, "second", client.request("m", {"text": "x" * 1000}))
        assert outcomes["first"]["last"] == "words"
        assert isinstance(outcomes["second"], ConnectionFailed)


class Restarting(ClientTransport):
    """Takes another stream each time it is started again."""

    restart = RestartPolicy()

    def __init__(self, *streams: trio.abc.Stream) -> None:
        self._streams = list(streams)

    async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        await StreamClient(self._streams.pop(0)).run(setup, task_status=task_status)


@pytest.mark.parametrize("leave", ["close", "cancel"])
async def test_an_initialize_is_never_cancelled(leave: str, autojump_clock: trio.testing.MockClock) -> None:
    pairs = [trio.testing.memory_stream_pair() for _ in range(2)]
    first, second = (Wire(pair[0]) for pair in pairs)
    clients: list[Client] = []
    async with trio.open_nursery() as nursery:

        async def use() -> None:
            async with open_client(Restarting(*(pair[1] for pair in pairs)), era="legacy") as client:
                clients.append(client)
                await trio.sleep_forever()

        nursery.start_soon(use)
        await first.send_line(initialized((await first.receive())["id"]))
        await first.receive()
        await settle()
        await first.end()
        # The handshake of the second connection is on its way while the client is closed.
        assert (await second.receive())["method"] == "initialize"
        if leave == "close":
            clients[0].close()
            await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert await second.receive_rest() == []


class Hooks(MessageHandler):
    """Keeps the order of what it is told."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def handle_message(self, message: Any, context: MessageContext) -> Any:
        self.events.append(message.method)

    async def handle_error(self, error: TransportError, context: MessageContext) -> None:
        self.events.append(type(error))
        raise ValueError("a hook that fails")

    async def handle_close(self, context: MessageContext) -> None:
        self.events.append("close")
        raise ValueError("a hook that fails")


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("closed here", ["n", "close"]),
        ("closed there", ["n", ConnectionClosed, "close"]),
        ("cancelled", ["n", "close"]),
        ("unreadable", ["n", MessageError, "close"]),
        ("framing", ["n", FramingError, "close"]),
    ],
)
async def test_the_close_hook_runs_once_and_last_whatever_the_reason(end: str, expected: list[Any]) -> None:
    class Fussy(NewlineCodec):
        def next_frame(self) -> Any:
            frame = super().next_frame()
            if frame == b"out of step":
                raise FramingError("out of step")
            return frame

    hooks = Hooks()
    near, far = trio.testing.memory_stream_pair()
    transport = StreamClientTransport(far, codec=Fussy)
    with trio.CancelScope() as scope:
        async with open_client(transport, era="modern", discover=False, handler=hooks) as client:
            await near.send_all(b'{"jsonrpc":"2.0","method":"n"}\n')
            await settle()
            if end == "closed there":
                await near.send_eof()
            elif end == "cancelled":
                scope.cancel()
            elif end == "unreadable":
                await near.send_all(b"{oops\n")
            elif end == "framing":
                await near.send_all(b"out of step\n")
            await settle()
            if end in ("framing", "closed there"):
                with pytest.raises(TransportError):
                    await client.request("m")
    assert hooks.events == expected


async def test_the_server_may_end_a_listen_with_or_without_a_result() -> None:
    async with client_over_bytes() as (client, wire):
        for result in (True, False):
            async with client.open_exchange("subscriptions/listen", {"notifications": {}}) as replies:
                id_ = (await wire.receive())["id"]
                if result:
                    await wire.send_line(answer(id_, {"_meta": {SUBSCRIPTION: id_}}))
                cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id_}}
                await wire.send_line(cancelled)
                if result:
                    assert isinstance(await replies.receive(), Response)
                else:
                    with pytest.raises(ConnectionClosed, match="ended subscriptions/listen"):
                        await replies.receive()
        await wire.assert_silent(0.01)


async def test_a_late_cancel_of_a_legacy_server_never_ends_a_call_of_the_client() -> None:
    handler = Handlers(lambda request, context: {})
    transport, wire = client_and_wire()
    async with trio.open_nursery() as nursery:
        outcomes: dict[Any, Any] = {}

        async def use() -> None:
            async with open_client(transport, era="legacy", handler=handler) as client:
                outcomes["call"] = await client.request("tools/list")

        nursery.start_soon(use)
        await wire.send_line(initialized((await wire.receive())["id"]))
        await wire.receive()
        call = await wire.receive()
        assert (await wire.ask(legacy_request(call["id"], "roots/list")))["id"] == call["id"]
        await wire.send_line(
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": call["id"]}}
        )
        await wire.send_line({"jsonrpc": "2.0", "id": call["id"], "result": {"tools": []}})
    assert outcomes == {"call": {"tools": []}}


async def test_a_client_may_ask_back_while_it_is_asked() -> None:
    transport, wire = client_and_wire()

    async def handle(request: Any, context: MessageContext) -> Any:
        assert isinstance(context, LegacyMessageContext)
        return {"got": await context.request("ping")}

    async with trio.open_nursery() as nursery:

        async def use() -> None:
            async with open_client(transport, era="legacy", handler=Handlers(handle)):
                await trio.sleep_forever()

        nursery.start_soon(use)
        await wire.send_line(initialized((await wire.receive())["id"]))
        await wire.receive()
        question = await wire.ask(legacy_request("s", "roots/list"))
        assert question["method"] == "ping"
        assert await wire.ask({"jsonrpc": "2.0", "id": question["id"], "result": {}}) == {
            "jsonrpc": "2.0",
            "id": "s",
            "result": {"got": {}},
        }
        nursery.cancel_scope.cancel()
