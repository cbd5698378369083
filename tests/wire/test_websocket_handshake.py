"""The WebSocket handshake case by case, as either side: what is accepted, and how everything else is answered."""

from __future__ import annotations

import re

import pytest

from trio_mcp_transport.errors import ConfigError, ConnectionFailed, LocalProtocolError, RemoteProtocolError
from trio_mcp_transport.wire.hosts import HostCheck, OriginCheck
from trio_mcp_transport.wire.signals import Signal
from trio_mcp_transport.wire.websocket_handshake import (
    ClientHandshake,
    HandshakeRefused,
    Refusal,
    ServerHandshake,
    Upgrade,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = {
    "Host": "localhost:8000",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def request(start: str = "GET / HTTP/1.1", *more: str, **changes: str | None) -> bytes:
    """A good request with changes: ``host="x"``, ``host=None`` to leave it out; ``more`` are whole lines."""
    fields: dict[str, str | None] = {name.lower(): value for name, value in FIELDS.items()}
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [start, *(f"{name}: {value}" for name, value in fields.items() if value is not None), *more, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def serve(data: bytes, path: str = "/", **options: object) -> Upgrade | Refusal:
    answer = ServerHandshake(path, **options).feed(data)  # type: ignore[arg-type]  # passed on
    assert not isinstance(answer, Signal)
    return answer


def refusal(data: bytes, path: str = "/", **options: object) -> Refusal:
    answer = serve(data, path, **options)
    assert isinstance(answer, Refusal)
    head, _, body = answer.response.partition(b"\r\n\r\n")
    assert body == answer.reason.encode() + b"\n"
    assert head.startswith(b"HTTP/1.1 %d " % answer.status)
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert re.search(rb"\r\nConnection: (Upgrade, )?close\b", head)
    assert answer.reason.isascii()
    assert answer.reason.isprintable()
    return answer


def test_a_request_is_accepted() -> None:
    answer = serve(request("GET /mcp?a=1 HTTP/1.1", "X-A: 1", "x-a: 2") + b"\x81\x80abcd", "/mcp")
    assert isinstance(answer, Upgrade)
    assert answer.response == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    assert answer.leftover == b"\x81\x80abcd"
    assert answer.subprotocol is None
    assert answer.target == "/mcp?a=1"
    assert answer.headers["host"] == "localhost:8000"
    assert answer.headers["x-a"] == "1, 2"


@pytest.mark.parametrize(
    ("lines", "chosen"),
    [
        (["Sec-WebSocket-Protocol: mcp"], "mcp"),
        (["Sec-WebSocket-Protocol: a, mcp ,b"], "mcp"),
        (["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: mcp"], "mcp"),
        (["Sec-WebSocket-Protocol: a, MCP, mcp2"], None),
        ([], None),
    ],
)
def test_the_subprotocol_is_chosen_when_it_is_offered(lines: list[str], chosen: str | None) -> None:
    answer = serve(request("GET / HTTP/1.1", *lines))
    assert isinstance(answer, Upgrade)
    assert answer.subprotocol == chosen
    assert (b"Sec-WebSocket-Protocol: mcp\r\n" in answer.response) is (chosen is not None)
    assert answer.response.count(b"Protocol:") == (chosen is not None)
    none = serve(request("GET / HTTP/1.1", *lines), subprotocol=None)
    assert isinstance(none, Upgrade)
    assert none.subprotocol is None


def test_no_extension_is_negotiated() -> None:
    answer = serve(request("GET / HTTP/1.1", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"))
    assert isinstance(answer, Upgrade)
    assert b"xtension" not in answer.response


def test_tokens_of_browsers() -> None:
    assert isinstance(serve(request(connection="keep-alive, Upgrade", upgrade="WebSocket")), Upgrade)
    assert isinstance(serve(request(content_length="0")), Upgrade)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("GET / HTTP/1.0"), 505),
        (request("GET / HTTP/2.0"), 505),
        (request("GET / http/1.1"), 400),
        (request("GET /"), 400),
        (request("GET  / HTTP/1.1"), 400),
        (request("GET / HTTP/1.1 "), 400),
        (request(" GET / HTTP/1.1"), 400),
        (request(""), 400),
        (b"\r\n" + request(), 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (request("POST / HTTP/1.1"), 405),
        (request("get / HTTP/1.1"), 405),
        (request("CONNECT / HTTP/1.1"), 405),
        (request("GET /other HTTP/1.1"), 404),
        (request("GET //  HTTP/1.1"), 400),
        (request("GET /%2F HTTP/1.1"), 404),
        (request("GET * HTTP/1.1"), 400),
        (request("GET http://localhost/ HTTP/1.1"), 400),
        (request("GET /#x HTTP/1.1"), 400),
        (request("GET /" + "x" * 8192 + " HTTP/1.1"), 414),
        (request(host=None), 400),
        (request("GET / HTTP/1.1", "Host: localhost"), 400),
        (request(host="evil.example"), 403),
        (request(host=""), 403),
        (request(host="localhost:8000@evil.example"), 403),
        (request(origin="null"), 403),
        (request(origin="https://evil.example"), 403),
        (request(origin="http://localhost:8000.evil.example"), 403),
        (request("GET / HTTP/1.1", "Origin: http://localhost", "Origin: http://localhost"), 403),
        (request(upgrade=None), 426),
        (request(upgrade="h2c"), 426),
        (request(connection=None), 426),
        (request(connection="close"), 426),
        (request(sec_websocket_version=None), 426),
        (request(sec_websocket_version="8"), 426),
        (request(sec_websocket_version="013"), 426),
        (request(sec_websocket_version="13, 8"), 426),
        (request("GET / HTTP/1.1", "Sec-WebSocket-Version: 13"), 400),
        (request(sec_websocket_key=None), 400),
        (request(sec_websocket_key=""), 400),
        (request(sec_websocket_key="dGhlIHNhbXBsZSBub25j"), 400),
        (request(sec_websocket_key="dGhlIHNhbXBsZSBub25jZSE="), 400),
        (request(sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ="), 400),
        (request(sec_websocket_key="!GhlIHNhbXBsZSBub25jZQ=="), 400),
        (request(sec_websocket_key="dGhl IHNhbXBsZSBub25jZQ=="), 400),
        (request("GET / HTTP/1.1", f"Sec-WebSocket-Key: {KEY}"), 400),
        (request(content_length="5"), 400),
        (request(content_length="+0"), 400),
        (request("GET / HTTP/1.1", "Content-Length: 0", "Content-Length: 0"), 400),
        (request(transfer_encoding="chunked"), 400),
        (request(host="\xe9"), 400),
        (request(connection="Upgrade\xff"), 400),
        (request(sec_websocket_protocol="m\xe9p"), 400),
        (request(sec_websocket_extensions="\x80"), 400),
        (request(origin="http://localhost\xff"), 400),
        (request("GET /\xff HTTP/1.1"), 400),
        (request(x_folded="a\r\n b"), 400),
        (request(x="x" * 16384), 431),
        (request("GET / HTTP/1.1", *["X: y"] * 96), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\n", 400),
    ],
)
def test_what_is_refused(data: bytes, status: int) -> None:
    assert refusal(data).status == status
    handshake = ServerHandshake()
    for place in range(len(data)):
        answer = handshake.feed(data[place : place + 1])
        if answer is not Signal.NEED_DATA:
            break
    assert isinstance(answer, Refusal)
    assert answer == refusal(data)


def test_as_many_fields_as_there_may_be() -> None:
    assert isinstance(serve(request("GET / HTTP/1.1", *["X: y"] * 95)), Upgrade)


def test_a_longest_target() -> None:
    assert isinstance(serve(request("GET /?" + "x" * 8190 + " HTTP/1.1")), Upgrade)
    assert refusal(request("GET /?" + "x" * 8191 + " HTTP/1.1")).status == 414


def test_refusals_say_what_would_help() -> None:
    assert b"Sec-WebSocket-Version: 13\r\n" in refusal(request(sec_websocket_version="7")).response
    assert b"Upgrade: websocket\r\n" in refusal(request(upgrade=None)).response
    assert b"Allow: GET\r\n" in refusal(request("PUT / HTTP/1.1")).response
    assert "allowed_hosts=" in refusal(request(host="evil.example")).reason
    assert "allowed_origins=" in refusal(request(origin="https://evil.example")).reason
    assert "'evil.example'" in refusal(request(host="evil.example")).reason
    assert len(refusal(request("GET /" + "x" * 5000 + " HTTP/1.1")).reason) < 200


def test_the_checks_are_those_that_were_given() -> None:
    data = request(host="mcp.example", origin="https://app.example")
    hosts, origins = HostCheck(["mcp.example"]), OriginCheck(["https://app.example"])
    assert isinstance(serve(data, hosts=hosts, origins=origins), Upgrade)
    assert "Host" in refusal(data, origins=origins).reason
    assert "Origin" in refusal(data, hosts=hosts).reason


def test_a_path_is_not_told_to_the_foreign() -> None:
    assert refusal(request("GET /other HTTP/1.1", host="evil.example")).status == 403


def test_the_end_inside_a_request() -> None:
    handshake = ServerHandshake()
    assert handshake.feed(b"GET / HTTP") is Signal.NEED_DATA
    answer = handshake.feed(b"")
    assert isinstance(answer, Refusal)
    assert answer.status == 400


@pytest.mark.parametrize("data", [request(), b"\xff\r\n", b""])
def test_a_handshake_is_answered_once(data: bytes) -> None:
    handshake = ServerHandshake()
    handshake.feed(data)
    with pytest.raises(LocalProtocolError, match="over"):
        handshake.feed(b"more")


@pytest.mark.parametrize("path", ["", "mcp", "/a b", "/a?b", "/a#b", "/ä"])
def test_paths_that_cannot_be_served(path: str) -> None:
    with pytest.raises(ConfigError, match="no path to serve"):
        ServerHandshake(path)


# The client.


def good_answer(client: ClientHandshake, *more: str, start: str = "HTTP/1.1 101 X", **changes: str | None) -> bytes:
    answer = ServerHandshake(hosts=HostCheck(["*"]), subprotocol=None).feed(client.request)
    assert isinstance(answer, Upgrade)
    _, *lines = answer.response.decode().split("\r\n")
    fields: dict[str, str | None] = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines if x)}
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    head = [start, *(f"{name}: {value}" for name, value in fields.items() if value is not None), *more, "", ""]
    return "\r\n".join(head).encode("latin-1")


def test_what_a_client_asks() -> None:
    client = ClientHandshake("example.com", "/mcp?x=1", headers=[("Authorization", "Bearer t"), ("Origin", "http://a")])
    start, *lines = client.request.decode().split("\r\n")
    assert start == "GET /mcp?x=1 HTTP/1.1"
    fields = dict(line.split(": ", 1) for line in lines if line)
    assert fields.pop("Sec-WebSocket-Key")
    assert fields == {
        "Host": "example.com",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "mcp",
        "Authorization": "Bearer t",
        "Origin": "http://a",
    }
    assert client.request.endswith(b"\r\n\r\n")
    assert b"Protocol" not in ClientHandshake("x", subprotocol=None).request


def test_keys_are_fresh() -> None:
    assert len({ClientHandshake("x").request for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("host", "port", "secure", "field"),
    [
        ("localhost", None, False, "localhost"),
        ("localhost", 80, False, "localhost"),
        ("localhost", 443, False, "localhost:443"),
        ("localhost", 443, True, "localhost"),
        ("localhost", 80, True, "localhost:80"),
        ("::1", 8000, False, "[::1]:8000"),
        ("[::1]", 80, False, "[::1]"),
        ("fe80::1%eth0", 8000, False, "[fe80::1]:8000"),
        ("192.0.2.1", 1, False, "192.0.2.1:1"),
    ],
)
def test_the_host_field(host: str, port: int | None, secure: bool, field: str) -> None:
    assert f"\r\nHost: {field}\r\n".encode() in ClientHandshake(host, port=port, secure=secure).request


@pytest.mark.parametrize("host", ["", "a b", "a\r\nX: y", "a/b", "ä.example", "a@b", "a:b"])
def test_hosts_that_cannot_be_asked(host: str) -> None:
    with pytest.raises(ConfigError, match="no host"):
        ClientHandshake(host)


@pytest.mark.parametrize("path", ["", "x", "/a b", "/\r\nX: y", "/#a"])
def test_paths_that_cannot_be_asked(path: str) -> None:
    with pytest.raises(ConfigError, match="no path"):
        ClientHandshake("x", path)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("X\r\nY", "z", "cannot be sent"),
        ("X", "a\r\nY: z", "cannot be sent"),
        ("X", "a\n", "cannot be sent"),
        ("X", "ä", "cannot be sent"),
        ("X", "\x00", "cannot be sent"),
        ("", "a", "cannot be sent"),
        ("X:", "a", "cannot be sent"),
        ("Host", "a", "handshake itself"),
        ("CONNECTION", "a", "handshake itself"),
        ("Content-Length", "1", "handshake itself"),
        ("Sec-WebSocket-Extensions", "permessage-deflate", "handshake itself"),
    ],
)
def test_fields_that_cannot_be_sent(name: str, value: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        ClientHandshake("x", headers=[(name, value)])


def test_an_answer_is_accepted_however_it_is_cut() -> None:
    client = ClientHandshake("localhost", "/", port=8000)
    data = good_answer(client, "Sec-WebSocket-Protocol: mcp") + b"\x81\x01x"
    end = data.index(b"\r\n\r\n") + 4
    for place in range(1, end):
        fresh = ClientHandshake("localhost", "/", port=8000)
        data = good_answer(fresh, "Sec-WebSocket-Protocol: mcp") + b"\x81\x01x"
        assert fresh.feed(data[:place]) is Signal.NEED_DATA
        answer = fresh.feed(data[place:])
        assert isinstance(answer, Upgrade)
        assert (answer.response, answer.leftover, answer.subprotocol) == (b"", b"\x81\x01x", "mcp")
        assert answer.target == "/"
        assert answer.headers["upgrade"] == "websocket"
        with pytest.raises(LocalProtocolError, match="over"):
            fresh.feed(b"x")


def test_no_subprotocol_is_fine() -> None:
    client = ClientHandshake("x")
    answer = client.feed(good_answer(client))
    assert isinstance(answer, Upgrade)
    assert answer.subprotocol is None


@pytest.mark.parametrize(
    ("changes", "more", "why"),
    [
        ({"upgrade": None}, [], "does not switch"),
        ({"upgrade": "h2c"}, [], "does not switch"),
        ({"connection": "close"}, [], "does not switch"),
        ({"sec_websocket_accept": None}, [], "Accept"),
        ({"sec_websocket_accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, [], "Accept"),
        ({"sec_websocket_protocol": "other"}, [], "'other', which was not offered"),
        ({"sec_websocket_protocol": "MCP"}, [], "not offered"),
        ({"sec_websocket_protocol": "mcp, mcp"}, [], "not offered"),
        ({"sec_websocket_extensions": "permessage-deflate"}, [], "extension"),
        ({}, ["Sec-WebSocket-Protocol: mcp", "Sec-WebSocket-Protocol: mcp"], "more than one"),
        ({"x": "\xff"}, [], "malformed"),
        ({"start": "HTTP/1.0 101 X"}, [], "status line"),
        ({"start": "HTTP/1.1 1O1 X"}, [], "status line"),
        ({"start": "HTTP/1.1 0101 X"}, [], "status line"),
        ({"start": "SSH-2.0-OpenSSH"}, [], "status line"),
        ({"x": "x" * 16384}, [], "over 16384"),
    ],
)
def test_answers_that_are_no_handshake(changes: dict[str, str | None], more: list[str], why: str) -> None:
    client = ClientHandshake("x")
    data = good_answer(client, *more, **changes)  # type: ignore[arg-type]  # `start` among the changes
    with pytest.raises(RemoteProtocolError, match=why) as info:
        client.feed(data)
    assert str(info.value).isprintable()
    with pytest.raises(LocalProtocolError):
        client.feed(data)


def test_a_subprotocol_that_was_never_offered() -> None:
    client = ClientHandshake("x", subprotocol=None)
    with pytest.raises(RemoteProtocolError, match="not offered"):
        client.feed(good_answer(client, "Sec-WebSocket-Protocol: mcp"))


@pytest.mark.parametrize(
    ("head", "body", "message"),
    [
        ("404 Not Found\r\nContent-Length: 3", b"no\x1b...", r"404 Not Found: 'no\x1b'"),
        ("403 Whatever\r\nContent-Length: 0", b"", "403 Forbidden"),
        (
            "302 Found\r\nLocation: http://x/\x1b\r\nContent-Length: 0".replace("\x1b", "y"),
            b"",
            "to 'http://x/y'; redirects",
        ),
        ("200 OK", b"x" * 600, "200 OK: '" + "x" * 512 + "'"),
        ("200 OK\r\nContent-Length: 999999999999999999999", b"y" * 600, "y" * 512),
        ("599 ?\r\nContent-Length: 1", b"z", "599: 'z'"),
        ("204 No Content", b"", "204 No Content"),
    ],
)
def test_another_status(head: str, body: bytes, message: str) -> None:
    data = f"HTTP/1.1 {head}\r\n\r\n".encode() + body
    for chunks in ([data], [data[place : place + 1] for place in range(len(data))]):
        client = ClientHandshake("x")
        with pytest.raises(HandshakeRefused) as info:  # noqa: PT012  # which chunk is the last is not said
            for chunk in chunks:
                assert client.feed(chunk) is Signal.NEED_DATA
        assert message in str(info.value)
        assert info.value.status == int(head[:3])
        assert str(info.value).isprintable()
        assert len(str(info.value)) < 700


def test_a_body_that_ends_early() -> None:
    client = ClientHandshake("x")
    assert client.feed(b"HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\n") is Signal.NEED_DATA
    assert client.feed(b"oh") is Signal.NEED_DATA
    with pytest.raises(HandshakeRefused, match="500 Internal Server Error: 'oh'"):
        client.feed(b"")


def test_the_end_before_an_answer() -> None:
    client = ClientHandshake("x")
    assert client.feed(b"HTTP/1.1 1") is Signal.NEED_DATA
    with pytest.raises(ConnectionFailed, match="before it answered"):
        client.feed(b"")
    with pytest.raises(LocalProtocolError):
        client.feed(b"x")


def test_interim_answers_are_skipped() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    client = ClientHandshake("x")
    answer = client.feed(interim * 4 + good_answer(client) + b"rest")
    assert isinstance(answer, Upgrade)
    assert answer.leftover == b"rest"
    client = ClientHandshake("x")
    assert client.feed(interim * 4) is Signal.NEED_DATA
    with pytest.raises(HandshakeRefused, match="103"):
        client.feed(interim + b"x" * 512)


def test_a_no_of_an_older_http_is_a_no() -> None:
    client = ClientHandshake("h")
    assert not client.refused
    assert client.feed(b"HTTP/1.0 404 Not here\r\n\r\n") is Signal.NEED_DATA
    assert client.refused
    with pytest.raises(HandshakeRefused, match="404 Not Found"):
        client.feed(b"")
