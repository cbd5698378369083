"""Many exchanges over one duplex channel: stdio, TCP, Unix sockets, WebSocket, memory, and a legacy HTTP session.

`serve_stream` turns any `trio.abc.Stream` into a transport of a server, `run_stream` into one of a client.  Nothing in
this folder opens a file descriptor or knows a protocol revision: the stream comes from ``transports/``, the era machine
is an argument.
"""

from __future__ import annotations

from .client_stream import run_stream
from .framed import FramedLink
from .server import serve_link, serve_stream

__all__ = ["FramedLink", "run_stream", "serve_link", "serve_stream"]
