"""The reserved ``_meta`` keys, the syntax of all others, and the three trace strings.

Must never refuse an inbound message because of a key it does not know (M-ME-11); the syntax rules bind what this
side writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ..errors import LocalProtocolError

__all__ = [
    "CLIENT_CAPABILITIES",
    "CLIENT_INFO",
    "LOG_LEVEL",
    "LOG_LEVELS",
    "PROGRESS_TOKEN",
    "PROTOCOL_VERSION",
    "SERVER_INFO",
    "SUBSCRIPTION_ID",
    "TRACE_KEYS",
    "check_application_key",
    "check_application_meta",
    "check_extension",
    "is_valid_key",
    "own_progress_token",
    "trace_of",
]

PROTOCOL_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
CLIENT_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO: Final = "io.modelcontextprotocol/clientInfo"
LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"
SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"
PROGRESS_TOKEN: Final = "progressToken"  # noqa: S105 - a field name, no secret

LOG_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""RFC 5424 severities, least severe first."""

TRACE_KEYS: Final = ("traceparent", "tracestate", "baggage")

_LABEL = r"[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_KEY = re.compile(
    rf"(?:(?P<prefix>{_LABEL}(?:\.{_LABEL})*)/)?(?P<name>(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?)"
)
_TRACE_IDS = r"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT = re.compile(rf"00{_TRACE_IDS}|(?!00|ff)[0-9a-f]{{2}}{_TRACE_IDS}(?:-.*)?")
_DEFINED: Final = frozenset(
    {
        PROTOCOL_VERSION,
        CLIENT_CAPABILITIES,
        CLIENT_INFO,
        LOG_LEVEL,
        SERVER_INFO,
        SUBSCRIPTION_ID,
        PROGRESS_TOKEN,
        # Of the tasks extension (2025-11-25, basic, "tasks").
        "io.modelcontextprotocol/related-task",
        "io.modelcontextprotocol/model-immediate-response",
    }
)
_RESERVED_LABELS = frozenset({"modelcontextprotocol", "mcp"})


def is_valid_key(key: str) -> bool:
    """Tell whether a ``_meta`` key follows the grammar of MCP 2026-07-28, basic, "_meta" (M-ME-11)."""
    return key in TRACE_KEYS or _KEY.fullmatch(key) is not None


def check_application_key(key: str) -> None:
    """Check a ``_meta`` key that an application wants to write.

    Raises:
        LocalProtocolError: The key breaks the grammar, or its prefix is reserved: a second label of
            ``modelcontextprotocol`` or ``mcp`` (M-ME-12).
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise LocalProtocolError(f"not a valid _meta key: {key!r}")
    labels = (match["prefix"] or "").split(".")
    if len(labels) > 1 and labels[1] in _RESERVED_LABELS:
        raise LocalProtocolError(f"the prefix of the _meta key {key!r} is reserved for MCP itself")


def check_application_meta(meta: Mapping[str, Any]) -> None:
    """Check every key of a ``_meta`` object that an application built; keys that MCP defines are its to set.

    Raises:
        LocalProtocolError: As for `check_application_key`.
    """
    for key in meta:
        if key not in _DEFINED:
            check_application_key(key)


def check_extension(identifier: str) -> None:
    """Check an extension identifier: ``_meta`` key syntax with a mandatory prefix (M-VN-07).

    Raises:
        LocalProtocolError: The identifier has no prefix or breaks the grammar.
    """
    match = _KEY.fullmatch(identifier)
    if match is None or not match["prefix"] or not match["name"]:
        raise LocalProtocolError(f"an extension identifier is prefix/name, not {identifier!r}")


def trace_of(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return the W3C trace strings of a ``_meta`` object; malformed ones are left out, never fatal (M-TR-01).

    Source: W3C Trace Context section 3.2 and W3C Baggage section 3.
    """
    trace = {key: meta[key] for key in TRACE_KEYS if isinstance(meta.get(key), str)}
    if _TRACEPARENT.fullmatch(trace.get("traceparent", "")) is None:
        trace.pop("traceparent", None)
        trace.pop("tracestate", None)
    return trace


def own_progress_token(params: Any) -> int | str | None:
    """Return the progress token that a caller put into the ``_meta`` of params, or None."""
    own = params.get("_meta") if isinstance(params, Mapping) else None
    token = own.get(PROGRESS_TOKEN) if isinstance(own, Mapping) else None
    return token if type(token) is int or type(token) is str else None
