"""The opening handshake of a WebSocket connection (RFC 6455 section 4), as either side, without I/O.

Feed it what arrives until it answers with something else than `Signal.NEED_DATA`.

- No extension is ever offered or accepted, so no frame is ever compressed.
- A server takes ``GET`` over HTTP/1.1 to one path, with one key, version 13, and a ``Host`` and ``Origin`` that
  `wire.hosts` lets pass.  It chooses the subprotocol when it is offered, and else goes on without one: section 4.2.2
  leaves a client to close when it cannot live without it, and clients that name none exist.
- A client demands the proof that its key was read, and takes no subprotocol it did not offer; none at all is fine.

This file must never pass text of the peer on without `sanitised`, and never keep more than the head and a short excerpt
of a refusal's body.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable
from typing import Final, Literal, NoReturn

import attrs

from ..errors import ConfigError, ConnectionFailed, LocalProtocolError, RemoteProtocolError
from .hosts import DEFAULT_PORTS, HostCheck, OriginCheck, parse_host, sanitised
from .http_head import Head, HeadError, HeadReader, is_field_text, is_token
from .signals import Signal
from .websocket_upgrade import (
    VERSION,
    Upgrade,
    accept_of,
    check_subprotocol,
    head_bytes,
    is_target,
    phrase_of,
    switches,
)

__all__ = ["ClientHandshake", "HandshakeRefused", "Refusal", "ServerHandshake", "Upgrade"]

_LONGEST_TARGET: Final = 8 * 1024  # bytes (RFC 9112 section 3 recommends 8,000 and more)
_EXCERPT: Final = 512
"""Bytes of a refusal's body kept for the error."""
_INTERIM: Final = 4
"""Interim responses (1xx) skipped before the final one."""
_OURS: Final = frozenset({"host", "upgrade", "connection", "content-length", "transfer-encoding"})


@attrs.frozen
class Refusal:
    """A server's no; to be sent before the connection is closed.

    Attributes:
        status: The HTTP status.
        reason: One line, safe in a log, also the body of the response.
        response: The whole response.
    """

    status: int
    reason: str
    response: bytes


class HandshakeRefused(ConnectionFailed):
    """The server answered the request for a WebSocket with something else.

    Attributes:
        status: The HTTP status.
        excerpt: The beginning of its body, printable ASCII with everything else escaped.
    """

    def __init__(self, message: str, *, status: int, excerpt: str) -> None:
        super().__init__(message)
        self.status = status
        self.excerpt = excerpt


