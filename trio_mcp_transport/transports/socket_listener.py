"""A listening socket as a Trio listener whose connections are `socketstream.SocketStream` objects.

Must never decide whether a connection is wanted; `accept` does.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import trio

from .socketstream import SocketStream

__all__ = ["BACKLOG", "SocketListener"]

BACKLOG = 65535
"""Connections waiting to be accepted; the kernel lowers it to its own bound (listen(2)), as for Trio's listeners."""


def _nothing() -> None:
    pass


class SocketListener(trio.abc.Listener[SocketStream]):
    """Accepts connections from a listening socket, which it owns from now on.

    Attributes:
        socket: The socket, non-blocking.
    """

    def __init__(self, sock: socket.socket, *, before_close: Callable[[], None] = _nothing) -> None:
        """Take a listening socket over.

        Args:
            sock: The socket.
            before_close: Called once, while the socket is still open.
        """
        sock.setblocking(False)
        self.socket: socket.socket = sock
        self._before_close = before_close

    async def accept(self) -> SocketStream:
        """Wait for a connection.  A checkpoint; cancelled, none was taken.

        Raises:
            OSError: The system call failed, for a reason of the peer, of the system or of the listener.
            trio.ClosedResourceError: The listener is closed, or was closed meanwhile.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = False
        while True:
            if self.socket.fileno() == -1:
                raise trio.ClosedResourceError("this listener was closed")
            try:
                sock, _ = self.socket.accept()
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.socket)
                waited = True
                continue
            stream = SocketStream(sock)
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return stream

    def close(self) -> None:
        """Close; a task that waits in `accept` is woken.  May be repeated."""
        if self.socket.fileno() == -1:
            return
        try:
            self._before_close()
        finally:
            if trio.lowlevel.in_trio_run():
                trio.lowlevel.notify_closing(self.socket)
            self.socket.close()

    async def aclose(self) -> None:
        """Close, then pass a checkpoint; a cancelled call has closed too."""
        self.close()
        await trio.lowlevel.checkpoint()
