"""Ours as send, receive and close of whole messages: streams, links and transports, nothing added and nothing lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import Wire
from trio_mcp_transport import (
    ConfigError,
    ConnectionClosed,
    ConnectionFailed,
    FramingError,
    Limits,
    LocalProtocolError,
    MessageError,
    MessageTooLarge,
    memory_transports,
)
from trio_mcp_transport.adapters.blocking import BytesTransport
from trio_mcp_transport.adapters.raw import as_bytes_transport
from trio_mcp_transport.transports.memory import _link_pair
from trio_mcp_transport.wire.length_prefix import LengthPrefixCodec

PING = b'{"jsonrpc":"2.0","id":"a","method":"ping"}'


async def test_a_stream_frames_and_unframes() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    wire = Wire(theirs)
    async with as_bytes_transport(ours) as transport:
        assert isinstance(transport, BytesTransport)
        await transport.send(PING)
        assert await wire.receive_line() == PING
        await wire.send_line({"jsonrpc": "2.0", "id": "a", "result": {"x": 1.50}, "extra": True})
        assert json.loads(await transport.receive()) == {
            "jsonrpc": "2.0",
            "id": "a",
            "result": {"x": 1.5},
            "extra": True,
        }
        # Not a message of ours to answer, nor a handshake to make.
        await wire.send_line({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})
        assert json.loads(await transport.receive())["method"] == "initialize"
    with pytest.raises(trio.EndOfChannel):
        await wire.receive_line()


async def test_another_codec_and_both_ends_of_a_stream() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    here, there = (as_bytes_transport(stream, codec=LengthPrefixCodec) for stream in (ours, theirs))
    await here.send(PING)
    assert await there.receive() == PING
    await here.close()
    with pytest.raises(ConnectionClosed):
        await there.receive()


async def test_a_link() -> None:
    ours, theirs = (as_bytes_transport(link) for link in _link_pair())
    await ours.send(PING)
    assert await theirs.receive() == PING
    await theirs.close()


async def test_a_batch_of_the_peer_is_one_message_and_ours_are_refused() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    transport = as_bytes_transport(ours)
    await Wire(theirs).send_line(b"[" + PING + b"]")
    assert await transport.receive() == b"[" + PING + b"]"
    with pytest.raises(LocalProtocolError, match="batch"):
        await transport.send(b"[" + PING + b"]")


@pytest.mark.parametrize("text", [b"", b"{", b'"x"', b'{"jsonrpc":"2.0"}'])
async def test_what_is_no_message_is_not_sent(text: bytes) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    with pytest.raises(LocalProtocolError):
        await as_bytes_transport(ours).send(text)
    await ours.aclose()
    assert await theirs.receive_some() == b""


async def test_the_limit_is_exact_and_said() -> None:
    ours, _ = trio.testing.memory_stream_pair()
    transport = as_bytes_transport(ours, limits=Limits(max_outgoing_size=len(PING)))
    assert transport.max_message_size == len(PING)
    await transport.send(PING)
    with pytest.raises(MessageTooLarge):
        await transport.send(PING + b" ")


async def test_an_unreadable_message_is_one_error() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    transport = as_bytes_transport(ours)
    await Wire(theirs).send_bytes(b"nonsense\n" + PING + b"\n")
    with pytest.raises(MessageError):
        await transport.receive()
    assert await transport.receive() == PING


async def test_a_broken_stream_stays_broken() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    transport = as_bytes_transport(ours, codec=LengthPrefixCodec)
    await theirs.send_all(b"\xff\xff\xff\xff")
    for _ in range(2):
        with pytest.raises(FramingError):
            await transport.receive()


@pytest.mark.parametrize("call", ["send", "receive"])
async def test_after_close_both_ways_are_closed(call: str) -> None:
    ours, _ = trio.testing.memory_stream_pair()
    transport = as_bytes_transport(ours)
    await transport.close()
    await transport.close()
    with pytest.raises(ConnectionClosed):
        await (transport.send(PING) if call == "send" else transport.receive())


async def test_closing_ends_a_receive_that_waits() -> None:
    ours, _ = trio.testing.memory_stream_pair()
    transport = as_bytes_transport(ours)

    async def wait() -> None:
        with pytest.raises(ConnectionClosed):
            await transport.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await transport.close()


async def test_a_cancelled_receive_loses_nothing_and_a_cancelled_send_ends_sending() -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    transport = as_bytes_transport(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.receive)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Wire(theirs).send_bytes, PING + b"\n")
        assert await transport.receive() == PING
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.send, PING)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with pytest.raises(ConnectionFailed):
        await transport.send(PING)


async def test_a_transport_needs_a_nursery_and_says_so() -> None:
    server, client = memory_transports()
    for ours in (server, client):
        transport = as_bytes_transport(ours)
        with pytest.raises(LocalProtocolError, match="nursery"):
            await transport.receive()
        await transport.close()


@pytest.mark.parametrize("given", [True, False])
async def test_a_client_and_a_server_transport_face_to_face(given: bool) -> None:
    server, client = memory_transports()
    async with trio.open_nursery() as nursery:
        wrap: Callable[[Any], Any] = lambda ours: as_bytes_transport(ours, nursery=nursery if given else None)  # noqa: E731
        async with wrap(server) as there, wrap(client) as here:
            nursery.start_soon(here.send, PING)
            assert json.loads(await there.receive()) == json.loads(PING)
            await there.send(b'{"jsonrpc":"2.0","id":"a","result":{}}')
            assert json.loads(await here.receive()) == {"jsonrpc": "2.0", "id": "a", "result": {}}


async def test_the_bodys_exception_leaves_as_it_is() -> None:
    _, client = memory_transports()
    with pytest.raises(ZeroDivisionError):
        async with as_bytes_transport(client):
            raise ZeroDivisionError


def test_anything_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="int"):
        as_bytes_transport(5)  # type: ignore[arg-type]
