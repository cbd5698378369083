"""Which era a message belongs to, and the one door through which legacy revisions come in.

Must never do I/O: it decides by looking at one message and at what the connection has agreed on (D-17).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import attrs

from ..context import MessageContext
from ..era import Port
from ..errors import MessageError, RpcError
from ..legacy.batch import refuse_batch
from ..legacy.client import handshake
from ..legacy.inbound import ClientInbound
from ..legacy.server import LegacySession
from ..subscriptions import Subscriptions
from ..wire import modern
from ..wire.codes import INVALID_PARAMS, METHOD_NOT_FOUND
from ..wire.envelope import Envelope, ServerInfo
from ..wire.messages import Batch, Message, Notification, Request, Response
from ..wire.meta import CLIENT_CAPABILITIES, PROTOCOL_VERSION
from ..wire.revisions import LEGACY, MODERN

__all__ = ["ClientInbound", "EraPolicy", "ServerEras", "handshake"]

Unreadable = Literal["answer", "silent"]

SPECIAL = modern.REMOVED_METHODS | {"server/discover"}
"""Modern requests that do not simply go to the handler."""


@attrs.frozen(kw_only=True)
class EraPolicy:
    """Which eras a service speaks, and how.

    Attributes:
        legacy: Whether sessions of revisions up to 2025-11-25 are served.
        plain: Whether requests without an envelope, before any ``initialize``, are served as plain JSON-RPC.
        unreadable: Whether an unreadable message is answered or met with silence (D-07).
        extensions: Further ``resultType`` values of declared extensions (M-JR-10).
    """

    legacy: bool = True
    plain: bool = False
    unreadable: Unreadable = "answer"
    extensions: frozenset[str] = frozenset()


class ServerEras:
    """Implements `era.InboundEra` for one connection of a server; both eras may be in use at once (M-BC-10)."""

    def __init__(
        self,
        port: Port,
        policy: EraPolicy,
        server_info: ServerInfo | None = None,
        subscriptions: Subscriptions | None = None,
    ) -> None:
        self._info = port.info
        self._policy = policy
        self._server_info = server_info
        self._result_types: Collection[str] = modern.CORE_RESULT_TYPES | policy.extensions
        self._session = LegacySession(port, server_info, subscriptions)

    def request(self, request: Request) -> Envelope | Mapping[str, Any]:
        """Route by message: the modern version key, else the session, else plain JSON-RPC where switched on.

        Raises:
            RpcError: The error to answer with at once.
        """
        params = request.params
        found = params.get("_meta")
        if type(found) is dict and PROTOCOL_VERSION in found:
            # Read anew each time, though peers repeat themselves: terms kept for the next request would show it what a
            # handler did to these, and equal is not the same (1 == True); reading takes 0.4 us (M-ST-01).
            envelope = modern.read_envelope(params, self._server_info, self._result_types)
            return envelope if request.method not in SPECIAL else self._special(request, envelope)
        if self._policy.legacy and (request.method == "initialize" or self._session.revision is not None):
            return self._session.request(request)
        if request.method == "initialize":
            data = {"supported": list(MODERN), "requested": params.get("protocolVersion")}
            raise RpcError(INVALID_PARAMS, f"only {', '.join(MODERN)} is spoken here, without initialize", data)
        if self._policy.plain:
            return {} if request.method == "ping" else Envelope()
        raise RpcError(INVALID_PARAMS, _missing(params), {"supported": [*MODERN, *self._legacy_revisions()]})

    def notification(self, notification: Notification) -> Envelope | None:
        """Return a handler's terms; None for what the session consumes or nobody may send yet."""
        if modern.speaks_modern(notification.params):
            try:
                return self._envelope(notification.params)
            except RpcError:
                return None
        if self._policy.legacy and self._session.revision is not None:
            return self._session.notification(notification)
        # A modern notification carries no envelope: the specification defines none for it (D-05).
        return modern.ModernEnvelope(MODERN[0], self._server_info, self._result_types)

    def batch(self, batch: Batch) -> list[Message | MessageError]:
        """Return the members of a batch of a 2025-03-26 session.

        Raises:
            MessageError: In every other case.
        """
        if not self._policy.legacy:
            raise refuse_batch(batch)
        return self._session.batch(batch)

    def answered(self, request: Request, response: Response) -> None:
        """Let the session see a handler's answer to ``initialize``."""
        if request.method == "initialize":
            self._session.answered(request, response)

    def unreadable(self, error: MessageError) -> Response | None:
        """Answer an unreadable message; never one that can only have been a response."""
        if self._policy.unreadable == "silent" or not error.answerable:
            return None
        answer = RpcError(error.rpc_code, str(error))
        if error.message_id is not None:
            return Response(error.message_id, error=answer)
        return self._session.error_without_id(answer)

    def context(self, envelope: Envelope, received_at: float) -> MessageContext:
        """Return the context class of the era."""
        if envelope.modern or not envelope.revision:
            return MessageContext(self._info, envelope, received_at)
        return self._session.context(envelope, received_at)

    def closed(self) -> None:
        """End the session."""
        self._session.closed()

    def _special(self, request: Request, envelope: modern.ModernEnvelope) -> Envelope | Mapping[str, Any]:
        method = request.method
        if method in modern.REMOVED_METHODS:
            raise RpcError(METHOD_NOT_FOUND, f"{method} does not exist in {envelope.revision}")
        if method == "server/discover" and self._server_info is not None:
            result: Mapping[str, Any] = envelope.result(method, modern.discover_result(self._server_info))
            return result
        return envelope

    def _envelope(self, params: Mapping[str, Any]) -> modern.ModernEnvelope:
        return modern.read_envelope(params, self._server_info, self._result_types)

    def _legacy_revisions(self) -> tuple[str, ...]:
        return LEGACY if self._policy.legacy else ()


def _missing(params: Mapping[str, Any]) -> str:
    meta = params.get("_meta")
    known = meta if isinstance(meta, dict) else {}
    absent = [key for key in (PROTOCOL_VERSION, CLIENT_CAPABILITIES) if key not in known]
    return f"params._meta needs {' and '.join(absent)}"
