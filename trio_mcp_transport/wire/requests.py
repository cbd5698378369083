"""Requests and notifications: a method, its params, and for a request the id of its answer.

Must never decide what becomes of a message; it only holds one, as it came or as it shall leave.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from ..errors import LocalProtocolError, RpcError
from . import jsontext

__all__ = ["MessageId", "Notification", "RawMembers", "Request", "decode_raw"]

MessageId = int | str
"""A JSON-RPC id: an integer of any size or a string; never null, never a number with a fraction."""

T = TypeVar("T")


class RawMembers(msgspec.Struct, gc=False):
    """The members of a frame that stay JSON text."""

    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


decode_raw: Callable[[bytes], RawMembers] = msgspec.json.Decoder(RawMembers).decode
"""Reads the raw members of a frame that is known to be a message."""


class _Call:
    """What a request and a notification share: a method and its params."""

    __slots__ = ("_frame", "_params", "_raw", "extra", "method")

    def __init__(self, method: str, params: Mapping[str, Any] | msgspec.Raw | bytes | None = None) -> None:
        self.method: str = method
        self.extra: dict[str, Any] | None = None
        self._frame: bytes | None = None
        self._params: Any = None
        self._raw: msgspec.Raw | None = None
        if isinstance(params, (bytes, msgspec.Raw)):
            self._raw = jsontext.raw_object(bytes(params), "raw params")
        elif params is not None:
            self._params = params if type(params) is dict else dict(params)

    @property
    def params(self) -> dict[str, Any]:
        """The decoded params; an empty dict when the message has none."""
        if self._params is None:
            if self._raw is None and self._frame is None:
                # Not kept: a message without params stays one, whoever looks at it.
                return {}
            # What came in a frame was measured with it, by the depth its connection allows.
            depth = jsontext.DEFAULT_MAX_DEPTH if self._frame is None else sys.maxsize
            self._params = jsontext.decode(bytes(self._raw), max_depth=depth) if self._raw is not None else {}
        return self._params  # type: ignore[no-any-return]  # any mapping a caller passed is read as a dict

    @property
    def raw_params(self) -> msgspec.Raw | None:
        """The params as JSON text, exactly as received; None when the message has none."""
        if self._raw is None:
            if self._frame is not None:
                raw = decode_raw(self._frame).params
                self._raw = None if raw is msgspec.UNSET else raw
            elif self._params is not None:
                self._raw = msgspec.Raw(jsontext.encode(self._params))
        return self._raw

    @property
    def meta(self) -> dict[str, Any]:
        """The ``_meta`` object of the params; an empty dict when there is none or it is no object."""
        meta = self.params.get("_meta")
        return meta if type(meta) is dict else {}

    @property
    def size(self) -> int:
        """Bytes of the frame it came in, or of its params as JSON text."""
        return len(self._frame) if self._frame is not None else len(bytes(self.raw_params or b""))

    def decode(self, type_: type[T]) -> T:
        """Decode the params into a type that msgspec knows.

        Raises:
            RpcError: -32602, naming the member that does not fit; let it leave the handler to answer with it.
        """
        try:
            return msgspec.json.decode(self.raw_params or b"{}", type=type_)
        except (msgspec.MsgspecError, ValueError) as error:
            raise RpcError(-32602, f"invalid params: {error}") from None

    def seal(self) -> None:
        """Detach the message from the objects it was built of, so that it may cross to another program.

        What is left is text: `params` decodes it anew, and decoded it may take twenty times the memory.
        """
        self.raw_params  # noqa: B018 - the property fills the raw form
        self._params = None

    def _members(self) -> dict[str, Any]:
        members: dict[str, Any] = {"jsonrpc": "2.0", "method": self.method}
        if self._params is not None and self._raw is None and self._frame is None:
            members["params"] = self._params
        elif (raw := self.raw_params) is not None:
            members["params"] = raw
        if self.extra:
            members.update(self.extra)
        return members


class Notification(_Call):
    """A message without id, never answered (JSON-RPC 2.0 section 4.1).

    Attributes:
        method: The method name.
        extra: Unknown top-level members as received, or None.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Notification({self.method!r})"


class Request(_Call):
    """A message that is answered exactly once (JSON-RPC 2.0 section 4).

    Attributes:
        id: Integer or string, unique among the sender's unanswered requests.
        method: The method name.
        extra: Unknown top-level members as received, or None.

    Raises:
        LocalProtocolError: The id is neither, or raw params are no JSON object (M-JR-03, M-JR-04).
    """

    __slots__ = ("id",)

    def __init__(
        self, id: MessageId, method: str, params: Mapping[str, Any] | msgspec.Raw | bytes | None = None
    ) -> None:
        if type(id) is not int and type(id) is not str:
            raise LocalProtocolError(f"a request id is an integer or a string, not {id!r}")
        self.id: int | str = id
        if params is None or type(params) is dict:
            # The path of every request read from the wire, and of nearly every other, without the call of a base class.
            self.method = method
            self.extra: dict[str, Any] | None = None
            self._params = params
            self._frame = self._raw = None
        else:
            super().__init__(method, params)

    def _members(self) -> dict[str, Any]:
        if self._params is not None and self._raw is None and self._frame is None and self.extra is None:
            return {"jsonrpc": "2.0", "id": self.id, "method": self.method, "params": self._params}
        return {"jsonrpc": "2.0", "id": self.id, **super()._members()}

    def __repr__(self) -> str:
        return f"Request({self.id!r}, {self.method!r})"
