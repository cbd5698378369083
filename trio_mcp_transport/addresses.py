"""The one grammar of addresses: what ``started()`` reports, ``--to`` takes and a configuration names.

Must never open anything, nor import a transport: an address is text taken apart.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from .errors import ConfigError

__all__ = ["SCHEMES", "Address", "parse_address"]

SCHEMES: Final = {
    "stdio": "stdio:",
    "memory": "memory:",
    "tcp": "tcp://HOST:PORT",
    "tls": "tls://HOST:PORT",
    "unix": "unix:PATH",
    "ws": "ws://HOST:PORT/PATH",
    "wss": "wss://HOST:PORT/PATH",
    "http": "http://HOST:PORT/PATH",
    "https": "https://HOST:PORT/PATH",
    "http+unix": "http+unix://PERCENT-ENCODED-PATH/PATH",
}
"""Every scheme of the grammar and its form; a plug-in adds its own name in front of the colon."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.S)  # RFC 3986 section 3.1: case does not matter


@attrs.frozen
class Address:
    """An address in its two parts.

    Attributes:
        scheme: What stands in front of the first colon, in lower case.
        rest: What stands behind it, untouched.
    """

    scheme: str
    rest: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.rest}"


def parse_address(text: str) -> Address:
    """Take an address apart; whether anything answers to it is not asked here.

    Raises:
        ConfigError: There is no scheme in front of a colon.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ConfigError(f"{text!r} is no address: one begins with a scheme, such as stdio: or http:")
    return Address(found[1].lower(), found[2])
