"""The parts that both sides of the WebSocket handshake use."""

from __future__ import annotations

import pytest

from trio_mcp_transport.errors import ConfigError
from trio_mcp_transport.wire.http_head import Head
from trio_mcp_transport.wire.websocket_upgrade import (
    accept_of,
    check_subprotocol,
    head_bytes,
    is_target,
    phrase_of,
    switches,
)


def test_the_proof_of_the_standard() -> None:
    # RFC 6455 section 1.3.
    assert accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("upgrade", "connection", "answer"),
    [
        ("websocket", "Upgrade", True),
        ("WebSocket", "keep-alive, UPGRADE", True),
        ("h2c, websocket", "upgrade", True),
        ("websockets", "upgrade", False),
        ("websocket", "keep-alive", False),
        ("h2c", "upgrade", False),
        ("", "upgrade", False),
    ],
)
def test_what_switches(upgrade: str, connection: str, answer: bool) -> None:
    assert switches(Head("", (("upgrade", upgrade), ("connection", connection)), b"")) is answer


@pytest.mark.parametrize("text", ["/", "/mcp", "/a?b=%20&c"])
def test_targets(text: str) -> None:
    assert is_target(text)


@pytest.mark.parametrize("text", ["", "*", "mcp", "http://x/", "/a b", "/a\tb", "/a#b", "/ä", "/a\r\nX: y"])
def test_what_is_no_target(text: str) -> None:
    assert not is_target(text)


def test_subprotocols() -> None:
    check_subprotocol(None)
    check_subprotocol("mcp")
    for wrong in ("", "a b", "a,b", "a\r\n"):
        with pytest.raises(ConfigError, match="no subprotocol"):
            check_subprotocol(wrong)


def test_texts() -> None:
    assert phrase_of(404) == "Not Found"
    assert phrase_of(299) == ""
    assert head_bytes(["a", "b: c"]) == b"a\r\nb: c\r\n\r\n"
