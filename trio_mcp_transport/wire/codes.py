"""Every error code this library emits or understands, with its HTTP status, in one table.

Must never hold a code in ``-32000..-32019``: those have no meaning and are never emitted (MCP 2026-07-28, basic,
"Error Codes"; rows M-ER-01 to M-ER-08).
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "HEADER_MISMATCH",
    "HTTP_STATUS",
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "LEGACY_RESOURCE_NOT_FOUND",
    "LEGACY_URL_ELICITATION_REQUIRED",
    "METHOD_NOT_FOUND",
    "MISSING_CLIENT_CAPABILITY",
    "PARSE_ERROR",
    "UNSUPPORTED_REVISION",
    "is_undefined",
    "may_emit",
]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
HEADER_MISMATCH: Final = -32020
MISSING_CLIENT_CAPABILITY: Final = -32021
UNSUPPORTED_REVISION: Final = -32022
LEGACY_RESOURCE_NOT_FOUND: Final = -32002
LEGACY_URL_ELICITATION_REQUIRED: Final = -32042

HTTP_STATUS: Final[dict[int, int]] = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    METHOD_NOT_FOUND: 404,
    INVALID_PARAMS: 400,
    INTERNAL_ERROR: 200,
    HEADER_MISMATCH: 400,
    MISSING_CLIENT_CAPABILITY: 400,
    UNSUPPORTED_REVISION: 400,
}
"""Status of a modern response that holds nothing but this error (2026-07-28, Streamable HTTP)."""

_RESERVED = range(-32768, -31999)


def may_emit(code: int, *, modern: bool) -> bool:
    """Tell whether an error code may leave this program.

    Args:
        code: The JSON-RPC error code a handler raised.
        modern: Whether the request is of revision 2026-07-28.

    Returns:
        False for a code of the reserved range that the revision does not define (M-ER-03, M-ER-05, M-ER-06).
        Legacy revisions let every code pass: their peers rely on ``-32002``, ``-32042`` and others (L25-JR-06).
    """
    return not modern or not is_undefined(code, modern=True)


def is_undefined(code: int, *, modern: bool) -> bool:
    """Tell whether an application took a code of the reserved range that means nothing there (M-ER-08).

    Args:
        code: The JSON-RPC error code.
        modern: Whether the request is of revision 2026-07-28.
    """
    if code not in _RESERVED or code in HTTP_STATUS:
        return False
    return modern or code not in (LEGACY_RESOURCE_NOT_FOUND, LEGACY_URL_ELICITATION_REQUIRED)
