"""Multi round-trip requests: the result that asks the client for input, and a state string nobody can forge.

Must never keep anything between the rounds: the interim result ends its request, and all that is needed later
travels in ``requestState`` (MCP 2026-07-28, patterns, "mrtr"; M-MR-01, M-MR-10).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

from ..errors import LocalProtocolError, RpcError
from . import jsontext
from .codes import INVALID_PARAMS, MISSING_CLIENT_CAPABILITY

__all__ = ["ASKING_METHODS", "StateSigner", "check", "input_required", "missing_capability"]

ASKING_METHODS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""The only requests that may be answered with ``input_required`` (M-MR-03)."""

_CAPABILITY_OF: Final = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}


def missing_capability(required: Mapping[str, Any]) -> RpcError:
    """Return the error for a capability the client did not declare (M-ME-07).

    Args:
        required: A capabilities object, such as ``{"sampling": {}}``.
    """
    names = ", ".join(required)
    data = {"requiredCapabilities": dict(required)}
    return RpcError(MISSING_CLIENT_CAPABILITY, f"this request needs the client capability {names}", data)


def input_required(
    requests: Mapping[str, Mapping[str, Any]] | None = None, *, state: str | None = None
) -> dict[str, Any]:
    """Build a result that asks for input.

    Args:
        requests: Name -> ``{"method": ..., "params": ...}``; the retry brings the answers under the same names.
        state: A string the retry brings back unchanged; see `StateSigner`.

    Raises:
        LocalProtocolError: Neither is given (M-MR-02).
    """
    result: dict[str, Any] = {"resultType": "input_required"}
    if requests:
        result["inputRequests"] = {name: dict(request) for name, request in requests.items()}
    if state is not None:
        result["requestState"] = state
    if len(result) == 1:
        raise LocalProtocolError("an input_required result needs input requests, a state, or both")
    return result


def check(method: str, result: Mapping[str, Any], capabilities: Mapping[str, Any]) -> None:
    """Check an ``input_required`` result before it leaves.

    Args:
        method: The method of the request it answers.
        result: The decoded result.
        capabilities: What the client of this very request declared.

    Raises:
        LocalProtocolError: The method cannot ask, the result asks for nothing, or a request in it is malformed.
        RpcError: -32021, naming the capability that was not declared.
    """
    if method not in ASKING_METHODS:
        raise LocalProtocolError(f"{method} cannot be answered with input_required")
    requests = result.get("inputRequests") or {}
    state = result.get("requestState")
    if not isinstance(requests, Mapping) or (state is not None and not isinstance(state, str)):
        raise LocalProtocolError("inputRequests is an object and requestState a string")
    if not requests and state is None:
        raise LocalProtocolError("an input_required result needs input requests, a state, or both")
    for name, request in requests.items():
        kind = request.get("method") if isinstance(request, Mapping) else None
        capability = _CAPABILITY_OF.get(kind) if isinstance(kind, str) else None
        if capability is None:
            raise LocalProtocolError(f"the input request {name!r} has no method a client can serve")
        if capability not in capabilities:
            raise missing_capability({capability: {}})


class StateSigner:
    """Makes ``requestState`` strings that a client can carry but not change (M-MR-09).

    A state is bound to the method and principal it was made for and expires; the caller says what time it is, so
    that this class needs no clock.
    """

    def __init__(self, key: bytes) -> None:
        """Take the signing key.

        Args:
            key: At least 16 random bytes, shared by every process that may serve the retry.

        Raises:
            LocalProtocolError: The key is too short.
        """
        if len(key) < 16:
            raise LocalProtocolError("a signing key has at least 16 bytes")
        self._key = key

    def sign(self, state: Any, *, method: str, principal: str = "", expires_at: float) -> str:
        """Return a string that carries ``state``.

        Args:
            state: Any JSON value.
            method: The method whose retry may bring it back.
            principal: Who may bring it back; "" when there is no authentication.
            expires_at: Last moment it is accepted, in seconds of the caller's wall clock.
        """
        body = jsontext.encode({"s": state, "m": method, "p": principal, "e": expires_at})
        mac = hmac.new(self._key, body, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac + body).decode("ascii")

    def verify(self, token: str, *, method: str, principal: str = "", now: float) -> Any:
        """Return the state a token carries.

        Raises:
            RpcError: -32602 when it was tampered with, has expired, or was made for another method or principal;
                the message does not say which.
        """
        refused = RpcError(INVALID_PARAMS, "requestState is not valid")
        try:
            signed = base64.urlsafe_b64decode(token.encode("ascii"))
        except (AttributeError, ValueError, binascii.Error):  # a peer may send anything in its place
            raise refused from None
        mac, body = signed[:32], signed[32:]
        if not hmac.compare_digest(mac, hmac.new(self._key, body, hashlib.sha256).digest()):
            raise refused
        members = jsontext.decode(body)
        if (members["m"], members["p"]) != (method, principal) or members["e"] < now:
            raise refused
        return members["s"]
