"""Connected sockets for tests, and ways to mistreat them.

Must never reach beyond this host.
"""

from __future__ import annotations

import socket
import struct

from trio_mcp_transport.transports.socketstream import RECEIVE_SIZE, SocketStream

__all__ = ["clog", "reset", "tcp_pair", "unix_pair"]


def unix_pair() -> tuple[SocketStream, SocketStream]:
    """Return two streams over one connected pair of Unix sockets."""
    left, right = socket.socketpair()
    return SocketStream(left), SocketStream(right)


def tcp_pair() -> tuple[SocketStream, SocketStream]:
    """Return two streams over one TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    return SocketStream(left), SocketStream(right)


def clog(stream: SocketStream) -> None:
    """Fill the way to the peer until the kernel takes no more."""
    while stream.send_nowait(b"x" * RECEIVE_SIZE):
        pass


def reset(stream: SocketStream) -> None:
    """Close with a reset (RST) instead of an end."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()