class ServerHandshake:
    """Read a request for a WebSocket and answer it.

    Args:
        path: The only path served; the query of a request is not compared.
        subprotocol: Chosen when the client offers it; None to choose none.
        hosts: The check of ``Host``.
        origins: The check of ``Origin``.

    Raises:
        ConfigError: The path does not begin with a slash or cannot stand in a request, or the subprotocol is no token.
    """

    def __init__(
        self,
        path: str = "/",
        *,
        subprotocol: str | None = "mcp",
        hosts: HostCheck | None = None,
        origins: OriginCheck | None = None,
    ) -> None:
        if not is_target(path) or "?" in path:
            raise ConfigError(f"{path!r} is no path to serve")
        check_subprotocol(subprotocol)
        self._path = path
        self._subprotocol = subprotocol
        self._hosts = hosts or HostCheck()
        self._origins = origins or OriginCheck()
        self._head = HeadReader()
        self._done = False

    def feed(self, data: bytes) -> Upgrade | Refusal | Literal[Signal.NEED_DATA]:
        """Take bytes of the client; ``b""`` says that it ended the stream.

        Whatever the client sends, the answer is a value and no exception.

        Raises:
            LocalProtocolError: There was an answer already.
        """
        if self._done:
            raise LocalProtocolError("the handshake is over")
        try:
            if not data:
                raise HeadError(400, "the stream ended inside the request")
            head = self._head.feed(data)
            if head is None:
                return Signal.NEED_DATA
            self._done = True
            return self._answer(head)
        except HeadError as error:
            self._done = True
            return _refusal(error.status, str(error))

    def _answer(self, head: Head) -> Upgrade:
        target = self._check_request(head)
        accept = accept_of(self._check_key(head))
        chosen = None
        if self._subprotocol is not None and self._subprotocol in head.tokens("sec-websocket-protocol"):
            chosen = self._subprotocol
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines.append(f"Sec-WebSocket-Accept: {accept}")
        if chosen is not None:
            lines.append(f"Sec-WebSocket-Protocol: {chosen}")
        return Upgrade(head_bytes(lines), head.leftover, chosen, target, head.mapping())

    def _check_request(self, head: Head) -> str:
        """Return the target of a request that this listener serves at all."""
        parts = head.start.split(" ")
        if len(parts) != 3 or not is_token(parts[0]) or not parts[2].startswith("HTTP/"):
            raise HeadError(400, "this is no HTTP request")
        method, target, version = parts
        if version != "HTTP/1.1":
            raise HeadError(505, "a WebSocket begins with HTTP/1.1")
        hosts = head.values("host")
        if refused := self._hosts.refusal(hosts):
            raise HeadError(403 if len(hosts) == 1 else 400, refused)
        if refused := self._origins.refusal(head.values("origin")):
            raise HeadError(403, refused)
        if method != "GET":
            raise HeadError(405, "a WebSocket begins with GET")
        if len(target) > _LONGEST_TARGET:
            raise HeadError(414, f"the request target is over {_LONGEST_TARGET} bytes")
        if not is_target(target):
            raise HeadError(400, "the request target is no path")
        if target.partition("?")[0] != self._path:
            raise HeadError(404, f"nothing is served at {sanitised(target)}")
        if head.values("transfer-encoding") or head.single("content-length") not in (None, "0"):
            raise HeadError(400, "a request for a WebSocket has no body")
        return target

    def _check_key(self, head: Head) -> str:
        """Return the key of a request that asks for a WebSocket, and for this version of it."""
        if not switches(head):
            raise HeadError(426, "only WebSockets are served here")
        if head.single("sec-websocket-version") != VERSION:
            raise HeadError(426, f"only version {VERSION} of the protocol is served here")
        key = head.single("sec-websocket-key")
        if key is None:
            raise HeadError(400, "the Sec-WebSocket-Key is missing")
        try:
            size = len(base64.b64decode(key, validate=True))
        except binascii.Error:
            size = 0
        if size != 16:
            raise HeadError(400, "the Sec-WebSocket-Key is not 16 bytes in base64")
        return key


