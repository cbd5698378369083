"""The WebSocket client against servers made by hand: refusals, silence, wrong frames, and both ways to close."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.websocket_peer import CLOSE, PATIENCE, PING, PONG, TEXT, RawPeer, frame, listen
from trio_mcp_transport import Deadlines, MessageContext, Request, TransportError, open_client
from trio_mcp_transport.deadlines import DeadlineExceeded
from trio_mcp_transport.errors import (
    ConfigError,
    ConnectionClosed,
    ConnectionFailed,
    FrameTooLarge,
    FramingError,
    RemoteProtocolError,
)
from trio_mcp_transport.limits import Limits
from trio_mcp_transport.transports.websocket import Engine, WebSocketClientTransport

pytestmark = pytest.mark.parametrize("engine", ["trio-websocket", "native"])
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
Script = Callable[[RawPeer], Awaitable[None]]


def accepted(request: str, *, protocol: str = "mcp", extra: str = "") -> bytes:
    """Return the answer that lets a client in."""
    key = request.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
    accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n{extra}\r\n"
    ).encode("latin-1")


async def read_request(peer: RawPeer) -> str:
    while b"\r\n\r\n" not in peer.buffer:
        chunk = await peer.stream.receive_some()
        assert chunk
        peer.buffer += bytes(chunk)
    head, _, peer.buffer = peer.buffer.partition(b"\r\n\r\n")
    return head.decode("ascii")


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    """Serve one connection by a script; give the URL to the test."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    done = trio.Event()

    async def serve() -> None:
        try:
            async with await listener.accept() as stream:
                await script(RawPeer(stream, masked=False))
        finally:
            done.set()

    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/"
        with trio.move_on_after(PATIENCE):
            await done.wait()
        nursery.cancel_scope.cancel()


def welcome(then: Script) -> Script:
    """Return a script that shakes hands and goes on with another one."""

    async def script(peer: RawPeer) -> None:
        await peer.stream.send_all(accepted(await read_request(peer)))
        await then(peer)

    return script


