"""The grammar of addresses: a scheme, a colon, the rest; and the rest taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mcp_transport.addresses import (
    FRAMINGS,
    SCHEMES,
    Address,
    Endpoint,
    HttpUnixEndpoint,
    TcpEndpoint,
    UnixEndpoint,
    UrlEndpoint,
    parse_address,
    parse_endpoint,
)
from trio_mcp_transport.errors import ConfigError


def refusal(text: str, *, serving: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_endpoint(text, serving=serving)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "scheme", "rest"),
    [
        ("stdio:", "stdio", ""),
        ("memory:", "memory", ""),
        ("tcp://127.0.0.1:80?framing=length-prefix", "tcp", "//127.0.0.1:80?framing=length-prefix"),
        ("unix:/run/a:b", "unix", "/run/a:b"),
        ("http+unix://%2Frun%2Fx/mcp", "http+unix", "//%2Frun%2Fx/mcp"),
        ("HTTPS://[::1]:8443/mcp", "https", "//[::1]:8443/mcp"),
        ("plug-in.2:anything\nat all", "plug-in.2", "anything\nat all"),
    ],
)
def test_an_address_has_two_parts(text: str, scheme: str, rest: str) -> None:
    assert parse_address(text) == Address(scheme, rest)
    assert str(parse_address(text)) == f"{scheme}:{rest}"


@pytest.mark.parametrize("text", ["", "stdio", ":", ":x", "1tcp://h:1", "a b:c", "/run/socket", "ü:x", "\ntcp://h:1"])
def test_what_has_no_scheme_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)


def test_every_form_of_the_grammar_parses_to_its_own_scheme() -> None:
    assert {parse_address(form).scheme for form in SCHEMES.values()} == set(SCHEMES)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("tcp://127.0.0.1:80", TcpEndpoint("tcp", "127.0.0.1", 80)),
        ("TLS://example.com:65535", TcpEndpoint("tls", "example.com", 65535)),
        ("tcp://a_b.C-d.:1?framing=newline", TcpEndpoint("tcp", "a_b.C-d.", 1)),
        ("tcp://[::1]:7?framing=length-prefix", TcpEndpoint("tcp", "::1", 7, "length-prefix")),
        ("tcp://[fe80::1%25eth0]:7", TcpEndpoint("tcp", "fe80::1%eth0", 7)),
        ("tcp://[::ffff:1.2.3.4]:7", TcpEndpoint("tcp", "::ffff:1.2.3.4", 7)),
        ("tcp://h:00080", TcpEndpoint("tcp", "h", 80)),
        ("unix:/run/a:b c@d", UnixEndpoint("/run/a:b c@d")),
        ("unix:here?framing=content-length", UnixEndpoint("here", "content-length")),
        ("ws://h:1", UrlEndpoint("ws", "h", 1, "/")),
        ("ws://h", UrlEndpoint("ws", "h", 80, "/")),
        ("wss://[::1]/a/b?c=%20&d=?", UrlEndpoint("wss", "::1", 443, "/a/b?c=%20&d=?")),
        ("http://h:1", UrlEndpoint("http", "h", 1, "/mcp")),
        ("https://h/", UrlEndpoint("https", "h", 443, "/")),
        ("https://h/a@b", UrlEndpoint("https", "h", 443, "/a@b")),
        ("http+unix://%2Frun%2fa%3Fb%20c", HttpUnixEndpoint("/run/a?b c", "/mcp")),
        ("http+unix://%2Frun%2F%FF/x", HttpUnixEndpoint("/run/\udcff", "/x")),
        ("http+unix://here/x?y", HttpUnixEndpoint("here", "/x?y")),
    ],
)
def test_an_address_is_taken_apart(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint
    assert parse_endpoint(parse_address(text)) == endpoint
    # What an endpoint is written as means the same again.
    assert parse_endpoint(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tcp:h:1", "it has the form tcp://HOST:PORT"),
        ("tcp:/h:1", "it has the form"),
        ("ws:h:1", "it has the form ws://HOST:PORT/PATH"),
        ("http+unix:/run/x", "it has the form"),
        ("tcp://", "the host is missing"),
        ("tcp://:80", "the host is missing"),
        ("ws:///path", "the host is missing"),
        ("tcp://h", "the port is missing"),
        ("tls://[::1]", "the port is missing"),
        ("tcp://h:", "a port is a number from 1 to 65535, not ''"),
        ("tcp://h:0", "not '0'"),
        ("tcp://h:65536", "not '65536'"),
        ("tcp://h:-1", "not '-1'"),
        ("tcp://h:+1", "not '+1'"),
        ("tcp://h:1_0", "not '1_0'"),
        ("tcp://h:٣", "not '٣'"),
        ("tcp://h:" + "9" * 5000, "a port is a number"),
        ("tcp://h:80/", "not '80/'"),
        ("tcp://h:80/path", "not '80/path'"),
        ("tcp://h:1:2", "one port behind a colon"),
        ("tcp://::1:80", "an IPv6 address stands in brackets"),
        ("tcp://[::1", "an IPv6 address stands in brackets"),
        ("tcp://[::1]80", "an IPv6 address stands in brackets"),
        ("tcp://[]:80", "[] is no IPv6 address"),
        ("tcp://[1.2.3.4]:80", "[1.2.3.4] is no IPv6 address"),
        ("tcp://[::g]:80", "[::g] is no IPv6 address"),
        ("tcp://[::1%]:80", "'' is no name of a zone"),
        ("ws://[::1%25x\r\nOrigin: null]:80/", "is no name of a zone"),
        ("ws://[::1%25a b]:80/", "'a b' is no name of a zone"),
        ("tcp://1.2.3.256:80", "1.2.3.256 is no IPv4 address"),
        ("tcp://127.1:80", "127.1 is no IPv4 address"),
        ("tcp://2130706433:80", "2130706433 is no IPv4 address"),
        ("tcp://01.2.3.4:80", "01.2.3.4 is no IPv4 address"),
        ("tcp://hôte:80", "is no host name in ASCII"),
        ("tcp://a b:80", "is no host name"),
        ("tcp://a..b:80", "is no host name"),
        ("tcp://-a:80", "is no host name"),
        ("tcp://%61:80", "is no host name"),
        ("tcp://a\n:80", "is no host name"),
        ("tcp://" + "a" * 254 + ":80", "is no host name"),
        ("tcp://h:1?", "behind the question mark stands framing=newline or framing=content-length"),
        ("tcp://h:1?framing=", "behind the question mark"),
        ("tcp://h:1?framing=Newline", "behind the question mark"),
        ("tcp://h:1?framing=newline&framing=newline", "behind the question mark"),
        ("tcp://h:1?framing=newline#x", "behind the question mark"),
        ("unix:/run/x?frame=newline", "behind the question mark"),
        ("unix:", "the path of the socket is missing"),
        ("unix:?framing=newline", "the path of the socket is missing"),
        ("unix:a\0b", "holds no NUL"),
        ("http+unix://%00a/", "holds no NUL"),
        ("http+unix:///mcp", "the path of the socket is missing"),
        ("http+unix://%2/x", "two hexadecimal digits"),
        ("http+unix://%zz/x", "two hexadecimal digits"),
        ("http+unix://é/x", "is percent-encoded"),
        ("ws://h:1/a#b", "no fragment"),
        ("ws://h:1/a b", "visible ASCII"),
        ("ws://h:1/é", "visible ASCII"),
        ("ws://h:1/a\r\nX: y", "visible ASCII"),
        ("ws://h:1/%4", "two hexadecimal digits"),
        ("ws://h:1?x", "a path stands in front of a query"),
        ("ws://h:1#x", "a path stands in front of a query"),
        ("stdio:", "stdio: names no host and no path"),
        ("memory:", "names no host"),
        ("pty:/dev/pts/1", "pty: names no host"),
        ("nothing", "'nothing' is no address"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    assert why in refusal(text)


@pytest.mark.parametrize(
    "text", ["tcp://me:secret@h:1", "wss://secret@h:1/#x", "http+unix://secret@x/", "tcp://secret@"]
)
def test_credentials_are_refused_and_never_repeated(text: str) -> None:
    told = refusal(text)
    assert "no user name and no password" in told
    assert "secret" not in told


def test_port_0_is_for_serving_only() -> None:
    assert parse_endpoint("tcp://h:0", serving=True) == TcpEndpoint("tcp", "h", 0)
    assert parse_endpoint("ws://h:0/x", serving=True) == UrlEndpoint("ws", "h", 0, "/x")
    assert "from 1 to 65535" in refusal("ws://h:0/x")
    assert "from 0 to 65535" in refusal("tcp://h:65536", serving=True)


def test_who_serves_names_the_port_and_no_query() -> None:
    assert "the port is missing" in refusal("ws://h/", serving=True)
    assert "without a query" in refusal("ws://h:1/?x", serving=True)


HOSTS = st.sampled_from(["localhost", "127.0.0.1", "::1", "fe80::2%eth1", "a-b.example", "::"])
PORTS = st.integers(1, 65535)
PATHS = st.text(st.characters(blacklist_characters="\0"), min_size=1)


@given(
    st.one_of(
        st.builds(TcpEndpoint, st.sampled_from(["tcp", "tls"]), HOSTS, PORTS, st.sampled_from(FRAMINGS)),
        st.builds(UnixEndpoint, PATHS.filter(lambda path: "?" not in path), st.sampled_from(FRAMINGS)),
        st.builds(HttpUnixEndpoint, PATHS, st.sampled_from(["/mcp", "/a%20b?c"])),
        st.builds(UrlEndpoint, st.sampled_from(["ws", "wss", "http", "https"]), HOSTS, PORTS, st.just("/x")),
    )
)
def test_every_endpoint_can_be_written_and_read(endpoint: Endpoint) -> None:
    assert parse_endpoint(str(endpoint)) == endpoint


@given(st.sampled_from(sorted(SCHEMES)), st.text())
def test_whatever_is_written_is_an_endpoint_or_a_clear_error(scheme: str, rest: str) -> None:
    try:
        endpoint = parse_endpoint(f"{scheme}:{rest}")
    except ConfigError:
        return
    assert parse_endpoint(str(endpoint)) == endpoint
