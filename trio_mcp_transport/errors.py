"""The errors that leave this package, sorted by who must fix them.

Two roots, and nothing else, reach a caller: `TransportError` when the path between the two programs failed, and
`RpcError` when the peer's handler answered "no".  This module must never import trio, so that the pure layer
below may use it; `DeadlineExceeded`, which is also a `trio.TooSlowError`, therefore lives in `deadlines`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

__all__ = [
    "AuthenticationFailed",
    "BufferExhausted",
    "ConfigError",
    "ConnectionClosed",
    "ConnectionFailed",
    "FrameTooLarge",
    "FramingError",
    "LocalProtocolError",
    "MessageError",
    "MessageTooLarge",
    "RateLimitExceeded",
    "ReceiveBufferFull",
    "RemoteProtocolError",
    "RpcError",
    "TransportError",
    "UnsupportedRevision",
]


class TransportError(Exception):
    """The path between the two programs failed; the peer's handler had no say in it.

    Never carries a JSON-RPC ``code`` of its own (M-ER-09): a local failure is never mistaken for an answer.
    """

    def twin(self) -> Self:
        """Return an equal error to raise for another caller, so that each has a traceback of its own."""
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__)
        twin.__cause__ = self.__cause__
        return twin


class ConfigError(TransportError):
    """The program that configured a transport must fix its configuration."""


class ConnectionFailed(TransportError):
    """A connection could not be made, or a transport broke; ``__cause__`` holds the original exception.

    Attributes:
        exit_status: Exit status of a child process, negative for a signal, or None when there was no child.
        stderr_tail: The last lines a child process wrote to its standard error, oldest first, when captured.
    """

    def __init__(self, message: str, *, exit_status: int | None = None, stderr_tail: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.exit_status = exit_status
        self.stderr_tail = stderr_tail


class ConnectionClosed(ConnectionFailed):
    """The connection ended while, or before, an answer was awaited; the request is lost, not refused."""


class ReceiveBufferFull(TransportError):
    """The consumer of one exchange was too slow: its buffer overflowed and that exchange alone was cancelled."""


class BufferExhausted(TransportError):
    """No pooled buffer became free within the acquire deadline."""


class LocalProtocolError(TransportError):
    """This program asked for something the protocol forbids; the caller must fix it."""


class MessageTooLarge(LocalProtocolError):
    """A message of this side is over its own limit of outgoing bytes; nothing was sent."""


class RemoteProtocolError(TransportError):
    """The peer broke the protocol; the peer must fix it.

    Attributes:
        rpc_code: JSON-RPC error code to answer with, where an answer is possible (JSON-RPC 2.0 section 5.1).
        status_hint: HTTP status to answer with on HTTP bindings (RFC 9110 section 15).
    """

    rpc_code: int = -32600
    status_hint: int = 400

    def __init__(self, message: str, *, rpc_code: int | None = None, status_hint: int | None = None) -> None:
        super().__init__(message)
        if rpc_code is not None:
            self.rpc_code = rpc_code
        if status_hint is not None:
            self.status_hint = status_hint


class FramingError(RemoteProtocolError):
    """The byte stream is no longer a sequence of frames; no later byte of this connection can be trusted.

    Attributes:
        close_code: Close code to answer with on WebSocket bindings (RFC 6455 section 7.4.1); 1006 where there is
            nobody left to answer.
    """

    rpc_code = -32700
    close_code: int = 1002

    def __init__(
        self,
        message: str,
        *,
        rpc_code: int | None = None,
        status_hint: int | None = None,
        close_code: int | None = None,
    ) -> None:
        super().__init__(message, rpc_code=rpc_code, status_hint=status_hint)
        if close_code is not None:
            self.close_code = close_code


class FrameTooLarge(FramingError):
    """One frame is over the limit of payload bytes.

    On newline framing the next line is served as usual; on every other framing the connection ends.

    Attributes:
        limit: The largest payload accepted, in bytes, without delimiter or header.
        beginning: The first bytes of the frame, at most 1,024; the rest is gone.
    """

    rpc_code = -32600
    status_hint = 413
    close_code = 1009

    def __init__(self, message: str, *, limit: int, beginning: bytes = b"") -> None:
        super().__init__(message)
        self.limit = limit
        self.beginning: bytes = beginning[:1024]


class MessageError(RemoteProtocolError):
    """One frame does not hold a valid JSON-RPC message; the connection goes on.

    Attributes:
        rpc_code: ``-32700`` when the frame is no JSON text, ``-32600`` when it is no valid message.
        message_id: The id to answer with, or None when no valid id could be read (M-JR-12).
        frame: The bytes of the frame, for logs and events; at most the first 1,024.
        answerable: Whether the frame could have been a request, so that an error answer makes sense.
    """

    def __init__(
        self,
        message: str,
        *,
        rpc_code: int = -32600,
        message_id: int | str | None = None,
        frame: bytes = b"",
        answerable: bool = True,
    ) -> None:
        super().__init__(message, rpc_code=rpc_code)
        self.message_id = message_id
        self.frame: bytes = frame[:1024]
        self.answerable = answerable


class UnsupportedRevision(RemoteProtocolError):
    """The two sides share no protocol revision.

    Attributes:
        requested: The revision asked for.
        supported: The revisions the refusing side speaks, as far as it said.
    """

    rpc_code = -32022

    def __init__(self, message: str, *, requested: str = "", supported: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.requested = requested
        self.supported = supported


class AuthenticationFailed(TransportError):
    """The peer demands credentials this program does not have."""


class RateLimitExceeded(TransportError):
    """The peer asks this program to slow down."""


class RpcError(Exception):
    """The peer's handler answered with an error (JSON-RPC 2.0 section 5.1).

    Raise it in a handler to answer with an error; catch it in a client to learn that the peer did.

    Attributes:
        code: The integer error code.  ``-32768..-32000`` is reserved; application codes lie outside (M-ER-08).
        message: One sentence for a developer.
        data: Any JSON value, or None when the error carries none.

    Raises:
        TypeError: ``code`` is no integer or ``message`` no string (M-JR-11).
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        if type(code) is not int:
            raise TypeError(f"an error code is an integer, not {type(code).__name__}")
        if not isinstance(message, str):
            raise TypeError(f"an error message is a string, not {type(message).__name__}")
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}"

    def reason(self) -> str | None:
        """Return ``data.reason`` (``busy``, ``shutdown``, ``internal``, ``too_large``), or None."""
        reason = self.data.get("reason") if isinstance(self.data, Mapping) else None
        return reason if isinstance(reason, str) else None
