"""The rows on custom transports that are a matter of documentation, and that what is documented is so."""

from __future__ import annotations

import inspect
import re
import stat
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.package_tree import ROOT
from trio_mcp_transport import (
    ConnectionFailed,
    Handlers,
    MessageContext,
    Request,
    ServerInfo,
    TcpClientTransport,
    TcpServerTransport,
    UnixServerTransport,
    WebSocketClientTransport,
    WebSocketServerTransport,
    open_client,
    serve,
)
from trio_mcp_transport.addresses import SCHEMES
from trio_mcp_transport.registry import transport_names

PAGE = ROOT / "docs" / "guides" / "transports.rst"
TRANSPORTS = ("Standard input and output", "Memory", "TCP", "Unix sockets", "WebSocket")
HEADINGS = ("Connection set-up", "Framing", "Cancellation", "Security")


def sections(text: str) -> dict[str, dict[str, str]]:
    """Return the text of a page by title and heading, underlined with ``-`` and ``~``."""
    found: dict[str, dict[str, str]] = {}
    title = heading = ""
    lines = text.splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if below and set(below) == {"-"} and len(below) >= len(line) > 0:
            title, heading = line, ""
            found[title] = {}
        elif below and set(below) == {"~"} and len(below) >= len(line) > 0:
            heading = line
        elif line.strip() and title and not re.fullmatch("[-~]+", line):
            found[title][heading] = f"{found[title].get(heading, '')} {line}".strip()
    return found


def documented(transport: str, heading: str) -> str:
    return sections(PAGE.read_text(encoding="utf-8"))[transport][heading]


@pytest.mark.requirement("M-CT-03")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_each_transport_documents_how_it_connects_frames_and_cancels(transport: str) -> None:
    for heading in HEADINGS:
        assert len(documented(transport, heading).split()) >= 4, f"{transport}: {heading}"


@pytest.mark.requirement("M-CT-03")
def test_no_transport_is_missing_from_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    there = {scheme for scheme in transport_names() if scheme in SCHEMES} | {"memory"}
    assert [scheme for scheme in sorted(there) if f"``{scheme}:" not in text] == []
    assert set(sections(text)) == {"What holds everywhere", *TRANSPORTS, "Your own"}


def test_a_page_is_read() -> None:
    page = "Top\n===\n\nA\n--\n\nOne\n~~~\n\ntext\nmore\n\nTwo\n~~~\n\nB\n-\n\nOne\n~~~\n\nother\n"
    found = {title: {name: text.split() for name, text in one.items()} for title, one in sections(page).items()}
    assert found["A"]["One"] == ["text", "more"]
    assert "Two" not in found["A"], "a heading without text is none"
    assert found["B"]["One"] == ["other"]


@pytest.mark.requirement("M-CT-06")
def test_the_page_tells_the_security_practice_of_each_protocol() -> None:
    for transport, words in {
        "TCP": ("loopback", "TLS", "ssl_context", "verifies"),
        "Unix sockets": ("0600", "owner", "credentials"),
        "WebSocket": ("Origin", "Host", "403", "loopback", "wss"),
    }.items():
        told = documented(transport, "Security")
        assert [word for word in words if word not in told] == [], transport


@pytest.mark.requirement("M-CT-06")
@pytest.mark.parametrize("kind", [TcpServerTransport, WebSocketServerTransport])
async def test_what_listens_on_a_port_listens_on_loopback_and_can_have_tls(kind: Any) -> None:
    assert "ssl_context" in inspect.signature(kind).parameters
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, Handlers(), kind())
        assert re.match(r"(tcp|ws)://127\.0\.0\.1:\d+", address)
        nursery.cancel_scope.cancel()
    assert inspect.signature(TcpClientTransport).parameters["verify"].default is True
    assert inspect.signature(WebSocketClientTransport).parameters["verify"].default is True


@pytest.mark.requirement("M-CT-06")
async def test_the_file_of_a_unix_socket_is_its_owners(tmp_path: Path) -> None:
    path = trio.Path(tmp_path / "socket")
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, Handlers(), UnixServerTransport(path))
        assert stat.S_IMODE((await path.stat()).st_mode) == 0o600
        nursery.cancel_scope.cancel()


@pytest.mark.requirement("M-CT-06")
@pytest.mark.parametrize("engine", ["trio-websocket", "native"])
async def test_a_websocket_of_a_foreign_page_is_refused_with_403(engine: Any) -> None:
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(serve, Handlers(), WebSocketServerTransport(engine=engine))
        with pytest.raises(ConnectionFailed, match="403"):
            async with open_client(WebSocketClientTransport(url, headers={"Origin": "https://example.com"})):
                pytest.fail("a page of somebody else got in")
        nursery.cancel_scope.cancel()


@pytest.mark.requirement("M-CT-07")
def test_the_page_says_that_websocket_mirrors_nothing() -> None:
    assert "mirrors nothing of the body" in documented("WebSocket", "Framing")


@pytest.mark.requirement("M-CT-07")
@pytest.mark.parametrize("engine", ["trio-websocket", "native"])
async def test_nothing_of_a_message_is_in_the_upgrade_and_nothing_in_the_upgrade_counts(engine: Any) -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    async def note(message: Request, context: MessageContext) -> Any:
        seen.append((context.revision, dict(context.headers)))
        return {}

    lies = {"MCP-Protocol-Version": "2024-11-05", "Mcp-Method": "tools/other", "Mcp-Name": "other"}
    async with trio.open_nursery() as nursery:
        server = WebSocketServerTransport(engine=engine)
        start = partial(serve, Handlers(request=note), server, server_info=ServerInfo("server", "1"))
        (url,) = await nursery.start(start)
        for headers in ({}, lies):
            async with open_client(WebSocketClientTransport(url, engine=engine, headers=headers)) as client:
                await client.request("tools/call", {"name": "secret", "arguments": {}})
        nursery.cancel_scope.cancel()
    (revision, plain), (same_revision, lied) = seen
    # What the client adds by itself belongs to RFC 6455; the lies change nothing of what the body says.
    assert not [name for name, value in plain.items() if "secret" in value or "tools/call" in value or "2026" in value]
    assert revision == same_revision == "2026-07-28"
    assert lied.get("mcp-method") == "tools/other"