async def fail_to_open(engine: Engine, url: str, **options: Any) -> BaseException:
    with pytest.raises(TransportError) as caught:
        async with open_client(WebSocketClientTransport(url, engine=engine), era="modern", **options):
            raise AssertionError("open")
    return caught.value


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (b"HTTP/1.1 401 No\r\nContent-Length: 4\r\n\r\nwhy?", ConnectionFailed, "401"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", ConnectionFailed, "404"),
        (b"HTTP/1.1 302 Found\r\nLocation: ws://evil/\r\nContent-Length: 0\r\n\r\n", ConnectionFailed, "redirect"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", ConnectionFailed, "200"),
        (b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", RemoteProtocolError, "Accept"),
        (b"HTTP/1.1 101 \xff\r\nX: \xff\r\n\r\n", TransportError, ""),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", RemoteProtocolError, ""),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000, RemoteProtocolError, ""),
        (b"", ConnectionFailed, "ended"),
    ],
)
async def test_a_refused_handshake_says_why(
    engine: Engine, answer: bytes, kind: type[BaseException], message: str
) -> None:
    async def script(peer: RawPeer) -> None:
        await read_request(peer)
        await peer.stream.send_all(answer)

    async with scripted(script) as url:
        error = await fail_to_open(engine, url)
    assert isinstance(error, kind)
    assert message in str(error)


async def test_an_extension_nobody_offered_is_refused(engine: Engine) -> None:
    async def script(peer: RawPeer) -> None:
        request = await read_request(peer)
        assert "extensions" not in request.lower()
        await peer.stream.send_all(accepted(request, extra="Sec-WebSocket-Extensions: permessage-deflate\r\n"))

    async with scripted(script) as url:
        assert isinstance(await fail_to_open(engine, url), RemoteProtocolError)


async def test_a_server_that_never_answers_is_given_up_at_the_connect_deadline(engine: Engine) -> None:
    async def script(peer: RawPeer) -> None:
        await read_request(peer)
        assert await peer.receive_end() == b""

    async with scripted(script) as url:
        error = await fail_to_open(engine, url, deadlines=Deadlines(connect=0.2))
    assert isinstance(error, DeadlineExceeded) and error.deadline == "connect"


async def test_nobody_listening_is_a_failed_connection(engine: Engine) -> None:
    error = await fail_to_open(engine, f"ws://127.0.0.1:{await free_port()}/")
    assert isinstance(error, ConnectionFailed) and isinstance(error.__cause__, OSError)


async def free_port() -> int:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port: int = listener.socket.getsockname()[1]
    await listener.aclose()
    return port


async def test_the_request_has_the_headers_it_was_given(engine: Engine) -> None:
    seen: list[str] = []

    async def script(peer: RawPeer) -> None:
        seen.append(await read_request(peer))

    async with scripted(script) as url:
        transport = WebSocketClientTransport(f"{url}a/b?token=x", engine=engine, headers={"Authorization": "Bearer x"})
        assert transport.address == f"{url}a/b"
        with pytest.raises(ConnectionFailed):
            async with open_client(transport, era="modern"):
                raise AssertionError("open")
    lines = seen[0].split("\r\n")
    assert lines[0] == "GET /a/b?token=x HTTP/1.1"
    assert {"Authorization: Bearer x", "Sec-WebSocket-Protocol: mcp", "Sec-WebSocket-Version: 13"} <= set(lines)


async def test_a_clients_close_is_a_close_handshake(engine: Engine) -> None:
    async def script(peer: RawPeer) -> None:
        assert await peer.receive() == (CLOSE, b"\x03\xe8")
        await peer.send(TEXT, b'{"jsonrpc":"2.0","method":"late"}')
        await peer.send(CLOSE, b"\x03\xe8")
        assert await peer.receive_end() == b""

    async with scripted(welcome(script)) as url:
        async with open_client(WebSocketClientTransport(url, engine=engine), era="modern", discover=False):
            pass


async def test_a_server_that_does_not_close_is_waited_for_within_the_deadline(engine: Engine) -> None:
    async def script(peer: RawPeer) -> None:
        assert await peer.receive_close() == 1000
        assert await peer.receive_end() == b""

    async with scripted(welcome(script)) as url:
        begun = trio.current_time()
        transport = WebSocketClientTransport(url, engine=engine, close_deadline=0.3)
        async with open_client(transport, era="modern", discover=False):
            pass
        assert 0.25 < trio.current_time() - begun < 2


async def test_a_cancelled_client_waits_for_nobody(engine: Engine) -> None:
    async def script(peer: RawPeer) -> None:
        assert await peer.receive_close() == 1001
        assert await peer.receive_end() == b""

    async with scripted(welcome(script)) as url:
        begun = trio.current_time()
        with trio.CancelScope() as scope:
            async with open_client(WebSocketClientTransport(url, engine=engine), era="modern", discover=False):
                scope.cancel()
                await trio.sleep_forever()
        assert trio.current_time() - begun < 2


@pytest.mark.parametrize(
    ("data", "code", "kind"),
    [
        (frame(TEXT, b"{}"), 1002, FramingError),
        (frame(TEXT, b"{}", reserved=2, masked=False), 1002, FramingError),
        (frame(7, b"", masked=False), 1002, FramingError),
        (frame(TEXT, b"\xff", masked=False), 1007, FramingError),
        (frame(2, b"{}", masked=False), 1003, FramingError),
        (frame(TEXT, b"x" * 1001, masked=False), 1009, FrameTooLarge),
    ],
)
async def test_a_server_that_breaks_the_protocol_is_told_and_every_call_fails(
    engine: Engine, data: bytes, code: int, kind: type[BaseException]
) -> None:
    async def script(peer: RawPeer) -> None:
        assert (await peer.receive())[0] == TEXT
        await peer.stream.send_all(data)
        assert await peer.receive_close() == code

    transport: Any = None
    async with scripted(welcome(script)) as url:
        transport = WebSocketClientTransport(url, engine=engine)
        limits = Limits(max_message_size=1000)
        async with open_client(transport, era="modern", discover=False, limits=limits) as client:
            with pytest.raises(kind):
                await client.request("m")


@pytest.mark.parametrize(
    ("close", "message"),
    [
        (b"\x03\xe9", "with code 1001"),
        (b"\x0f\xa0tired\n", r"with code 4000 \('tired\\n'\)"),
        (b"", "without a code"),
    ],
)
async def test_what_the_servers_close_said_is_in_the_error(engine: Engine, close: bytes, message: str) -> None:
    async def script(peer: RawPeer) -> None:
        assert (await peer.receive())[0] == TEXT
        await peer.send(CLOSE, close)
        opcode, echoed = await peer.receive()
        assert (opcode, echoed[:2]) == (CLOSE, close[:2])
        assert await peer.receive_end() == b""

    async with scripted(welcome(script)) as url:
        async with open_client(WebSocketClientTransport(url, engine=engine), era="modern", discover=False) as client:
            with pytest.raises(ConnectionClosed, match=message):
                await client.request("m")


async def test_an_end_without_a_close_says_so(engine: Engine) -> None:
    async def script(peer: RawPeer) -> None:
        assert (await peer.receive())[0] == TEXT

    async with scripted(welcome(script)) as url:
        async with open_client(WebSocketClientTransport(url, engine=engine), era="modern", discover=False) as client:
            with pytest.raises(ConnectionFailed):
                await client.request("m")


async def test_pings_are_answered_and_a_server_that_answers_none_is_given_up(engine: Engine) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.send(PING, b"are you there")
        assert await peer.receive() == (PONG, b"are you there")
        assert (await peer.receive())[0] == TEXT
        assert (await peer.receive())[0] == PING
        assert await peer.receive_close() == 1011

    async with scripted(welcome(script)) as url:
        transport = WebSocketClientTransport(url, engine=engine, ping_interval=0.2, ping_deadline=0.2)
        async with open_client(transport, era="modern", discover=False) as client:
            with pytest.raises(DeadlineExceeded, match="ping"):
                await client.request("m")


async def test_one_transport_object_connects_again_and_again(engine: Engine) -> None:
    async def where(request: Request, context: MessageContext) -> Any:
        return {"peer": context.peer.address}

    async with listen(engine, where) as (url, _):
        transport = WebSocketClientTransport(url, engine=engine)
        peers = set()
        for _attempt in range(3):
            async with open_client(transport, era="modern") as client:
                peers.add((await client.request("where"))["peer"])
        assert len(peers) == 3 and all(peer.startswith("ws://127.0.0.1:") for peer in peers)
        assert transport.statistics().connection_count == 3


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://localhost/", {}),
        ("tcp://localhost:1", {}),
        ("ws://user@localhost/", {}),
        ("ws://localhost/", {"verify": False}),
        ("ws://localhost/", {"headers": {"X": "a\r\nb"}}),
        ("ws://localhost/", {"headers": [("Sec-WebSocket-Key", "x")]}),
        ("ws://localhost/", {"ping_interval": 0}),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(engine: Engine, url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        WebSocketClientTransport(url, engine=engine, **options)
