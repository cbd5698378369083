"""JSON-RPC 2.0 messages: request, notification, response, and the batch that one old revision allows.

Must never correlate, route or answer; it only tells what a frame is, and refuses what is none of the four.  Ids keep
their exact JSON type (``"2"`` is not ``2``) and integers have no upper bound (M-JR-03, D-09).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..errors import MessageError, RpcError
from . import jsontext
from .codes import INVALID_REQUEST
from .requests import MessageId, Notification, Request, decode_raw
from .salvage import answered_by

__all__ = ["Batch", "Message", "MessageId", "Notification", "Request", "Response", "decode", "encode", "from_value"]

_MISSING: Final = object()
_REQUEST_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params"})
_RESPONSE_MEMBERS: Final = frozenset({"jsonrpc", "id", "result", "error"})


class Response:
    """The answer to one request: a result or an error, never both (JSON-RPC 2.0 section 5; M-JR-13).

    Attributes:
        id: The request's id, or None when the peer could not read it.
        error: The error, or None when this is a result.
        extra: Unknown top-level members as received, or None.
    """

    __slots__ = ("_frame", "_result", "error", "extra", "id")

    def __init__(self, id: MessageId | None, result: Any = None, error: RpcError | None = None) -> None:
        self.id: MessageId | None = id
        self.error = error
        self.extra: dict[str, Any] | None = None
        self._result = result
        self._frame: bytes | None = None

    @property
    def result(self) -> Any:
        """The decoded result; None for an error."""
        if isinstance(self._result, msgspec.Raw):
            return jsontext.decode(bytes(self._result))
        return self._result

    @property
    def raw_result(self) -> msgspec.Raw:
        """The result as JSON text, exactly as received."""
        if self._frame is not None:
            raw = decode_raw(self._frame).result
            if raw is not msgspec.UNSET:
                return raw
        return self._result if isinstance(self._result, msgspec.Raw) else msgspec.Raw(jsontext.encode(self._result))

    def seal(self) -> None:
        """Detach the result, or the error, from the objects it was built of."""
        if self.error is None:
            self._result = self.raw_result
            self._frame = None
        else:
            # An exception is an object too: raised once more, at the other end, it would carry the handler's traceback.
            data = self.error.data
            data = data if data is None else jsontext.decode(jsontext.encode(data))
            self.error = RpcError(self.error.code, self.error.message, data)

    def _members(self) -> dict[str, Any]:
        members: dict[str, Any] = {"jsonrpc": "2.0"}
        if self.id is not None:
            members["id"] = self.id
        if self.error is None:
            members["result"] = self.raw_result if self._frame is not None else self._result
        else:
            members["error"] = {"code": self.error.code, "message": self.error.message}
            if self.error.data is not None:
                members["error"]["data"] = self.error.data
        if self.extra:
            members.update(self.extra)
        return members

    def __repr__(self) -> str:
        return f"Response({self.id!r}, {'error' if self.error else 'result'})"


class Batch:
    """A JSON array of messages, legal only where 2025-03-26 was negotiated (L03-01).

    Attributes:
        items: The decoded members, each to be read with `from_value`.
        frame: The bytes it came in, for error reports.
    """

    __slots__ = ("frame", "items")

    def __init__(self, items: list[Any], frame: bytes) -> None:
        self.items: list[Any] = items
        self.frame: bytes = frame


Message = Request | Notification | Response
"""One JSON-RPC message."""


def decode(frame: bytes, *, max_depth: int = jsontext.DEFAULT_MAX_DEPTH) -> Message | Batch:
    """Read one frame.

    Args:
        frame: The bytes between two frame boundaries.
        max_depth: Deepest JSON nesting accepted.

    Returns:
        The message; a `Batch` for an array, which the era of the connection accepts or refuses.

    Raises:
        MessageError: -32700 for no JSON text, -32600 for no JSON-RPC message.
    """
    try:
        value = jsontext.decode(frame, max_depth=max_depth)
    except MessageError as error:
        error.message_id = answered_by(frame)
        error.answerable = error.message_id is None
        raise
    if type(value) is list:
        return Batch(value, frame)
    return from_value(value, frame)


def from_value(value: Any, frame: bytes | None = None) -> Message:
    """Read one decoded JSON value as a message.

    Args:
        value: What the frame, or one member of a batch, decoded to.
        frame: The bytes of a message that stands alone in its frame; they serve the ``raw_`` properties.

    Raises:
        MessageError: -32600, with the id when a valid one could be read (M-JR-12).
    """
    if type(value) is not dict:
        raise MessageError("a message is a JSON object", rpc_code=INVALID_REQUEST, frame=frame or b"")
    method = value.get("method", _MISSING)
    if value.get("jsonrpc") != "2.0" or (method is _MISSING and not ("result" in value) ^ ("error" in value)):
        raise _invalid(value, frame, 'a message has "jsonrpc": "2.0" and a method, a result or an error')
    if method is _MISSING:
        return _response(value, frame)
    if type(method) is not str:
        raise _invalid(value, frame, "a method is a string")
    params = value.get("params", _MISSING)
    if params is not _MISSING and type(params) is not dict:
        raise _invalid(value, frame, "params is an object")
    call: Request | Notification
    if "id" in value:
        id_ = value["id"]
        if type(id_) is not int and type(id_) is not str:
            raise _invalid(value, frame, "an id is a string or an integer")
        call = Request(id_, method)
        known = 3
    else:
        call = Notification(method)
        known = 2
    if params is not _MISSING:
        call._params = params
        known += 1
    call._frame = frame
    if len(value) > known:
        call.extra = {key: member for key, member in value.items() if key not in _REQUEST_MEMBERS}
    return call


def _response(value: dict[str, Any], frame: bytes | None) -> Response:
    id_ = value.get("id")
    if type(id_) is not int and type(id_) is not str and (id_ is not None or "result" in value):
        raise _invalid(value, frame, "a response has the id of its request")
    error = None
    if "error" in value:
        error = _error(value, frame)
    elif type(value["result"]) is not dict:
        raise _invalid(value, frame, "a result is an object")
    response = Response(id_, value.get("result"), error)
    response._frame = frame if error is None else None
    if len(value) > (3 if "id" in value else 2):
        response.extra = {key: member for key, member in value.items() if key not in _RESPONSE_MEMBERS}
    return response


def _error(value: dict[str, Any], frame: bytes | None) -> RpcError:
    body = value["error"]
    if type(body) is not dict or type(body.get("code")) is not int or type(body.get("message")) is not str:
        raise _invalid(value, frame, "an error has an integer code and a string message")
    return RpcError(body["code"], body["message"], body.get("data"))


def _invalid(value: dict[str, Any], frame: bytes | None, why: str) -> MessageError:
    id_ = value.get("id")
    return MessageError(
        why,
        rpc_code=INVALID_REQUEST,
        message_id=id_ if type(id_) is int or type(id_) is str else None,
        frame=frame or b"",
        # What has a result or an error and no method is somebody's broken answer; answering it would start a quarrel.
        answerable="method" in value or not ("result" in value or "error" in value),
    )


def encode(message: Message) -> bytes:
    """Write one message as JSON text without a raw line end.

    Raises:
        LocalProtocolError: A member cannot be written as JSON; nothing was written.
    """
    if type(message) is Response and message._frame is None and message.error is None and message.extra is None:
        return jsontext.encode({"jsonrpc": "2.0", "id": message.id, "result": message._result})
    return jsontext.encode(message._members())
