"""A Trio stream over a connected stream socket that tries first and waits only when it must.

Only bytes pass here.  This module must never look at what they mean, and never start a task or a thread.

`trio.SocketStream` pays a checkpoint before it tries, and asks anew whether the socket would block; here a receive on
an empty socket waits at once, and a send that fits is one system call (`send_nowait`).
"""

from __future__ import annotations

import errno
import socket

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

__all__ = ["RECEIVE_SIZE", "SocketStream"]

RECEIVE_SIZE = 65536
"""Bytes asked for at once; what `trio.SocketStream` uses."""


class SocketStream(trio.abc.HalfCloseableStream):
    """Reads and writes a connected socket, which this stream owns from now on.

    Small messages leave at once (``TCP_NODELAY``), and the kernel notices a peer that is gone for hours
    (``SO_KEEPALIVE``), where the socket has such options.

    Attributes:
        socket: The socket, non-blocking.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Take a connected socket over."""
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            except OSError:
                pass  # BSD says EINVAL for a peer that has reset the connection already; the next call tells.
        self.socket: socket.socket = sock
        self._receive = sock.recv
        self._send = sock.send
        self._receiving = False
        self._sending = False
        self._emptied = False
        self._ended = False

    def fileno(self) -> int:
        """Return the descriptor, or -1 after close."""
        return self.socket.fileno()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Read what is there, waiting when nothing is.

        Exactly one checkpoint when bytes are there already, and one per wait otherwise.  A cancelled call has read
        nothing: bytes once read are always returned.

        Args:
            max_bytes: The most to return, in bytes; 64 KiB when None.

        Returns:
            At least one byte, or ``b""`` at the end of the peer's writing.

        Raises:
            trio.BrokenResourceError: The connection broke.
            trio.ClosedResourceError: The stream is closed, or was closed meanwhile.
            trio.BusyResourceError: Another task is receiving.
        """
        if max_bytes is None:
            max_bytes = RECEIVE_SIZE
        elif type(max_bytes) is not int:
            raise TypeError("max_bytes must be an integer")
        elif max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        self._receiving = True
        try:
            # The last read took all there was: to wait at once costs less than to be told that it would block.
            waited = self._emptied
            if waited:
                self._emptied = False
                await self._wait_readable()
            else:
                await checkpoint_if_cancelled()
            while True:
                try:
                    data = self._receive(max_bytes)
                except BlockingIOError:
                    await self._wait_readable()
                    waited = True
                    continue
                except OSError as error:
                    raise _failure(error, "receive") from error
                self._emptied = 0 < len(data) < max_bytes
                if not waited:
                    # The bytes are out of the kernel: a cancellation now would lose them.
                    await cancel_shielded_checkpoint()
                return data
        finally:
            self._receiving = False

    async def _wait_readable(self) -> None:
        if self.socket.fileno() == -1:
            raise trio.ClosedResourceError("this stream was closed")
        await trio.lowlevel.wait_readable(self.socket)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data``, waiting whenever the peer takes no more.

        One checkpoint when everything fits at once, and one per wait otherwise.  A call that is cancelled before its
        first byte has written nothing; one cancelled while it waits may leave a torn frame, after which nothing more
        may be sent.  Data that was written completely is never reported as cancelled.

        Raises:
            trio.BrokenResourceError: The peer is gone, or the connection broke.
            trio.ClosedResourceError: The stream is closed, was closed meanwhile, or its writing was ended.
            trio.BusyResourceError: Another task is sending.
        """
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            self._check_sendable()
            await checkpoint_if_cancelled()
            waited = False
            with memoryview(data) as whole, whole.cast("B") as view:
                sent = 0
                while sent < len(view):
                    with view[sent:] as rest:
                        count = self._write(rest)
                    if count:
                        sent += count
                    else:
                        await trio.lowlevel.wait_writable(self.socket)
                        waited = True
            if not waited:
                await cancel_shielded_checkpoint()
        finally:
            self._sending = False

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Write what fits at once and return its size in bytes; 0 while another task is sending.  Never waits.

        Raises:
            trio.BrokenResourceError: The peer is gone, or the connection broke.
            trio.ClosedResourceError: The stream is closed, or its writing was ended.
        """
        return 0 if self._sending else self._write(data)

    def _write(self, data: bytes | bytearray | memoryview) -> int:
        """Write once; return the count of bytes, 0 when it would block."""
        if self._ended:
            raise trio.ClosedResourceError("the writing of this stream was ended")
        try:
            return self._send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise _failure(error, "send") from error

    def _check_sendable(self) -> None:
        if self._ended or self.socket.fileno() == -1:
            raise trio.ClosedResourceError("this stream was closed, or its writing was ended")

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until at least one byte can be written, or the connection breaks.  Always a checkpoint; cancellable.

        Raises:
            trio.ClosedResourceError: The stream is closed, or was closed meanwhile.
            trio.BusyResourceError: Another task is sending.
        """
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            if self.socket.fileno() == -1:
                raise trio.ClosedResourceError("this stream was closed")
            await trio.lowlevel.wait_writable(self.socket)
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        """Tell the peer that no more comes, and go on reading.  A checkpoint; may be repeated.

        Raises:
            trio.ClosedResourceError: The stream is closed.
            trio.BusyResourceError: Another task is sending.
        """
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        if self.socket.fileno() == -1:
            raise trio.ClosedResourceError("this stream was closed")
        await checkpoint()
        if self._ended:
            return
        self._ended = True
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise _failure(error, "end the writing") from error

    def close(self) -> None:
        """Close both directions; a task that waits is woken.  May be repeated."""
        if self.socket.fileno() != -1:
            if trio.lowlevel.in_trio_run():
                trio.lowlevel.notify_closing(self.socket)
            self.socket.close()

    async def aclose(self) -> None:
        """Close, then pass a checkpoint; a cancelled call has closed too."""
        self.close()
        await checkpoint()


def _failure(error: OSError, what: str) -> Exception:
    # Trio streams know two ways to fail (trio.abc.SendStream); a closed Python socket has the descriptor -1.
    if error.errno == errno.EBADF:
        return trio.ClosedResourceError("this stream was closed")
    return trio.BrokenResourceError(f"cannot {what}: {error}")
