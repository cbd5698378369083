"""The handshake on a stream: what came behind it is kept, and what goes wrong is one typed error."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.websocket_peer import handshake
from trio_mcp_transport.errors import ConnectionFailed
from trio_mcp_transport.testing.streams import byte_stream_pair
from trio_mcp_transport.transports.websocket_opening import answer_upgrade, ask_upgrade
from trio_mcp_transport.wire.websocket_handshake import (
    ClientHandshake,
    HandshakeRefused,
    Refusal,
    ServerHandshake,
    Upgrade,
)


async def test_both_sides_agree() -> None:
    ours, theirs = byte_stream_pair()
    answers: list[object] = []

    async def serve() -> None:
        answers.append(await answer_upgrade(theirs, ServerHandshake(), trio.current_time() + 5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        upgrade = await ask_upgrade(ours, ClientHandshake("localhost"))
    assert upgrade.subprotocol == "mcp"
    (served,) = answers
    assert isinstance(served, Upgrade) and served.headers["host"] == "localhost"


async def test_what_came_behind_the_request_is_kept() -> None:
    ours, theirs = byte_stream_pair()
    await ours.send_all(handshake() + b"frames")
    answer = await answer_upgrade(theirs, ServerHandshake(), trio.current_time() + 5)
    assert isinstance(answer, Upgrade) and answer.leftover == b"frames"


async def test_a_refused_peer_may_finish_writing(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = byte_stream_pair(1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, handshake("/nowhere") + b"x" * 10_000)
        answer = await answer_upgrade(theirs, ServerHandshake(), trio.current_time() + 5)
    assert isinstance(answer, Refusal) and answer.status == 404
    assert trio.current_time() == 1.0  # it did not end its writing, and was left alone after a second
    assert (await ours.receive_some()).startswith(b"HTTP/1.1 404 ")


async def test_a_peer_that_only_looked_is_no_error() -> None:
    ours, theirs = byte_stream_pair()
    await ours.aclose()
    assert await answer_upgrade(theirs, ServerHandshake(), trio.current_time() + 5) is None


async def test_a_peer_that_left_in_the_middle_is_refused() -> None:
    ours, theirs = byte_stream_pair()
    await ours.send_all(b"GET / HTTP/1.1\r\n")
    await ours.send_eof()
    answer = await answer_upgrade(theirs, ServerHandshake(), trio.current_time() + 5)
    assert isinstance(answer, Refusal) and answer.status == 400


async def test_a_stream_that_breaks_is_a_failed_connection() -> None:
    ours, theirs = byte_stream_pair()
    await ours.send_all(handshake())
    await ours.aclose()
    with pytest.raises(ConnectionFailed, match="handshake"):
        await answer_upgrade(theirs, ServerHandshake(), trio.current_time() + 5)
    ours, theirs = byte_stream_pair()
    await theirs.aclose()
    with pytest.raises(ConnectionFailed, match="handshake"):
        await ask_upgrade(ours, ClientHandshake("localhost"))


async def test_a_peer_that_does_not_take_the_answer_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = byte_stream_pair(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, handshake())
        assert await answer_upgrade(theirs, ServerHandshake(), trio.current_time() + 5) is None
    assert trio.current_time() < 5.5


@pytest.mark.parametrize(
    "head", ["HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked", "HTTP/1.0 401 Unauthorized"]
)
async def test_a_refusal_is_not_hidden_by_a_connection_that_stays_open(
    head: str, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = byte_stream_pair()

    async def refuse() -> None:
        await theirs.send_all(f"{head}\r\n\r\nwhy: ".encode())
        while True:
            await trio.sleep(0.4)
            await theirs.send_all(b".")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        with pytest.raises(HandshakeRefused, match=r"401 Unauthorized: 'why: \.\.'") as caught:
            await ask_upgrade(ours, ClientHandshake("localhost"))
        nursery.cancel_scope.cancel()
    assert caught.value.status == 401 and trio.current_time() == 1.0
