"""The streams in memory are streams by trio's own checks, push back, and carry the stream transports."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_mcp_transport import (
    ConnectionClosed,
    Handlers,
    LocalProtocolError,
    NewlineCodec,
    ServerInfo,
    open_client,
    serve,
)
from trio_mcp_transport.testing import ByteStream, StreamClientTransport, StreamServerTransport, byte_stream_pair


async def echo(message: object, context: object) -> object:
    return {"echo": message.params.get("text")}  # type: ignore[attr-defined]


async def make() -> tuple[ByteStream, ByteStream]:
    return byte_stream_pair()


async def make_clogged() -> tuple[ByteStream, ByteStream]:
    left, right = byte_stream_pair(10)
    for stream in (left, right):
        await stream.send_all(b"x" * 10)
    return left, right


async def test_the_pair_passes_trios_checks() -> None:
    await trio.testing.check_half_closeable_stream(make, make_clogged)


async def test_a_full_direction_holds_its_writer_and_no_more_than_its_capacity(
    autojump_clock: trio.testing.MockClock,
) -> None:
    left, right = byte_stream_pair(4)
    with trio.move_on_after(1) as scope:
        await left.send_all(b"abcdefgh")
    assert scope.cancelled_caught
    assert await right.receive_some() == b"abcd"


async def test_a_direction_takes_exactly_its_capacity_without_a_reader(autojump_clock: trio.testing.MockClock) -> None:
    left, right = byte_stream_pair(4)
    with trio.fail_after(1):
        await left.send_all(b"abcd")
    assert await right.receive_some(3) == b"abc"


async def test_the_stream_transports_carry_a_conversation(autojump_clock: trio.testing.MockClock) -> None:
    near, far = byte_stream_pair()
    server = StreamServerTransport(far)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(Handlers(echo), server, server_info=ServerInfo("s", "1")))
        async with open_client(StreamClientTransport(near)) as client:
            assert (await client.request("echo", {"text": "hi"}))["echo"] == "hi"
            assert server.statistics().connection_count == 1
            statistics = client.statistics()
            assert (statistics.messages_sent, statistics.messages_received) == (2, 2)
            assert min(statistics.bytes_sent, statistics.bytes_received) > 0


async def test_the_codec_is_made_for_the_largest_message(autojump_clock: trio.testing.MockClock) -> None:
    sizes = []

    def codec(size: int) -> NewlineCodec:
        sizes.append(size)
        return NewlineCodec(size)

    near, far = byte_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: serve(Handlers(echo), StreamServerTransport(far, codec=codec), server_info=ServerInfo("s", "1"))
        )
        async with open_client(StreamClientTransport(near, codec=codec)):
            assert sorted(sizes) == [16 * 2**20, 64 * 2**20]


async def test_the_streams_are_closed_when_the_conversation_ends(autojump_clock: trio.testing.MockClock) -> None:
    near, far = byte_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(Handlers(echo), StreamServerTransport(far), server_info=ServerInfo("s", "1")))
        async with open_client(StreamClientTransport(near)):
            pass
    for stream in (near, far):
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()


async def test_a_server_that_leaves_fails_the_call(autojump_clock: trio.testing.MockClock) -> None:
    near, far = byte_stream_pair()

    async def leave(message: object, context: object) -> None:
        await far.aclose()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(Handlers(leave), StreamServerTransport(far), server_info=ServerInfo("s", "1")))
        async with open_client(StreamClientTransport(near)) as client:
            with pytest.raises(ConnectionClosed):
                await client.request("leave")


async def test_a_stream_transport_runs_once(autojump_clock: trio.testing.MockClock) -> None:
    near, far = byte_stream_pair()
    await near.aclose()
    server = StreamServerTransport(far)
    await serve(Handlers(echo), server)
    with pytest.raises(LocalProtocolError):
        await serve(Handlers(echo), server)
