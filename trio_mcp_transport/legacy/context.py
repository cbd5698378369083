"""The context of a message in a legacy connection, which alone may ask its peer something.

Must never be handed to a handler of a modern message (D-15, M-JR-16).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..context import ConnectionInfo, MessageContext
from ..era import Port
from ..errors import LocalProtocolError
from ..wire.envelope import Envelope

__all__ = ["LegacyMessageContext"]


class LegacyMessageContext(MessageContext):
    """A `MessageContext` with `request`."""

    __slots__ = ("_port", "_ready")

    def __init__(
        self, connection: ConnectionInfo, envelope: Envelope, received_at: float, port: Port, ready: bool
    ) -> None:
        super().__init__(connection, envelope, received_at)
        self._port = port
        self._ready = ready

    async def request(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Send a request to the peer and wait for its answer.

        A checkpoint.  While it waits the handler's place among the running is lent to other messages.  Cancelled, the
        peer gets ``notifications/cancelled`` (L25-CA-01).

        Args:
            method: Such as ``sampling/createMessage`` or ``ping``.
            params: The params, or None.

        Returns:
            The decoded result.

        Raises:
            RpcError: The peer answered with an error.
            ConnectionClosed: The connection ended; nobody will answer.
            LocalProtocolError: Nothing but ``ping`` may be asked before the handshake is complete (L25-LC-05), or
                too many requests already wait.
        """
        if not self._ready and method != "ping":
            raise LocalProtocolError(f"{method} cannot be asked before notifications/initialized")
        return await self._port.call(method, params, self)
