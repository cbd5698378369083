"""MCP over WebSocket (RFC 6455): subprotocol ``mcp``, one message per text frame, on trio-websocket or our own codec.

A custom transport in the sense of the specification: messages and their order are those of stdio, and nothing of a
message is repeated in a header.  What is public about it is here; this module must never hold anything itself.
"""

from __future__ import annotations

from .websocket_client import WebSocketClientTransport
from .websocket_engine import Engine
from .websocket_server import WebSocketServerTransport

__all__ = ["Engine", "WebSocketClientTransport", "WebSocketServerTransport"]