class ClientHandshake:
    """Ask for a WebSocket and check the answer.

    Args:
        host: Name or address of the server; an IPv6 address with or without brackets.
        path: Path, and query where there is one.
        port: Named in ``Host`` unless it is the scheme's own; None for that one.
        secure: Whether the connection is TLS.
        subprotocol: The one to offer; None to offer none.
        headers: Further fields, such as ``Authorization``.

    Attributes:
        request: What to send first.

    Raises:
        ConfigError: Something of this cannot stand in a request, or a field is the handshake's own.
    """

    def __init__(
        self,
        host: str,
        path: str = "/",
        *,
        port: int | None = None,
        secure: bool = False,
        subprotocol: str | None = "mcp",
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        if not is_target(path):
            raise ConfigError(f"{path!r} is no path to ask for")
        check_subprotocol(subprotocol)
        self._subprotocol = subprotocol
        self._target = path
        self._key = base64.b64encode(os.urandom(16)).decode("ascii")
        lines = [f"GET {path} HTTP/1.1", f"Host: {_host_field(host, port, secure)}"]
        lines += ["Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {self._key}", f"Sec-WebSocket-Version: {VERSION}"]
        if subprotocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
        lines += [_field_line(name, value) for name, value in headers]
        self.request: bytes = head_bytes(lines)
        self._reader = HeadReader()
        self._interim = 0
        self._refused: Head | None = None
        self._body = b""
        self._done = False

    @property
    def refused(self) -> bool:
        """Whether the answer is a no, of which only an excerpt of its body is still awaited: ``b""`` ends that too."""
        return self._refused is not None

    def feed(self, data: bytes) -> Upgrade | Literal[Signal.NEED_DATA]:
        """Take bytes of the server; ``b""`` says that it ended the stream.

        Raises:
            HandshakeRefused: The server answered with another status; redirects are not followed.
            RemoteProtocolError: Its answer is no valid one.
            ConnectionFailed: The stream ended before an answer.
            LocalProtocolError: There was an answer already.
        """
        if self._done:
            raise LocalProtocolError("the handshake is over")
        try:
            answer = self._take(data)
        except HeadError as error:
            self._done = True
            raise RemoteProtocolError(f"the server's answer is malformed: {error}") from None
        except (ConnectionFailed, RemoteProtocolError):
            self._done = True
            raise
        self._done = isinstance(answer, Upgrade)
        return answer

    def _take(self, data: bytes) -> Upgrade | Literal[Signal.NEED_DATA]:
        if self._refused is not None:
            return self._take_body(self._refused, data, ended=not data)
        if not data:
            raise ConnectionFailed("the server ended the connection before it answered the WebSocket handshake")
        while (head := self._reader.feed(data)) is not None:
            status = _status(head)
            if status == 101:
                return self._check(head)
            if status >= 200 or self._interim == _INTERIM:
                self._refused = head
                return self._take_body(head, head.leftover, ended=status in (204, 304))
            self._interim += 1
            self._reader = HeadReader()
            data = head.leftover
        return Signal.NEED_DATA

    def _take_body(self, head: Head, data: bytes, *, ended: bool) -> Literal[Signal.NEED_DATA]:
        """Collect the beginning of a refusal's body, as far as it goes, and raise the refusal."""
        length = head.values("content-length")
        known = len(length) == 1 and length[0].isdecimal() and len(length[0]) < 10
        wanted = min(int(length[0]), _EXCERPT) if known else _EXCERPT
        self._body = (self._body + data)[:wanted]
        if len(self._body) < wanted and not ended:
            return Signal.NEED_DATA
        self._refuse(head)

    def _refuse(self, head: Head) -> NoReturn:
        status = _status(head)
        excerpt = sanitised(self._body.decode("latin-1"), _EXCERPT) if self._body else ""
        message = f"the server answered the WebSocket handshake with {status} {phrase_of(status)}".rstrip()
        location = head.values("location")
        if 300 <= status < 400 and location:
            message += f" to {sanitised(location[0])}; redirects are not followed"
        elif excerpt:
            message += f": {excerpt}"
        raise HandshakeRefused(message, status=status, excerpt=excerpt)

    def _check(self, head: Head) -> Upgrade:
        if not switches(head):
            raise RemoteProtocolError("the server's 101 does not switch to a WebSocket")
        if head.single("sec-websocket-accept") != accept_of(self._key):
            raise RemoteProtocolError("the server's Sec-WebSocket-Accept does not belong to our key")
        if head.tokens("sec-websocket-extensions"):
            raise RemoteProtocolError("the server uses an extension that was not offered")
        chosen = head.single("sec-websocket-protocol")
        if chosen is not None and chosen != self._subprotocol:
            raise RemoteProtocolError(f"the server chose the subprotocol {sanitised(chosen)}, which was not offered")
        return Upgrade(b"", head.leftover, chosen, self._target, head.mapping())


def _host_field(host: str, port: int | None, secure: bool) -> str:
    bare = host.strip("[]").partition("%")[0]  # a scope means something on this machine only
    text = f"[{bare}]" if ":" in bare else bare
    try:
        parse_host(text if port is None else f"{text}:{port}")
    except ValueError as error:
        raise ConfigError(f"{host!r} is no host to ask for a WebSocket: {error}") from None
    return text if port in (None, DEFAULT_PORTS["wss" if secure else "ws"]) else f"{text}:{port}"


def _field_line(name: str, value: str) -> str:
    if not is_token(name) or not is_field_text(value):
        raise ConfigError(f"the field {name!r} cannot be sent: names are tokens, values printable ASCII")
    if name.lower() in _OURS or name.lower().startswith("sec-websocket-"):
        raise ConfigError(f"the field {name!r} belongs to the handshake itself")
    return f"{name}: {value}"


def _status(head: Head) -> int:
    version, _, rest = head.start.partition(" ")
    status = rest.partition(" ")[0]
    # A server of HTTP/1.0 can say no, and its no says more than its version.
    versions = ("HTTP/1.1",) if status == "101" else ("HTTP/1.1", "HTTP/1.0")
    if version not in versions or len(status) != 3 or not (status.isascii() and status.isdecimal()):
        raise HeadError(400, "no status line of HTTP/1.1")
    return int(status)


def _refusal(status: int, reason: str) -> Refusal:
    body = f"{reason}\n".encode("ascii")
    lines = [f"HTTP/1.1 {status} {phrase_of(status)}", "Content-Type: text/plain; charset=utf-8"]
    lines.append(f"Content-Length: {len(body)}")
    if status == 426:  # RFC 9110 section 15.5.22, RFC 6455 section 4.4
        lines += ["Upgrade: websocket", "Connection: Upgrade, close", f"Sec-WebSocket-Version: {VERSION}"]
    else:
        lines.append("Connection: close")
    if status == 405:
        lines.append("Allow: GET")
    return Refusal(status, reason, head_bytes(lines) + body)
