"""Both sides of the WebSocket transport together, every engine with every engine."""

from __future__ import annotations

import gc
import os
import ssl
from functools import partial
from typing import Any

import pytest
import trio
import trustme

from tests.websocket_peer import listen
from trio_mcp_transport import (
    Client,
    Handlers,
    LegacyMessageContext,
    MessageContext,
    Request,
    ServerInfo,
    open_client,
    serve,
)
from trio_mcp_transport.errors import ConnectionClosed, ConnectionFailed
from trio_mcp_transport.testing.check_transport import check_transport
from trio_mcp_transport.transports.secure import SecureStream
from trio_mcp_transport.transports.websocket import Engine, WebSocketClientTransport, WebSocketServerTransport
from trio_mcp_transport.transports.websocket_opening import ask_upgrade
from trio_mcp_transport.wire.websocket import WebSocketCodec
from trio_mcp_transport.wire.websocket_handshake import ClientHandshake

ENGINES: tuple[Engine, ...] = ("trio-websocket", "native")
both = pytest.mark.parametrize("client_engine", ENGINES)
pytestmark = pytest.mark.parametrize("engine", ENGINES)


@both
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_messages_of_every_size_and_alphabet_arrive(engine: Engine, client_engine: Engine, era: Any) -> None:
    async with listen(engine) as (url, _):
        async with open_client(WebSocketClientTransport(url, engine=client_engine), era=era) as client:
            for text in ("", "plain", "hé 🐍 \u2028", "x" * 125, "x" * 70_000, "🐍" * 300_000):
                assert (await client.request("echo", {"text": text}))["text"] == text


@both
async def test_both_sides_may_ask_at_once(engine: Engine, client_engine: Engine) -> None:
    async def serve_side(request: Request, context: MessageContext) -> Any:
        assert isinstance(context, LegacyMessageContext)
        return await context.request("back", request.params)

    async def client_side(request: Request, context: MessageContext) -> Any:
        await trio.lowlevel.checkpoint()
        return {"text": request.params["text"] + " and back"}

    async with listen(engine, serve_side) as (url, _):
        transport = WebSocketClientTransport(url, engine=client_engine)
        answers: list[str] = []
        async with open_client(transport, era="legacy", handler=Handlers(client_side)) as client:

            async def call(number: int) -> None:
                answers.append((await client.request("there", {"text": str(number)}))["text"])

            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:
                    for number in range(80):
                        nursery.start_soon(call, number)
    assert sorted(answers) == sorted(f"{number} and back" for number in range(80))


@both
async def test_leaving_a_call_cancels_it_at_the_server(engine: Engine, client_engine: Engine) -> None:
    causes: list[str] = []
    ended = trio.Event()

    async def handle(request: Request, context: MessageContext) -> Any:
        if request.method == "quick":
            return {}
        try:
            await trio.sleep_forever()
        finally:
            causes.append(context.cancel_cause.name if context.cancel_cause else "")
            ended.set()

    async with listen(engine, handle) as (url, _):
        async with open_client(WebSocketClientTransport(url, engine=client_engine), era="modern") as client:
            with trio.move_on_after(0.05):
                await client.request("wait")
            await client.request("quick")
            with trio.fail_after(5):
                await ended.wait()
    assert causes == ["PEER"]


async def ask_for_ever(client: Client) -> None:
    while True:
        await client.request("echo")
        await trio.sleep(0.01)


@both
async def test_shutdown_reaches_the_client_with_1001(engine: Engine, client_engine: Engine) -> None:
    shutdown = trio.Event()
    async with listen(engine, shutdown=shutdown) as (url, _):
        async with open_client(WebSocketClientTransport(url, engine=client_engine), era="modern") as client:
            shutdown.set()
            with trio.fail_after(5), pytest.raises(ConnectionClosed, match="1001"):
                await ask_for_ever(client)


