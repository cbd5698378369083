"""Our WebSocket client, both engines, against a bare trio-websocket server and the server of `websockets`; and back."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio_websocket
import websockets.asyncio.server
import websockets.exceptions
import websockets.sync.client

from tests.websocket_peer import listen
from trio_mcp_transport import ClientInfo, TransportError, open_client
from trio_mcp_transport.transports.websocket import Engine, WebSocketClientTransport

pytestmark = pytest.mark.parametrize("engine", ["trio-websocket", "native"])
LARGE = "🐍" * 100_000
Closed = queue.Queue[int]
"""The close codes of connections that ended."""


def answer(text: str) -> str | None:
    """Play a small legacy server: an echo."""
    message = json.loads(text)
    if "id" not in message:
        return None
    if message["method"] == "initialize":
        version = message["params"]["protocolVersion"]
        result: Any = {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "peer", "version": "1"}}
    else:
        result = {"echo": message["params"]["text"]}
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}, ensure_ascii=False)


@asynccontextmanager
async def bare_trio_websocket() -> AsyncIterator[str]:
    """Serve by trio-websocket alone."""

    async def handler(request: trio_websocket.WebSocketRequest) -> None:
        assert request.proposed_subprotocols == ("mcp",)
        connection = await request.accept(subprotocol="mcp")
        try:
            while True:
                reply = answer(await connection.get_message())
                if reply is not None:
                    await connection.send_message(reply)
        except trio_websocket.ConnectionClosed as closed:
            codes.append(closed.reason.code)

    codes: list[int] = []
    async with trio.open_nursery() as nursery:
        run = partial(trio_websocket.serve_websocket, handler, "127.0.0.1", 0, None, max_message_size=1 << 24)
        server = await nursery.start(run)
        yield f"ws://127.0.0.1:{server.port}/"
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert set(codes) == {1000}


@pytest.fixture
def websockets_server() -> Iterator[tuple[str, Closed]]:
    """Serve by `websockets`, on asyncio in a thread of its own; give the URL and the codes of closed connections."""
    codes: Closed = queue.Queue()
    ready = threading.Event()
    port = 0
    stop: Any = None

    async def handler(connection: websockets.asyncio.server.ServerConnection) -> None:
        assert connection.subprotocol == "mcp"
        async for message in connection:
            assert isinstance(message, str)
            reply = answer(message)
            if reply is not None:
                await connection.send(reply)
        codes.put(connection.close_code or 0)

    async def main() -> None:
        nonlocal port, stop
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        stop = partial(loop.call_soon_threadsafe, ended.set)
        options: Any = {"subprotocols": ["mcp"], "ping_interval": 0.05, "ping_timeout": 2, "max_size": 1 << 24}
        async with websockets.asyncio.server.serve(handler, "127.0.0.1", 0, **options) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield f"ws://127.0.0.1:{port}/", codes
    finally:
        if stop is not None:
            stop()
        thread.join(10)


async def converse(url: str, engine: Engine, *, pause: float = 0.0) -> None:
    transport = WebSocketClientTransport(url, engine=engine, ping_interval=0.05, ping_deadline=2.0)
    with trio.fail_after(20):
        async with open_client(transport, era="legacy", client_info=ClientInfo("c", "1")) as client:
            for text in ("hé", LARGE, "x" * 70_000):
                assert (await client.request("echo", {"text": text}))["echo"] == text
            await trio.sleep(pause)  # pings go both ways meanwhile
            answers: list[bool] = []

            async def ask(number: int) -> None:
                answers.append((await client.request("echo", {"text": str(number)}))["echo"] == str(number))

            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(ask, number)
            assert answers == [True] * 100


async def test_our_client_speaks_with_bare_trio_websocket(engine: Engine) -> None:
    async with bare_trio_websocket() as url:
        await converse(url, engine, pause=0.3)


async def test_our_client_speaks_with_websockets(engine: Engine, websockets_server: tuple[str, Closed]) -> None:
    url, codes = websockets_server
    await converse(url, engine, pause=0.3)
    assert await trio.to_thread.run_sync(partial(codes.get, timeout=5)) == 1000


async def test_the_client_of_websockets_speaks_with_our_server(engine: Engine) -> None:
    async with listen(engine) as (url, _):

        def use() -> None:
            options: Any = {"subprotocols": ["mcp"], "max_size": 1 << 24}
            with websockets.sync.client.connect(url, **options) as connection:
                assert connection.subprotocol == "mcp"
                hello = {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {},
                    "clientInfo": {"name": "c", "version": "1"},
                }
                for id_, method, params in ((1, "initialize", hello), (2, "echo", {"text": LARGE})):
                    message = {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}
                    connection.send(json.dumps(message, ensure_ascii=False))
                    reply = json.loads(connection.recv(10))
                    assert reply["id"] == id_ and "result" in reply
                    if id_ == 1:
                        # In fragments, as an iterable is sent.
                        connection.send(iter(['{"jsonrpc":"2.0",', '"method":"notifications/', 'initialized"}']))
                assert connection.ping().wait(5)
            assert connection.protocol.close_rcvd is not None
            assert connection.protocol.close_rcvd.code == 1000

        with trio.fail_after(20):
            await trio.to_thread.run_sync(use)


async def test_a_page_of_another_origin_is_refused_by_our_server(engine: Engine) -> None:
    async with listen(engine) as (url, _):

        def use() -> int:
            try:
                with websockets.sync.client.connect(url, origin=websockets.Origin("https://evil.example")):
                    return 101
            except websockets.exceptions.InvalidStatus as error:
                return error.response.status_code

        assert await trio.to_thread.run_sync(use) == 403


async def test_a_server_without_the_subprotocol_is_fine(engine: Engine) -> None:
    async def handler(request: trio_websocket.WebSocketRequest) -> None:
        connection = await request.accept()
        await connection.aclose(4321, "not today")

    async with trio.open_nursery() as nursery:
        run = partial(trio_websocket.serve_websocket, handler, "127.0.0.1", 0, None)
        server = await nursery.start(run)
        transport = WebSocketClientTransport(f"ws://127.0.0.1:{server.port}/", engine=engine)
        with pytest.raises(TransportError, match=r"4321 \('not today'\)"):
            async with open_client(transport, era="legacy"):
                raise AssertionError("open")
        nursery.cancel_scope.cancel()
