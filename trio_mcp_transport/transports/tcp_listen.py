"""Opening the listening sockets of a host and a port.

Must never listen on an address the name does not lead to.
"""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any

import trio

from ..errors import ConnectionFailed
from .peer_identity import host_and_port
from .socket_listener import BACKLOG, SocketListener

__all__ = ["listen_on", "plain_socket"]

ATTEMPTS = 10
"""How often a free port is chosen that must be free on several addresses."""


async def listen_on(host: str, port: int, scheme: str) -> list[SocketListener]:
    """Return a listener on the same port of every address of a host.  A checkpoint.

    Args:
        host: A name or an address.
        port: The port; 0 for any that is free.
        scheme: For messages.

    Raises:
        ConnectionFailed: The name leads nowhere, or the port cannot be had; the message has the address.
    """
    where = f"{scheme}://{host_and_port(host, port)}"
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConnectionFailed(f"cannot listen on {where}: {error}") from error
    addresses: list[tuple[int, tuple[Any, ...]]] = list(dict.fromkeys((one[0], one[4]) for one in found))
    for attempt in range(ATTEMPTS):
        try:
            return [SocketListener(sock) for sock in _bind_all(addresses, port)]
        except OSError as error:
            taken_meanwhile = port == 0 and error.errno == errno.EADDRINUSE and attempt < ATTEMPTS - 1
            if not taken_meanwhile:
                raise ConnectionFailed(f"cannot listen on {where}: {error}") from error
    raise AssertionError("the last attempt returns or raises")


def _bind_all(addresses: list[tuple[int, tuple[Any, ...]]], port: int) -> list[socket.socket]:
    opened: list[socket.socket] = []
    try:
        for family, address in addresses:
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and len(addresses) > 1:
                    continue  # A name of this host may lead to IPv6 where the kernel has none.
                raise
            opened.append(sock)
            _bind(sock, (address[0], port, *address[2:]))
            port = sock.getsockname()[1]
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    return opened


def _bind(sock: socket.socket, address: tuple[Any, ...]) -> None:
    if sys.platform != "win32":  # There it would let two programs share the port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        # "::" is then not "0.0.0.0" too: an address leads to what it says.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(address)
    sock.listen(BACKLOG)


def plain_socket(stream: trio.SocketStream) -> socket.socket:
    """Take the socket out of one of Trio's streams, which is of no use any more."""
    return socket.socket(fileno=stream.socket.detach())
