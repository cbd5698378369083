"""Which Host and Origin values pass: what is meant, what is disguised, what is configured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mcp_transport.errors import ConfigError
from trio_mcp_transport.wire.hosts import (
    DEFAULT_PORTS,
    HostCheck,
    OriginCheck,
    Place,
    parse_host,
    parse_origin,
    sanitised,
)

DISGUISED = [
    "localhost:8000.evil.example",
    "127.0.0.1:8000@evil.example",
    "localhost:abc.evil",
    "localhost@evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example",
    "evil.example:8000",
    "xlocalhost",
    "localhost:",
    "localhost:0",
    "localhost:08000",
    "localhost:65536",
    "localhost:123456",
    "localhost:+80",
    "localhost:8_0",
    "localhost:٣",
    "localhost,evil.example",
    "localhost evil.example",
    " localhost",
    "localhost\t",
    "localhost.",
    "localhost/",
    "localhost#",
    "localhost?",
    "localhost\\",
    "local%68ost",
    "127.1",
    "127.0.0.01",
    "0x7f.0.0.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "127.0.0.1.",
    "128.0.0.1",
    "[::1",
    "::1",
    "[::1]8000",
    "[::1]x:80",
    "[::1]x80",
    "[::1]:",
    "[::1%lo]",
    "[::1%25lo]",
    "[127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[localhost]",
    "",
    ":8000",
    ".",
    "..",
    "-localhost",
    "localhost-",
    "l\u043ecalhost",
    "\uff4cocalhost",
    "a" * 64,
    "null",
    "*",
]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("localhost", Place("localhost", None)),
        ("LocalHost:8000", Place("localhost", 8000)),
        ("a-b.example_1.com:65535", Place("a-b.example_1.com", 65535)),
        ("192.0.2.1:1", Place("192.0.2.1", 1)),
        ("[2001:DB8:0:0::1]:80", Place("2001:db8::1", 80)),
        ("[::1]", Place("::1", None)),
        ("a" * 63, Place("a" * 63, None)),
        ("1a", Place("1a", None)),
    ],
)
def test_hosts(text: str, place: Place) -> None:
    assert parse_host(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a..b",
        "a b",
        "a:b",
        "a:1:2",
        "[::1",
        "[]",
        "[:::1]",
        "[::1%lo]",
        "1",
        "1.2.3",
        "1.2.3.256",
        ".".join(["a" * 60] * 5),
    ],
)
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_host(text)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.255.254", "::1"])
def test_loopback(host: str) -> None:
    assert Place(host, 1).loopback


@pytest.mark.parametrize(
    "host", ["example.com", "126.255.255.255", "128.0.0.1", "::2", "::", "0.0.0.0", "::ffff:7f00:1"]
)
def test_not_loopback(host: str) -> None:
    assert not Place(host, 1).loopback


def test_origins() -> None:
    assert parse_origin("HTTPS://Example.com") == ("https", Place("example.com", None))
    assert parse_origin("vscode-webview://1a2b") == ("vscode-webview", Place("1a2b", None))
    assert parse_origin("http://[::1]:80") == ("http", Place("::1", 80))


@pytest.mark.parametrize(
    "text", ["null", "", "http:", "http://", "://x", "http://x/", "x", "1http://x", "ht tp://x", "http://x@y"]
)
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_origin(text)


@pytest.mark.parametrize(
    "value", ["localhost", "LOCALHOST:1", "127.0.0.1:65535", "127.8.8.8", "[::1]", "[0:0::1]:8000"]
)
def test_loopback_passes_without_configuration(value: str) -> None:
    assert HostCheck().refusal([value]) is None
    assert OriginCheck().refusal([f"http://{value}"]) is None
    assert OriginCheck().refusal([f"HTTPS://{value}"]) is None


@pytest.mark.parametrize("value", DISGUISED)
def test_the_foreign_and_the_disguised_do_not(value: str) -> None:
    hosts = HostCheck(["mcp.example:80"], bound="192.0.2.7")
    origins = OriginCheck(["https://mcp.example"], bound="192.0.2.7")
    for refusal in (
        hosts.refusal([value]),
        origins.refusal([f"http://{value}"]),
        origins.refusal([f"http://{value}/"]),
    ):
        assert refusal is not None
        assert refusal.isascii()
        assert refusal.isprintable()


def test_how_many_values_there_may_be() -> None:
    assert "0 Host" in str(HostCheck().refusal([]))
    assert "2 Host" in str(HostCheck().refusal(["localhost", "localhost"]))
    assert OriginCheck().refusal([]) is None
    assert "2 Origin" in str(OriginCheck().refusal(["http://localhost", "http://localhost"]))
    # Also where the check is off: which of two is meant is anybody's guess.
    assert HostCheck(["*"]).refusal(["a", "b"]) is not None
    assert OriginCheck(["*"]).refusal(["http://a", "http://b"]) is not None


def test_a_refusal_says_what_would_allow_it() -> None:
    assert (
        HostCheck().refusal(["evil.example"])
        == "Host 'evil.example' is not allowed here; allowed_hosts= would allow it"
    )
    assert OriginCheck().refusal(["null"]) == "Origin 'null' is not allowed here; allowed_origins= would allow it"
    assert HostCheck().refusal(["a b"]) == "Host 'a b' is no host"


def test_hosts_that_are_configured() -> None:
    check = HostCheck(["Mcp.Example", "other.example:8080", "tls.example:443", "[2001:db8::1]"], scheme="wss")
    for value in (
        "mcp.example",
        "MCP.example:1",
        "other.example:8080",
        "tls.example",
        "tls.example:443",
        "[2001:db8::1]:5",
    ):
        assert check.refusal([value]) is None, value
    for value in ("other.example", "other.example:8081", "tls.example:80", "x.mcp.example", "mcp.example.x"):
        assert check.refusal([value]) is not None, value
    assert HostCheck(["tls.example:443"]).refusal(["tls.example"]) is not None  # without TLS that means port 80
    assert HostCheck(["plain.example:80"]).refusal(["plain.example"]) is None


def test_origins_that_are_configured() -> None:
    check = OriginCheck(["https://App.example", "http://dev.example:3000", "vscode-webview://1a"])
    for value in ("https://app.example", "https://app.example:443", "http://dev.example:3000", "vscode-webview://1A"):
        assert check.refusal([value]) is None, value
    for value in (
        "http://app.example",
        "https://app.example:444",
        "http://dev.example",
        "https://dev.example:3000",
        "vscode-webview://1a:1",
        "null",
    ):
        assert check.refusal([value]) is not None, value
    assert OriginCheck(["null"]).refusal(["null"]) is None
    assert OriginCheck(["null"]).refusal(["http://evil.example"]) is not None


def test_a_check_that_is_switched_off() -> None:
    assert HostCheck(["*"]).refusal(["evil.example"]) is None
    assert OriginCheck(["*"]).refusal(["https://evil.example"]) is None
    assert OriginCheck(["*"]).refusal(["null"]) is None


@pytest.mark.parametrize("bound", ["192.0.2.7", "2001:db8::7", "[2001:db8::7]", "fe80::7%eth0", "box.local"])
def test_the_bound_host_passes_with_any_port(bound: str) -> None:
    bare = bound.strip("[]").partition("%")[0]
    value = f"[{bare}]" if ":" in bare else bare
    assert HostCheck(bound=bound).refusal([f"{value}:9"]) is None
    assert OriginCheck(bound=bound).refusal([f"https://{value}:9"]) is None
    assert OriginCheck(bound=bound).refusal([f"ftp://{value}"]) is not None
    assert HostCheck().refusal([f"{value}:9"]) is not None
    assert OriginCheck().refusal([f"https://{value}:9"]) is not None


@pytest.mark.parametrize("bound", ["0.0.0.0", "::", ""])
def test_a_wildcard_allows_nothing(bound: str) -> None:
    for value in ("0.0.0.0:80", "[::]:80", "192.0.2.7"):
        assert HostCheck(bound=bound).refusal([value]) is not None
        assert OriginCheck(bound=bound).refusal([f"http://{value}"]) is not None


@pytest.mark.parametrize("entry", ["", "a b", "http://x", "x/", "x:*", "*.example"])
def test_a_host_that_cannot_be_configured(entry: str) -> None:
    with pytest.raises(ConfigError, match="host to allow"):
        HostCheck([entry])


@pytest.mark.parametrize("entry", ["", "example.com", "https://x/", "https://*", "https://x:99999"])
def test_an_origin_that_cannot_be_configured(entry: str) -> None:
    with pytest.raises(ConfigError, match="origin to allow"):
        OriginCheck([entry])


def test_one_entry_is_no_list() -> None:
    # Letter by letter, the list would allow hosts that nobody meant.
    with pytest.raises(ConfigError, match="is one entry"):
        HostCheck("mcp.example")
    with pytest.raises(ConfigError, match="one entry"):
        OriginCheck("https://app.example")


def test_default_ports() -> None:
    assert DEFAULT_PORTS == {"http": 80, "ws": 80, "https": 443, "wss": 443}


def test_what_is_shown_is_harmless() -> None:
    assert sanitised("a") == "'a'"
    assert sanitised("a\r\nb\x1b[31m\u202e") == r"'a\r\nb\x1b[31m\u202e'"
    assert sanitised("x" * 101) == f"'{'x' * 100}'..."
    assert sanitised("xyz", 3) == "'xyz'"
    assert sanitised("xyz", 2) == "'xy'..."


@given(value=st.text(max_size=40) | st.text("localhost:[]127.0@/e", max_size=20))
def test_whatever_comes_is_decided(value: str) -> None:
    # Nothing but exactly a loopback host passes, and nothing raises.
    for refusal in (HostCheck().refusal([value]), OriginCheck().refusal([value])):
        assert refusal is None or (refusal.isascii() and refusal.isprintable())
    if HostCheck().refusal([value]) is None:
        assert parse_host(value).loopback
