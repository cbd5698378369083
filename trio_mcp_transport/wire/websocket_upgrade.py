"""What both sides of the WebSocket handshake share: its result, its proof, and the texts it is written with.

Must never decide whether a request or an answer is accepted; `wire.websocket_handshake` does.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

import attrs

from ..errors import ConfigError
from .http_head import Head, is_field_text, is_token

__all__ = ["VERSION", "Upgrade", "accept_of", "check_subprotocol", "head_bytes", "is_target", "phrase_of", "switches"]

VERSION: Final = "13"
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


@attrs.frozen
class Upgrade:
    """The handshake is done.

    Attributes:
        response: What a server has to send first; ``b""`` on a client.
        leftover: Bytes of the peer behind its head, for the codec.
        subprotocol: The one that was agreed on, or None.
        target: Path and query of the request.
        headers: The peer's fields by name in lower case, repeated ones joined by a comma.
    """

    response: bytes
    leftover: bytes
    subprotocol: str | None
    target: str
    headers: Mapping[str, str]


def accept_of(key: str) -> str:
    """Return the proof that a server has read a key (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def switches(head: Head) -> bool:
    """Tell whether a head asks for, or agrees to, a WebSocket."""
    upgrades = [token.lower() for token in head.tokens("upgrade")]
    return "websocket" in upgrades and "upgrade" in [token.lower() for token in head.tokens("connection")]


def is_target(text: str) -> bool:
    """Tell whether a text is a request target in origin-form (RFC 9112 section 3.2.1)."""
    return text.startswith("/") and is_field_text(text) and not any(character in text for character in " \t#")


def check_subprotocol(subprotocol: str | None) -> None:
    """Check a configured subprotocol.

    Raises:
        ConfigError: It is no token.
    """
    if subprotocol is not None and not is_token(subprotocol):
        raise ConfigError(f"{subprotocol!r} is no subprotocol")


def phrase_of(status: int) -> str:
    """Return the reason phrase of a status, or ``""``."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def head_bytes(lines: Iterable[str]) -> bytes:
    """Return a head of these lines, with the empty line at its end."""
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")
