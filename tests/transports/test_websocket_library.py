"""What trio-websocket lacks, shown on the library itself: a newer one that has it makes a workaround superfluous."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
import trio_websocket

from tests.websocket_peer import TEXT, RawPeer, frame, handshake
from trio_mcp_transport.errors import ConnectionFailed
from trio_mcp_transport.limits import Limits
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.testing.streams import byte_stream_pair
from trio_mcp_transport.transports.websocket_library import LibraryLink, open_library_link


async def bare_server(nursery: trio.Nursery, **options: Any) -> tuple[trio_websocket.WebSocketConnection, RawPeer]:
    ours, theirs = byte_stream_pair()
    await theirs.send_all(handshake())
    request = await trio_websocket.wrap_server_stream(nursery, ours, **options)
    connection = await request.accept()
    peer = RawPeer(theirs)
    assert (await peer.receive_head())[0] == 101
    return connection, peer


async def test_the_library_still_counts_characters() -> None:
    async with trio.open_nursery() as nursery:
        connection, peer = await bare_server(nursery, max_message_size=10)
        await peer.send(TEXT, ("é" * 10).encode())
        assert await connection.get_message() == "é" * 10  # 20 bytes
        nursery.cancel_scope.cancel()


async def test_the_library_still_sends_no_code_after_a_violation() -> None:
    async with trio.open_nursery() as nursery:
        connection, peer = await bare_server(nursery)
        await peer.stream.send_all(frame(3))
        with pytest.raises(trio_websocket.ConnectionClosed):
            await connection.get_message()
        assert connection.closed is not None and connection.closed.code == 1002
        assert await peer.receive_end() == b""
        nursery.cancel_scope.cancel()


async def test_the_library_still_dies_of_a_byte_in_a_header() -> None:
    ours, theirs = byte_stream_pair()
    await theirs.send_all(handshake(extra=(("Sec-WebSocket-Extensions", "\xff"),)))
    with pytest.RaisesGroup(UnicodeDecodeError):
        async with trio.open_nursery() as nursery:
            with trio.fail_after(5):
                await trio_websocket.wrap_server_stream(nursery, ours)


async def test_the_library_still_hides_the_host() -> None:
    ours, theirs = byte_stream_pair()
    await theirs.send_all(handshake())
    async with trio.open_nursery() as nursery:
        request = await trio_websocket.wrap_server_stream(nursery, ours)
        assert b"host" not in [name.lower() for name, _ in request.headers]
        nursery.cancel_scope.cancel()


async def linked(nursery: trio.Nursery) -> tuple[LibraryLink, RawPeer]:
    ours, theirs = byte_stream_pair()
    link = await open_library_link(
        nursery,
        ours,
        "server",
        limit=1000,
        limits=Limits(),
        accept_binary=False,
        final_code=1001,
        close_deadline=1.0,
        metrics=TransportMetrics(),
        leftover=b"",
    )
    return link, RawPeer(theirs)


async def test_a_failure_inside_the_library_ends_one_link(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: object, event: object) -> None:
        raise RuntimeError("a bug of the library")

    monkeypatch.setattr(trio_websocket.WebSocketConnection, "_handle_ping_event", fail)
    async with trio.open_nursery() as nursery:
        link, peer = await linked(nursery)
        await peer.send(9)
        with pytest.raises(ConnectionFailed, match="a bug of the library") as caught:
            await link.fill()
        assert isinstance(caught.value.__cause__, RuntimeError)
        await link.close_now(1011)
        assert await peer.receive_close() == 1011
        nursery.cancel_scope.cancel()


async def test_what_is_written_together_leaves_together() -> None:
    async with trio.open_nursery() as nursery:
        link, peer = await linked(nursery)
        await link.write([b"one", b"two"])
        expected = frame(TEXT, b"one", masked=False) + frame(TEXT, b"two", masked=False)
        assert await peer.stream.receive_some() == expected
        nursery.cancel_scope.cancel()


async def test_a_ping_on_an_ended_connection_returns() -> None:
    async with trio.open_nursery() as nursery:
        link, peer = await linked(nursery)
        await peer.stream.aclose()
        with pytest.raises(ConnectionFailed):
            await link.fill()
        with trio.fail_after(1):
            await link.ping()
        with pytest.raises(ConnectionFailed):
            await link.write([b"late"])
        nursery.cancel_scope.cancel()


async def test_the_reader_of_a_bare_server_still_ends_its_listener() -> None:
    """One hostile request ends `serve_websocket` for everybody: why it is never used here."""

    async def handler(request: trio_websocket.WebSocketRequest) -> None:
        await request.accept()

    async def attack() -> None:
        async with trio.open_nursery() as nursery:
            run = partial(trio_websocket.serve_websocket, handler, "127.0.0.1", 0, None)
            server = await nursery.start(run)
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
                await stream.send_all(handshake(extra=(("Sec-WebSocket-Protocol", "\xff"),)))
                with trio.fail_after(5):
                    await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await attack()
    assert caught.value.subgroup(UnicodeDecodeError) is not None