async def test_two_hundred_clients_with_equal_ids_get_their_own_answers(engine: Engine) -> None:
    async with listen(engine) as (url, _):
        held = trio.Event()
        open_now = 0

        async def use(number: int) -> None:
            nonlocal open_now
            transport = WebSocketClientTransport(url, engine=ENGINES[number % 2])
            async with open_client(transport, era="modern", discover=False) as client:
                open_now += 1
                if open_now == 200:
                    held.set()
                await held.wait()
                for n in range(3):
                    assert (await client.request("echo", {"text": f"{number}.{n}"}))["text"] == f"{number}.{n}"

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(use, number)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_three_hundred_connections_leave_nothing(engine: Engine) -> None:
    transport = WebSocketServerTransport(engine=engine)
    async with listen(engine, transport=transport) as (url, _):

        async def cycle(number: int) -> None:
            client_transport = WebSocketClientTransport(url, engine=ENGINES[number % 2])
            if number % 3 == 0:
                with trio.CancelScope() as scope:
                    async with open_client(client_transport, era="modern", discover=False) as client:
                        await client.request("echo")
                        scope.cancel()
                        await trio.lowlevel.checkpoint()
            else:
                async with open_client(client_transport, era="modern", discover=False) as client:
                    await client.request("echo")

        async def settled() -> tuple[int, int]:
            await trio.sleep(0.4)
            gc.collect()
            return open_descriptors(), trio.lowlevel.current_statistics().tasks_living

        await cycle(1)
        before = await settled()
        for number in range(300):
            await cycle(number)
        assert await settled() == before
        statistics = transport.statistics()
        assert statistics.connection_count == 301
        assert (statistics.in_flight, statistics.queued, statistics.outbox_bytes) == (0, 0, 0)


@pytest.fixture
def contexts(tmp_path: Any) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's and a client's context; the client has a certificate too."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_OPTIONAL
    client = ssl.create_default_context()
    authority.configure_trust(client)
    authority.issue_cert("client.example").configure_cert(client)
    return server, client


@both
async def test_over_tls_both_sides_know_each_other(
    engine: Engine, client_engine: Engine, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async def who(request: Request, context: MessageContext) -> Any:
        names = (context.peer.certificate or {}).get("subjectAltName", ())
        return {"text": request.params["text"], "client": [name for _, name in names]}

    server_context, client_context = contexts
    async with listen(engine, who, ssl_context=server_context) as (url, _):
        assert url.startswith("wss://")
        transport = WebSocketClientTransport(url, engine=client_engine, ssl_context=client_context)
        async with open_client(transport, era="modern") as client:
            for size in (1, 100_000):
                result = await client.request("who", {"text": "x" * size})
                assert (len(result["text"]), result["client"]) == (size, ["client.example"])
        with pytest.raises(ConnectionFailed, match="certificate"):
            async with open_client(WebSocketClientTransport(url, engine=client_engine), era="modern"):
                raise AssertionError("trusted nobody's authority")


async def test_a_port_in_use_is_an_error_of_serve(engine: Engine) -> None:
    async with listen(engine) as (_, port):
        with pytest.raises(ConnectionFailed, match=str(port)):
            await serve(Handlers(), WebSocketServerTransport("127.0.0.1", port, engine=engine))


async def test_a_name_with_several_addresses_is_served_on_each(engine: Engine) -> None:
    async with trio.open_nursery() as nursery:
        transport = WebSocketServerTransport("localhost", engine=engine)
        run = partial(serve, Handlers(), transport, server_info=ServerInfo("s", "1"))
        urls = await nursery.start(run)
        for url in urls:
            async with open_client(WebSocketClientTransport(url, engine=engine), era="modern") as client:
                assert client.server_info is not None
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
async def test_it_does_what_every_transport_does(
    engine: Engine, tls: bool, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """Half-close is left out: behind a Close nothing may be sent, and an end without one is a broken WebSocket."""
    server_context, client_context = contexts if tls else (None, None)

    def make_pair() -> Any:
        server = WebSocketServerTransport(engine=engine, ssl_context=server_context)
        return server, lambda addresses: WebSocketClientTransport(
            addresses[0], engine=engine, ssl_context=client_context
        )

    async def connect_stream(addresses: tuple[str, ...]) -> trio.abc.Stream:
        port = int(addresses[0].split(":")[2].strip("/"))
        stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", port)
        if tls:
            stream = SecureStream(stream, ssl_context=client_context, server_hostname="127.0.0.1")
        await ask_upgrade(stream, ClientHandshake("127.0.0.1", port=port))
        return stream

    codec = partial(WebSocketCodec, "client")
    report = await check_transport(
        make_pair, connect_stream=connect_stream, codec=codec, half_close=False, oversize="closes"
    )
    assert len(report.passed) > 40
