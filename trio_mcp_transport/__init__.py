"""A Trio-native transport framework for MCP, the Model Context Protocol.

The names below are the public ones; each is imported from its module when it is first used, so that importing the
package loads no network library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .abc import ClientTransport as ClientTransport
    from .abc import FrameCodec as FrameCodec
    from .abc import MessageHandler as MessageHandler
    from .abc import ServerTransport as ServerTransport
    from .client import Client as Client
    from .client_block import open_client as open_client
    from .client_lifecycle import run_client as run_client
    from .context import Auth as Auth
    from .context import ConnectionInfo as ConnectionInfo
    from .context import MessageContext as MessageContext
    from .context import Peer as Peer
    from .deadlines import DeadlineExceeded as DeadlineExceeded
    from .deadlines import Deadlines as Deadlines
    from .errors import AuthenticationFailed as AuthenticationFailed
    from .errors import BufferExhausted as BufferExhausted
    from .errors import ConfigError as ConfigError
    from .errors import ConnectionClosed as ConnectionClosed
    from .errors import ConnectionFailed as ConnectionFailed
    from .errors import FrameTooLarge as FrameTooLarge
    from .errors import FramingError as FramingError
    from .errors import LocalProtocolError as LocalProtocolError
    from .errors import MessageError as MessageError
    from .errors import MessageTooLarge as MessageTooLarge
    from .errors import RateLimitExceeded as RateLimitExceeded
    from .errors import ReceiveBufferFull as ReceiveBufferFull
    from .errors import RemoteProtocolError as RemoteProtocolError
    from .errors import RpcError as RpcError
    from .errors import TransportError as TransportError
    from .errors import UnsupportedRevision as UnsupportedRevision
    from .exchange import CancelCause as CancelCause
    from .exchange import Exchange as Exchange
    from .handlers import Handlers as Handlers
    from .handlers import blocking as blocking
    from .keepalive import keep_alive as keep_alive
    from .legacy.context import LegacyMessageContext as LegacyMessageContext
    from .limits import Limits as Limits
    from .metrics import TransportMetrics as TransportMetrics
    from .metrics import TransportStatistics as TransportStatistics
    from .pipe.client_stream import run_stream as run_stream
    from .pipe.server import serve_stream as serve_stream
    from .registry import TransportPlugin as TransportPlugin
    from .registry import client_transport_for as client_transport_for
    from .registry import server_transport_for as server_transport_for
    from .registry import transport_names as transport_names
    from .replies import OpenExchange as OpenExchange
    from .replies import Replies as Replies
    from .service import run as run
    from .service import serve as serve
    from .subscriptions import Subscriptions as Subscriptions
    from .transports.eras import EraPolicy as EraPolicy
    from .transports.memory import MemoryClientTransport as MemoryClientTransport
    from .transports.memory import MemoryServerTransport as MemoryServerTransport
    from .transports.memory import memory_transports as memory_transports
    from .transports.restart import RestartPolicy as RestartPolicy
    from .transports.secure import SecureStream as SecureStream
    from .transports.stdio import StdioClientTransport as StdioClientTransport
    from .transports.stdio import StdioServerTransport as StdioServerTransport
    from .transports.tcp import TcpClientTransport as TcpClientTransport
    from .transports.tcp import TcpServerTransport as TcpServerTransport
    from .transports.unix import UnixClientTransport as UnixClientTransport
    from .transports.unix import UnixServerTransport as UnixServerTransport
    from .transports.websocket import WebSocketClientTransport as WebSocketClientTransport
    from .transports.websocket import WebSocketServerTransport as WebSocketServerTransport
    from .wire.content_length import ContentLengthCodec as ContentLengthCodec
    from .wire.envelope import ClientInfo as ClientInfo
    from .wire.envelope import ServerInfo as ServerInfo
    from .wire.length_prefix import LengthPrefixCodec as LengthPrefixCodec
    from .wire.messages import Notification as Notification
    from .wire.messages import Request as Request
    from .wire.messages import Response as Response
    from .wire.mrtr import StateSigner as StateSigner
    from .wire.mrtr import input_required as input_required
    from .wire.mrtr import missing_capability as missing_capability
    from .wire.newline import NewlineCodec as NewlineCodec
    from .wire.websocket import WebSocketCodec as WebSocketCodec

_HOME = {
    "abc": ("ClientTransport", "FrameCodec", "MessageHandler", "ServerTransport"),
    "client": ("Client",),
    "client_block": ("open_client",),
    "client_lifecycle": ("run_client",),
    "context": ("Auth", "ConnectionInfo", "MessageContext", "Peer"),
    "deadlines": ("DeadlineExceeded", "Deadlines"),
    "errors": (
        "AuthenticationFailed",
        "BufferExhausted",
        "ConfigError",
        "ConnectionClosed",
        "ConnectionFailed",
        "FrameTooLarge",
        "FramingError",
        "LocalProtocolError",
        "MessageError",
        "MessageTooLarge",
        "RateLimitExceeded",
        "ReceiveBufferFull",
        "RemoteProtocolError",
        "RpcError",
        "TransportError",
        "UnsupportedRevision",
    ),
    "exchange": ("CancelCause", "Exchange"),
    "handlers": ("Handlers", "blocking"),
    "keepalive": ("keep_alive",),
    "legacy.context": ("LegacyMessageContext",),
    "limits": ("Limits",),
    "metrics": ("TransportMetrics", "TransportStatistics"),
    "pipe.client_stream": ("run_stream",),
    "pipe.server": ("serve_stream",),
    "registry": ("TransportPlugin", "client_transport_for", "server_transport_for", "transport_names"),
    "replies": ("OpenExchange", "Replies"),
    "service": ("run", "serve"),
    "subscriptions": ("Subscriptions",),
    "transports.eras": ("EraPolicy",),
    "transports.memory": ("MemoryClientTransport", "MemoryServerTransport", "memory_transports"),
    "transports.restart": ("RestartPolicy",),
    "transports.secure": ("SecureStream",),
    "transports.stdio": ("StdioClientTransport", "StdioServerTransport"),
    "transports.tcp": ("TcpClientTransport", "TcpServerTransport"),
    "transports.unix": ("UnixClientTransport", "UnixServerTransport"),
    "transports.websocket": ("WebSocketClientTransport", "WebSocketServerTransport"),
    "wire.content_length": ("ContentLengthCodec",),
    "wire.envelope": ("ClientInfo", "ServerInfo"),
    "wire.length_prefix": ("LengthPrefixCodec",),
    "wire.messages": ("Notification", "Request", "Response"),
    "wire.mrtr": ("StateSigner", "input_required", "missing_capability"),
    "wire.newline": ("NewlineCodec",),
    "wire.websocket": ("WebSocketCodec",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [  # the table above is the one list of public names
    "__version__",
    *sorted(_MODULE_OF),
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("trio-mcp-transport")
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
