"""The session of a legacy connection, seen from the server: handshake, negotiated terms, ping, log level.

Must never touch a modern message: `transports.eras` routes those away before they get here (D-17).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..context import MessageContext
from ..era import Port
from ..errors import MessageError, RpcError
from ..subscriptions import LegacySubscriber, Subscriptions
from ..wire.codes import INVALID_PARAMS
from ..wire.envelope import Envelope, ServerInfo
from ..wire.messages import Batch, Message, Notification, Request, Response
from ..wire.meta import LOG_LEVELS, PROGRESS_TOKEN, trace_of
from ..wire.revisions import BATCHING, LEGACY, choose_legacy
from .batch import refuse_batch, split_batch
from .context import LegacyMessageContext

__all__ = ["LegacySession"]

DEFAULT_LOG_LEVEL = "debug"
"""Before ``logging/setLevel`` a legacy server may send every level (2025-11-25, logging)."""


class LegacySession:
    """One legacy connection.

    Attributes:
        revision: The negotiated revision, or None before ``initialize`` was answered.
        ready: Whether ``notifications/initialized`` arrived.
    """

    def __init__(self, port: Port, server_info: ServerInfo | None, subscriptions: Subscriptions | None) -> None:
        self.revision: str | None = None
        self.ready: bool = False
        self._port = port
        self._server_info = server_info
        self._subscriptions = subscriptions
        self._subscriber: LegacySubscriber | None = None
        self._client_info: Mapping[str, Any] | None = None
        self._capabilities: Mapping[str, Any] = {}

    def request(self, request: Request) -> Envelope | Mapping[str, Any]:
        """Return a handler's terms, or the answer to what the library serves itself.

        Raises:
            RpcError: ``initialize`` is malformed or comes twice.
        """
        method = request.method
        if method == "initialize":
            return self._initialize(request)
        if method == "ping" and self._server_info is not None:
            return {}
        if method == "logging/setLevel" and request.params.get("level") in LOG_LEVELS:
            self._port.info.log_level = request.params["level"]
        if self._subscriber is not None and method in ("resources/subscribe", "resources/unsubscribe"):
            return self._watch(request)
        return self._terms(request)

    def notification(self, notification: Notification) -> Envelope | None:
        """Return a handler's terms, or None for what concerns the session itself."""
        if notification.method == "notifications/initialized":
            self.ready = True
            if self._subscriptions is not None and self._subscriber is None:
                self._subscriber = self._subscriptions.attach_legacy(self._port.push)
            return None
        return self._terms(notification)

    def batch(self, batch: Batch) -> list[Message | MessageError]:
        """Return the members of a batch where 2025-03-26 was negotiated.

        Raises:
            MessageError: It was not, or the batch is malformed.
        """
        if self.revision != BATCHING:
            raise refuse_batch(batch)
        return split_batch(batch)

    def answered(self, request: Request, response: Response) -> None:
        """Learn the revision from a handler's own answer to ``initialize``."""
        if request.method == "initialize" and response.error is None and self.revision is None:
            result = response.result
            revision = result.get("protocolVersion") if isinstance(result, Mapping) else None
            if revision in LEGACY:
                self._adopt(request, revision)

    def error_without_id(self, error: RpcError) -> Response:
        """Return an error response that names no request: ``id`` null before 2025-11-25, absent since (D-06)."""
        response = Response(None, error=error)
        if self.revision is not None and self.revision != LEGACY[0]:
            response.extra = {"id": None}
        return response

    def context(self, envelope: Envelope, received_at: float) -> MessageContext:
        """Return a context that can ask the peer."""
        return LegacyMessageContext(self._port.info, envelope, received_at, self._port, self.ready)

    def closed(self) -> None:
        """Leave the publisher."""
        if self._subscriber is not None and self._subscriptions is not None:
            self._subscriptions.detach_legacy(self._subscriber)
            self._subscriber = None

    def _initialize(self, request: Request) -> Envelope | Mapping[str, Any]:
        if self.revision is not None:
            raise RpcError(-32600, "initialize comes once")
        params = request.params
        if type(params.get("protocolVersion")) is not str or type(params.get("capabilities", {})) is not dict:
            raise RpcError(INVALID_PARAMS, "initialize needs protocolVersion, capabilities and clientInfo")
        info = self._server_info
        if info is None:
            return self._terms(request)
        self._adopt(request, choose_legacy(params["protocolVersion"]))
        result: dict[str, Any] = {
            "protocolVersion": self.revision,
            "capabilities": dict(info.capabilities),
            "serverInfo": info.identity(),
        }
        if info.instructions is not None:
            result["instructions"] = info.instructions
        return result

    def _adopt(self, request: Request, revision: str) -> None:
        self.revision = revision
        info = request.params.get("clientInfo")
        self._client_info = info if isinstance(info, dict) else None
        self._capabilities = request.params.get("capabilities") or {}

    def _watch(self, request: Request) -> Mapping[str, Any]:
        uri = request.params.get("uri")
        if type(uri) is not str:
            raise RpcError(INVALID_PARAMS, "uri is a string")
        assert self._subscriber is not None
        if request.method == "resources/subscribe":
            self._subscriber.uris.add(uri)
        else:
            self._subscriber.uris.discard(uri)
        return {}

    def _terms(self, message: Request | Notification) -> Envelope:
        envelope = Envelope(self.revision or "")
        envelope.client_info = self._client_info
        envelope.client_capabilities = self._capabilities
        envelope.log_level = self._port.info.log_level or DEFAULT_LOG_LEVEL
        meta = message.meta
        if meta:
            token = meta.get(PROGRESS_TOKEN)
            if type(token) is str or type(token) is int:
                envelope.progress_token = token
            envelope.trace = trace_of(meta)
        return envelope
