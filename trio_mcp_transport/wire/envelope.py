"""The terms under which one message is served: its revision, who asks, and how a handler's value becomes a result.

Must never hold anything that outlives its message: in the modern era nothing of a request depends on an earlier one
(M-ST-01).  This base class is JSON-RPC without MCP's additions; `wire.modern` and the legacy era build on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import msgspec

from ..errors import LocalProtocolError, RpcError
from . import jsontext
from .codes import INTERNAL_ERROR, may_emit
from .messages import MessageId
from .meta import LOG_LEVELS, check_extension

__all__ = ["ClientInfo", "Envelope", "ServerInfo", "plain_object"]


def _extensions_have_identifiers(_: object, attribute: attrs.Attribute[Any], value: Mapping[str, Any]) -> None:
    extensions = value.get("extensions", {})
    if not isinstance(extensions, Mapping):
        raise LocalProtocolError(f"{attribute.name}.extensions is an object")
    for identifier, settings in extensions.items():
        check_extension(identifier)
        if not isinstance(settings, Mapping):
            raise LocalProtocolError(f"the settings of the extension {identifier} are an object; {{}} means supported")


def _capabilities() -> Mapping[str, Any]:
    field: Mapping[str, Any] = attrs.field(factory=dict, validator=_extensions_have_identifiers)
    return field


@attrs.frozen
class ServerInfo:
    """Who a server is, for ``server/discover``, ``initialize`` and the ``_meta`` of results.

    Attributes:
        name: Machine-readable name.
        version: Version of the program, any string.
        capabilities: The capabilities object as the revision's schema defines it.
        instructions: Text for the model, or None.
        ttl_ms: How long, in milliseconds, a discover result may be cached.
        implementation: The ``Implementation`` object of the schema, made of name and version; not to be changed.

    Raises:
        LocalProtocolError: An extension in the capabilities has no valid identifier or no settings object (M-VN-07).
    """

    name: str
    version: str
    capabilities: Mapping[str, Any] = _capabilities()
    instructions: str | None = None
    ttl_ms: int = 0
    implementation: Mapping[str, Any] = attrs.field(init=False, eq=False, repr=False)

    @implementation.default
    def _identity(self) -> Mapping[str, Any]:
        # Made once: it goes into every result.
        return {"name": self.name, "version": self.version}

    def identity(self) -> dict[str, Any]:
        """Return the ``Implementation`` object of the schema."""
        return dict(self.implementation)


@attrs.frozen
class ClientInfo:
    """Who a client is and what it can do for a server.

    Attributes:
        name: Machine-readable name.
        version: Version of the program, any string.
        capabilities: The client capabilities object of the schema.

    Raises:
        LocalProtocolError: As for `ServerInfo`.
    """

    name: str
    version: str
    capabilities: Mapping[str, Any] = _capabilities()

    def identity(self) -> dict[str, Any]:
        """Return the ``Implementation`` object of the schema."""
        return {"name": self.name, "version": self.version}


class Envelope:
    """One message's terms; this class serves plain JSON-RPC, where MCP adds nothing.

    Attributes:
        revision: The protocol revision, or "" for plain JSON-RPC.
        client_info: The ``clientInfo`` object, or None.  Never decide anything by it (M-ME-10).
        client_capabilities: The client's capabilities object.
        progress_token: The token the peer wants progress for, or None.
        log_level: Least severe level the peer wants as ``notifications/message``, or None for none at all.
        trace: The W3C trace strings of the message.
    """

    __slots__ = ("client_capabilities", "client_info", "log_level", "progress_token", "revision", "trace")

    modern: ClassVar[bool] = False

    def __init__(self, revision: str = "") -> None:
        self.revision: str = revision
        self.client_info: Mapping[str, Any] | None = None
        self.client_capabilities: Mapping[str, Any] = {}
        self.progress_token: MessageId | None = None
        self.log_level: str | None = None
        self.trace: Mapping[str, str] = {}

    def wants_log(self, level: str) -> bool:
        """Tell whether a log message of this level may be sent for the message.

        Raises:
            LocalProtocolError: The level is none of `wire.meta.LOG_LEVELS`.
        """
        if level not in LOG_LEVELS:
            raise LocalProtocolError(f"a log level is one of {', '.join(LOG_LEVELS)}, not {level!r}")
        return self.log_level is not None and LOG_LEVELS.index(level) >= LOG_LEVELS.index(self.log_level)

    def result(self, method: str, value: Any) -> Any:
        """Turn what a handler returned into a result object.

        Args:
            method: The request's method.
            value: A mapping, an object msgspec encodes as one, JSON text as bytes or `msgspec.Raw`, or None for {}.

        Raises:
            LocalProtocolError: The value is no JSON object, or breaks a rule of the revision.
            RpcError: The revision demands this error instead.
        """
        return plain_object(value)

    def error(self, error: RpcError) -> RpcError:
        """Return the error that may leave for this revision: a forbidden code becomes -32603."""
        if may_emit(error.code, modern=self.modern):
            return error
        data = {"reason": "internal", "refusedCode": error.code}
        return RpcError(INTERNAL_ERROR, error.message, data)


def plain_object(value: Any) -> Any:
    """Return a handler's value as a mapping or as checked raw JSON text of an object.

    Raises:
        LocalProtocolError: The value is not a JSON object.
    """
    if type(value) is dict:
        return value
    if value is None:
        return {}
    if isinstance(value, (bytes, bytearray, memoryview, msgspec.Raw)):
        return jsontext.raw_object(bytes(value), "a raw result")
    if isinstance(value, Mapping):
        return dict(value)
    try:
        plain = msgspec.to_builtins(value, str_keys=True, builtin_types=(msgspec.Raw,))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise LocalProtocolError(f"a result must be a JSON object: {error}") from error
    if type(plain) is not dict:
        raise LocalProtocolError(f"a result must be a JSON object, not {type(value).__name__}")
    return plain
