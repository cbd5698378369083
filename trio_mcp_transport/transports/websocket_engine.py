"""The two ways to speak WebSocket behind one set of options: trio-websocket, and our own codec.

Must never import trio-websocket before a connection wants it.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal, Protocol, get_args

import attrs
import trio

from ..abc import MessageLink
from ..errors import ConfigError, TransportError
from ..limits import Limits
from ..metrics import TransportMetrics
from ..wire.websocket import WebSocketCodec
from .websocket_closing import CLOSE_DEADLINE, GOING_AWAY, NORMAL, Role
from .websocket_keepalive import PING_DEADLINE, PING_INTERVAL, Pingable
from .websocket_native import NativeLink

__all__ = ["Engine", "EngineOptions", "WebSocketLink", "open_link"]

Engine = Literal["trio-websocket", "native"]
"""``trio-websocket``, the library, or ``native``, our codec on the stream: twice as fast, and younger."""

ENGINES: Final[tuple[str, ...]] = get_args(Engine)


class WebSocketLink(MessageLink, Pingable, Protocol):
    """What a transport needs of a WebSocket beside its messages."""

    async def wait_given_up(self) -> TransportError | None:
        """Listen to the peer while the connection drains; see `pipe.server.GivenUp`."""
        ...

    def explain(self, error: TransportError) -> TransportError:
        """Return what the peer's Close said, where there was one, and else the error itself."""
        ...

    async def say_goodbye(self, code: int) -> None:
        """Close the WebSocket in order: both Closes, within the close deadline.  A checkpoint."""
        ...

    async def close_now(self, code: int, reason: str = "") -> None:
        """Send a Close if nothing stands in its way, and wait for nobody.  A checkpoint; shielded and bounded."""
        ...


def _seconds(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is None and attribute.name == "ping_interval":
        return
    if type(value) not in (int, float) or not 0 < value < math.inf:  # type: ignore[operator]  # a number by now
        raise ConfigError(f"{attribute.name} is a number of seconds above 0, not {value!r}")


def _known_engine(_: object, __: object, value: str) -> None:
    if value not in ENGINES:
        raise ConfigError(f"engine is {' or '.join(ENGINES)}, not {value!r}")


@attrs.frozen(kw_only=True)
class EngineOptions:
    """What both sides of a WebSocket can choose.

    Attributes:
        engine: See `Engine`.
        accept_binary: Whether a binary message counts as one; else it is refused with 1003.
        ping_interval: Seconds of silence before a ping; None for no pings.
        ping_deadline: Seconds of silence after a ping before the peer is given up.
        close_deadline: Seconds for the peer's half of the close handshake.

    Raises:
        ConfigError: A value is out of range.
    """

    engine: Engine = attrs.field(default="trio-websocket", validator=_known_engine)
    accept_binary: bool = False
    ping_interval: float | None = attrs.field(default=PING_INTERVAL, validator=_seconds)
    ping_deadline: float = attrs.field(default=PING_DEADLINE, validator=_seconds)
    close_deadline: float = attrs.field(default=CLOSE_DEADLINE, validator=_seconds)


async def open_link(
    nursery: trio.Nursery,
    stream: trio.abc.Stream,
    role: Role,
    options: EngineOptions,
    *,
    limit: int,
    limits: Limits,
    metrics: TransportMetrics,
    leftover: bytes,
) -> WebSocketLink:
    """Return a link on a stream whose handshake is done.  A checkpoint.

    Args:
        nursery: For tasks of the engine; to be cancelled once the link is closed.
        stream: Stays the caller's to close.
        role: Which side this is.
        options: The engine and its bounds.
        limit: Largest message accepted, in bytes.
        limits: The other bounds.
        metrics: Counters to add to.
        leftover: What came behind the handshake.
    """
    final_code = GOING_AWAY if role == "server" else NORMAL
    if options.engine == "native":
        await trio.lowlevel.checkpoint()
        return NativeLink(
            stream,
            WebSocketCodec(role, limit, accept_binary=options.accept_binary),
            limits,
            final_code=final_code,
            close_deadline=options.close_deadline,
            metrics=metrics,
            leftover=leftover,
        )
    from .websocket_library import open_library_link

    return await open_library_link(
        nursery,
        stream,
        role,
        limit=limit,
        limits=limits,
        accept_binary=options.accept_binary,
        final_code=final_code,
        close_deadline=options.close_deadline,
        metrics=metrics,
        leftover=leftover,
    )
