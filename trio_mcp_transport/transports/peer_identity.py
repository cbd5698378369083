"""What the operating system knows about the other end of a socket.

Must never trust a byte the peer sent, and never raise: a peer may be gone before anybody asks.
"""

from __future__ import annotations

import socket
import struct

from ..context import Peer

__all__ = ["host_and_port", "tcp_peer", "unix_credentials", "unix_peer"]

_UCRED = struct.Struct("=iII")
"""pid_t, uid_t, gid_t of Linux' ``struct ucred`` (unix(7))."""


def host_and_port(host: str, port: int) -> str:
    """Return them as an address has them, an IPv6 host in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tcp_peer(sock: socket.socket, scheme: str) -> Peer:
    """Return who is at the other end of a TCP connection; without an address if it is gone already."""
    try:
        host, port = sock.getpeername()[:2]
    except OSError:
        return Peer()
    return Peer(address=f"{scheme}://{host_and_port(host, port)}")


def unix_peer(sock: socket.socket, path: str) -> Peer:
    """Return who is at the other end of a connection to the Unix socket ``path``."""
    return Peer(address=f"unix:{path}", credentials=unix_credentials(sock))


def unix_credentials(sock: socket.socket) -> tuple[int, int, int] | None:
    """Return (process id, user id, group id) at the moment of connecting; None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, option, _UCRED.size)
    except OSError:
        return None
    process, user, group = _UCRED.unpack(found)
    return process, user, group
