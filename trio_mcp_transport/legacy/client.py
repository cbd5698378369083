"""The handshake of a legacy connection, seen from the client, and the terms that follow from it.

Must never be used before the peer turned out to be legacy: `transports.negotiation` decides that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..errors import RpcError, UnsupportedRevision
from ..wire.codes import INVALID_PARAMS
from ..wire.envelope import ClientInfo
from ..wire.meta import PROGRESS_TOKEN
from ..wire.modern import stamp_params
from ..wire.revisions import LATEST_LEGACY, LEGACY

__all__ = ["LegacyTerms", "handshake"]


class LegacyTerms:
    """How this client speaks after ``initialize``.

    Attributes:
        revision: The negotiated revision.
        server_info: The server's identity, or None.
        server_capabilities: What the server declared.
        instructions: Text for the model, or None.
    """

    modern = False

    def __init__(self, result: Mapping[str, Any]) -> None:
        self.revision: str = result["protocolVersion"]
        self.server_info: Mapping[str, Any] | None = result.get("serverInfo")
        self.server_capabilities: Mapping[str, Any] = result.get("capabilities") or {}
        self.instructions: str | None = result.get("instructions")

    def prepare(self, params: Any, token: int | str | None) -> Any:
        """Return request params with the progress token, where one is wanted."""
        return params if token is None else stamp_params(params, {PROGRESS_TOKEN: token})

    def check(self, result: Any) -> None:
        """Accept any result object: ``resultType`` does not exist here (L25-JR-04)."""


async def handshake(
    call: Callable[[str, Mapping[str, Any]], Awaitable[Any]],
    notify: Callable[[str], Awaitable[None]],
    info: ClientInfo,
) -> LegacyTerms:
    """Run ``initialize`` and send ``notifications/initialized`` (L25-LC-01 to L25-LC-08, L25-LC-10).

    A checkpoint.

    Args:
        call: Sends a request and returns the decoded result.
        notify: Sends a notification without params.
        info: This client.

    Raises:
        UnsupportedRevision: The server answered with a revision that is not spoken here, or refused ours by name.
        RpcError: The server refused for another reason.
        TransportError: The connection failed.
    """
    params = {
        "protocolVersion": LATEST_LEGACY,
        "capabilities": dict(info.capabilities),
        "clientInfo": info.identity(),
    }
    try:
        result = await call("initialize", params)
    except RpcError as error:
        supported = error.data.get("supported") if isinstance(error.data, Mapping) else None
        if error.code != INVALID_PARAMS or not isinstance(supported, (list, tuple)):
            raise
        offered = tuple(str(one) for one in supported)
        raise UnsupportedRevision(
            f"the server refused revision {LATEST_LEGACY} and speaks {', '.join(offered) or 'none it named'}: {error}",
            requested=LATEST_LEGACY,
            supported=offered,
        ) from error
    revision = result.get("protocolVersion")
    if revision not in LEGACY:
        raise UnsupportedRevision(
            f"the server answered initialize with revision {revision!r}; spoken here: {', '.join(LEGACY)}",
            requested=LATEST_LEGACY,
            supported=(str(revision),),
        )
    await notify("notifications/initialized")
    return LegacyTerms(result)
