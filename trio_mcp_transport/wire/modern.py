"""Revision 2026-07-28 on any binding: the per-request envelope, its refusals, and what every result carries.

Must never keep state between two messages (M-ST-01) and must never know how a message travelled.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final

import msgspec

from ..errors import LocalProtocolError, MessageError, RpcError
from . import jsontext, meta, mrtr
from .codes import INVALID_PARAMS, UNSUPPORTED_REVISION
from .envelope import Envelope, ServerInfo, plain_object
from .meta import CLIENT_CAPABILITIES, CLIENT_INFO, PROTOCOL_VERSION, SERVER_INFO
from .revisions import MODERN

__all__ = [
    "CORE_RESULT_TYPES",
    "REMOVED_METHODS",
    "ModernEnvelope",
    "check_result_type",
    "discover_result",
    "listen_result",
    "read_envelope",
    "speaks_modern",
    "stamp_params",
]

CORE_RESULT_TYPES = frozenset({"complete", "input_required"})
"""``resultType`` values of the core; declared extensions add theirs (M-JR-10)."""

REMOVED_METHODS = frozenset(
    {"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "roots/list"}
)
"""Requests of earlier revisions that a 2026-07-28 envelope makes unknown (M-ER-10)."""


NOTHING: Final[Mapping[str, Any]] = {}


class ModernEnvelope(Envelope):
    """The terms of one modern request.

    Attributes:
        server_info: Identity written into every result's ``_meta``, or None to write none (M-ME-09).
        result_types: Accepted ``resultType`` values.
    """

    __slots__ = ("result_types", "server_info")

    modern: ClassVar[bool] = True

    def __init__(self, revision: str, server_info: ServerInfo | None, result_types: Collection[str]) -> None:
        # Written out: one of these is made for every request, and a base class call costs a tenth of it.
        self.revision = revision
        self.client_info: Mapping[str, Any] | None = None
        self.client_capabilities = NOTHING
        self.progress_token: int | str | None = None
        self.log_level: str | None = None
        self.trace = NOTHING
        self.server_info: ServerInfo | None = server_info
        self.result_types: Collection[str] = result_types

    def result(self, method: str, value: Any) -> Any:
        """Complete a handler's value: ``resultType`` and the server's identity are added where absent (M-JR-07).

        Raises:
            LocalProtocolError: No JSON object; a reserved ``_meta`` key; an unknown ``resultType``; an
                ``input_required`` result without content or for a method that cannot ask (M-MR-02, M-MR-03).
            RpcError: -32021 when the result asks for input the client never declared (M-MR-04).
        """
        members = value if type(value) is dict else plain_object(value)
        members = dict(members) if type(members) is dict else _raw_members(members)
        kind = members.get("resultType")
        if type(kind) is msgspec.Raw:
            kind = jsontext.decode(bytes(kind))
        if kind is None:
            members["resultType"] = "complete"
        elif not isinstance(kind, str) or kind not in self.result_types:
            raise LocalProtocolError(f"resultType {kind!r} is neither of the core nor of a declared extension")
        elif kind == "input_required":
            mrtr.check(method, _decoded(members), self.client_capabilities)
        if "_meta" not in members:
            if self.server_info is not None:
                members["_meta"] = {SERVER_INFO: self.server_info.implementation}
            return members
        if type(members["_meta"]) is dict:
            meta.check_application_meta(members["_meta"])
        if self.server_info is not None:
            _add_meta(members, SERVER_INFO, self.server_info.implementation)
        return members


def _raw_members(raw: Any) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise LocalProtocolError(f"a raw result must be a JSON object: {error}") from error


def _decoded(members: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {
            key: jsontext.decode(bytes(member)) if isinstance(member, msgspec.Raw) else member
            for key, member in members.items()
        }
    except MessageError as error:
        raise LocalProtocolError(f"a raw result must be JSON: {error}") from error


def _add_meta(members: dict[str, Any], key: str, value: Any) -> None:
    current = members.get("_meta")
    if isinstance(current, msgspec.Raw):
        current = _decoded({"_meta": current})["_meta"]
    if current is None:
        members["_meta"] = {key: value}
    elif isinstance(current, Mapping):
        if key not in current:
            members["_meta"] = {**current, key: value}
    else:
        raise LocalProtocolError("the _meta of a result is an object")


def speaks_modern(params: Mapping[str, Any]) -> bool:
    """Tell whether params carry the modern version key, whatever its value: that alone makes the era (D-17)."""
    found = params.get("_meta")
    return type(found) is dict and PROTOCOL_VERSION in found


def read_envelope(
    params: Mapping[str, Any],
    server_info: ServerInfo | None = None,
    result_types: Collection[str] = CORE_RESULT_TYPES,
    *,
    supported: Collection[str] = MODERN,
) -> ModernEnvelope:
    """Read and check the envelope of one request.

    Args:
        params: The decoded params.
        server_info: Identity for results, or None.
        result_types: ``resultType`` values its handlers may return.
        supported: Revisions this server speaks.

    Raises:
        RpcError: -32602 for a missing or malformed member (M-ME-04, M-ME-15), -32022 for a revision that is not
            spoken here (M-VN-01); in this order, first failure wins (D-02).
    """
    found = params.get("_meta")
    if type(found) is not dict:
        raise RpcError(INVALID_PARAMS, "params._meta is required and is an object")
    revision = found.get(PROTOCOL_VERSION)
    capabilities = found.get(CLIENT_CAPABILITIES)
    if type(revision) is not str:
        raise RpcError(INVALID_PARAMS, f"params._meta needs the string {PROTOCOL_VERSION}")
    if type(capabilities) is not dict:
        raise RpcError(INVALID_PARAMS, f"params._meta needs the object {CLIENT_CAPABILITIES}")
    if revision not in supported:
        data = {"supported": list(supported), "requested": revision}
        raise RpcError(UNSUPPORTED_REVISION, f"protocol revision {revision} is not supported", data)
    envelope = ModernEnvelope(revision, server_info, result_types)
    envelope.client_capabilities = capabilities
    if len(found) > 2:
        info = found.get(CLIENT_INFO)
        if info is not None:
            if type(info) is not dict or type(info.get("name")) is not str or type(info.get("version")) is not str:
                raise RpcError(INVALID_PARAMS, f"{CLIENT_INFO} has a string name and a string version")
            envelope.client_info = info
        if len(found) > 3 or info is None:
            _read_optional(envelope, found)
    return envelope


def _read_optional(envelope: ModernEnvelope, found: dict[str, Any]) -> None:
    level = found.get(meta.LOG_LEVEL)
    if level is not None:
        if level not in meta.LOG_LEVELS:
            raise RpcError(INVALID_PARAMS, f"{meta.LOG_LEVEL} is one of {', '.join(meta.LOG_LEVELS)}")
        envelope.log_level = level
    token = found.get(meta.PROGRESS_TOKEN)
    if token is not None:
        if type(token) is not str and type(token) is not int:
            raise RpcError(INVALID_PARAMS, "progressToken is a string or an integer")
        envelope.progress_token = token
    if meta.TRACE_KEYS[0] not in found and meta.TRACE_KEYS[2] not in found:
        return
    envelope.trace = meta.trace_of(found)


def discover_result(info: ServerInfo, supported: Collection[str] = MODERN) -> dict[str, Any]:
    """Return the ``DiscoverResult`` of the schema (M-VN-04, M-VN-06, M-CH-01)."""
    result: dict[str, Any] = {
        "resultType": "complete",
        "supportedVersions": list(supported),
        "capabilities": dict(info.capabilities),
        "ttlMs": info.ttl_ms,
        "cacheScope": "public",
    }
    if info.instructions is not None:
        result["instructions"] = info.instructions
    return result


def listen_result(subscription_id: int | str) -> dict[str, Any]:
    """Return the ``SubscriptionsListenResult`` that ends a listen gracefully (M-SU-10)."""
    return {"resultType": "complete", "_meta": {meta.SUBSCRIPTION_ID: subscription_id}}


def stamp_params(params: Mapping[str, Any] | bytes | msgspec.Raw | None, stamp: Mapping[str, Any]) -> Any:
    """Return request params whose ``_meta`` holds ``stamp``; what the caller wrote there wins, except nothing is lost.

    Args:
        params: A mapping, the JSON text of an object, or None.
        stamp: Members this library owns.

    Raises:
        LocalProtocolError: ``params`` or its ``_meta`` is no JSON object.
    """
    if params is None:
        return {"_meta": dict(stamp)}
    if type(params) is dict and "_meta" not in params:
        return {**params, "_meta": stamp}
    if isinstance(params, (bytes, msgspec.Raw)):
        members = _raw_members(jsontext.raw_object(bytes(params), "raw params"))
        own = _decoded({"_meta": members["_meta"]})["_meta"] if "_meta" in members else None
    else:
        members = dict(params)
        own = members.get("_meta")
    if own is not None and not isinstance(own, Mapping):
        raise LocalProtocolError("the _meta of params is an object")
    members["_meta"] = {**stamp, **own} if own else dict(stamp)
    return members


def check_result_type(result: Any, result_types: Collection[str]) -> None:
    """Check a result a client received (M-JR-08, M-JR-09).

    Raises:
        MessageError: The result names a ``resultType`` nobody declared.
    """
    kind = result.get("resultType", "complete")
    if type(kind) is not str or kind not in result_types:
        raise MessageError(f"the result has the unknown resultType {kind!r}", answerable=False)
