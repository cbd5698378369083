"""The grammar of addresses: a scheme, a colon, the rest."""

from __future__ import annotations

import pytest

from trio_mcp_transport.addresses import SCHEMES, Address, parse_address
from trio_mcp_transport.errors import ConfigError


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
