"""Last words are short, and what a peer said at its end is told in safe text."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.websocket_peer import CLOSE, frame
from trio_mcp_transport.testing.streams import byte_stream_pair
from trio_mcp_transport.transports.websocket_closing import (
    close_frame,
    closed_by_peer,
    closed_without_close,
    discard,
    last_words,
)


def test_a_server_does_not_mask_its_close() -> None:
    assert close_frame("server", 1001, "bye") == frame(CLOSE, b"\x03\xe9bye", masked=False)


def test_a_client_masks_its_close() -> None:
    data = close_frame("client", 1000)
    assert data[:2] == b"\x88\x82" and len(data) == 8


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        (1000, "", "the peer closed the WebSocket with code 1000"),
        (1005, "", "the peer closed the WebSocket without a code"),
        (4000, "line\nline", r"the peer closed the WebSocket with code 4000 ('line\nline')"),
    ],
)
def test_the_error_says_what_the_peer_said(code: int, reason: str, message: str) -> None:
    assert str(closed_by_peer(code, reason)) == message


def test_the_end_without_a_close_is_told_from_one_with() -> None:
    assert "without closing" in str(closed_without_close())


async def test_last_words_do_not_wait_for_a_peer_that_reads_nothing(autojump_clock: trio.testing.MockClock) -> None:
    ours, _ = byte_stream_pair(2)
    with trio.CancelScope() as scope:
        scope.cancel()
        await last_words(ours, b"four")
    assert trio.current_time() < 1


async def test_last_words_to_a_peer_that_left_are_no_error() -> None:
    ours, theirs = byte_stream_pair()
    await theirs.aclose()
    await last_words(ours, b"x")
    await ours.aclose()
    await last_words(ours, b"x")


async def test_what_is_discarded_is_read_to_the_end() -> None:
    ours, theirs = byte_stream_pair()
    await theirs.send_all(b"x" * 1000)
    await theirs.send_eof()
    await discard(ours)
    await ours.aclose()
    await discard(ours)
