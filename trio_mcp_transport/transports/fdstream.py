"""Trio streams over plain file descriptors: pipes, sockets, terminals, regular files and ``/dev/null``.

Only bytes pass here.  This module must never look at what they mean, never start a task or a thread, and never leave
the ``O_NONBLOCK`` flag of somebody else's open file behind.

`trio.lowlevel.FdStream` pays a checkpoint before every call, puts each descriptor into non-blocking mode and takes the
hang-up of a terminal for a failure.  These streams try the system call first and wait only when it would block.
"""

from __future__ import annotations

import errno
import os
import socket

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint,
    checkpoint_if_cancelled,
    wait_readable,
    wait_writable,
)

from .descriptor import Descriptor

__all__ = ["FdPair", "FdReceiveStream", "FdSendStream"]

# A socket takes "do not wait" per call, so that its shared flags stay untouched; a reader that left is an error of the
# call, not a signal.  macOS has no MSG_NOSIGNAL; Python ignores SIGPIPE in any case.
_SOCKET_FLAGS = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)


class FdReceiveStream(trio.abc.ReceiveStream):
    """Read bytes from a file descriptor, which this stream owns from now on.

    ``O_NONBLOCK`` is set on pipes and terminals only, and put back on close: files never block, and sockets are asked
    per call.

    Args:
        fd: An open descriptor of any kind.
        restore_flags: Put ``O_NONBLOCK`` back on close.  Say False where two streams use one open file description
            (``os.dup``): the first to close would make the other one blocking.

    Raises:
        OSError: ``fd`` is not open.
    """

    def __init__(self, fd: int, *, restore_flags: bool = True) -> None:
        self._file = Descriptor(fd, restore_flags)
        self._busy = False
        self._emptied = False

    def fileno(self) -> int:
        """Return the descriptor, or -1 after close."""
        return self._file.fd

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Read what is there, waiting when nothing is.

        Exactly one checkpoint when bytes are there already, and one per wait otherwise.  A cancelled call has read
        nothing: bytes once read are always returned.

        Args:
            max_bytes: The most to return, in bytes; what a pipe holds when None, 64 KiB for other files.

        Returns:
            At least one byte, or ``b""`` at the end of input, the hang-up of a terminal (``EIO``) included.

        Raises:
            trio.BrokenResourceError: The system call failed.
            trio.ClosedResourceError: The stream is closed, or was closed meanwhile.
            trio.BusyResourceError: Another task is receiving.
        """
        if max_bytes is None:
            max_bytes = self._file.capacity
        elif type(max_bytes) is not int:
            raise TypeError("max_bytes must be an integer")
        elif max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._busy:
            raise trio.BusyResourceError("another task is receiving from this stream")
        self._busy = True
        try:
            await checkpoint_if_cancelled()
            waited = False
            if self._emptied and self._file.fd != -1:
                # The last read took all there was: to wait at once costs less than to be told that it would block.
                self._emptied = False
                await wait_readable(self._file.fd)
                waited = True
            while True:
                fd = self._file.fd
                if fd == -1:
                    raise trio.ClosedResourceError("this stream was closed")
                try:
                    data = self._read(fd, max_bytes)
                except BlockingIOError:
                    await wait_readable(fd)
                    waited = True
                    continue
                self._emptied = self._file.fifo and 0 < len(data) < max_bytes
                if not waited:
                    # The bytes are out of the kernel: a cancellation now would lose them.
                    await cancel_shielded_checkpoint()
                return data
        finally:
            self._busy = False

    def _read(self, fd: int, max_bytes: int) -> bytes:
        try:
            if self._file.sock is None:
                return os.read(fd, max_bytes)
            return self._file.sock.recv(max_bytes, _SOCKET_FLAGS)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno == errno.EIO and self._file.terminal:
                return b""  # Linux says so once the other end of a pseudo-terminal is closed (pty(7)).
            raise trio.BrokenResourceError(f"cannot read: {error}") from error

    def close(self) -> None:
        """Put the flag back and close the descriptor; a task waiting in `receive_some` is woken.  May be repeated."""
        self._file.close()

    async def aclose(self) -> None:
        """Close, then pass a checkpoint; a cancelled call has closed too."""
        self._file.close()
        await checkpoint()


class FdSendStream(trio.abc.SendStream):
    """Write bytes to a file descriptor, which this stream owns from now on.

    Args:
        fd: An open descriptor of any kind.
        restore_flags: As for `FdReceiveStream`.

    Raises:
        OSError: ``fd`` is not open.
    """

    def __init__(self, fd: int, *, restore_flags: bool = True) -> None:
        self._file = Descriptor(fd, restore_flags)
        self._busy = False

    def fileno(self) -> int:
        """Return the descriptor, or -1 after close."""
        return self._file.fd

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data``, waiting whenever the other side is full.

        One checkpoint when everything fits at once, and one per wait otherwise.  A call that is cancelled before its
        first byte has written nothing; one cancelled while it waits may leave a torn frame, after which nothing more
        may be sent.  Data that was written completely is never reported as cancelled.

        Raises:
            trio.BrokenResourceError: The reader is gone or the system call failed.
            trio.ClosedResourceError: The stream is closed, or was closed meanwhile.
            trio.BusyResourceError: Another task is sending.
        """
        if self._busy:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._busy = True
        try:
            if self._file.fd == -1:
                raise trio.ClosedResourceError("this stream was closed")
            await checkpoint_if_cancelled()
            sent = self._write(data) if data else 0
            size = data.nbytes if isinstance(data, memoryview) else len(data)
            if sent == size:
                await cancel_shielded_checkpoint()
            else:
                await self._send_rest(data, sent)
        finally:
            self._busy = False

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Write what fits at once and return its size in bytes; 0 while another task is sending.  Never waits.

        Raises:
            trio.BrokenResourceError: The reader is gone or the system call failed.
            trio.ClosedResourceError: The stream is closed.
        """
        return 0 if self._busy else self._write(data)

    async def _send_rest(self, data: bytes | bytearray | memoryview, sent: int) -> None:
        waited = False
        with memoryview(data) as whole, whole.cast("B") as view:
            while sent < len(view):
                with view[sent:] as rest:
                    count = self._write(rest)
                if count:
                    sent += count
                else:
                    await wait_writable(self._file.fd)
                    waited = True
        if not waited:
            await cancel_shielded_checkpoint()

    def _write(self, data: bytes | bytearray | memoryview) -> int:
        """Write once; return the count of bytes, 0 when it would block."""
        file = self._file
        if file.fd == -1:
            raise trio.ClosedResourceError("this stream was closed")
        try:
            if file.sock is None:
                return os.write(file.fd, data)
            return file.sock.send(data, _SOCKET_FLAGS)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError(f"cannot write: {error}") from error

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until at least one byte can be written, or the stream breaks.  Always a checkpoint; cancellable."""
        if self._busy:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._busy = True
        try:
            if self._file.fd == -1:
                raise trio.ClosedResourceError("this stream was closed")
            try:
                await wait_writable(self._file.fd)
            except PermissionError:
                await checkpoint()  # epoll_ctl(2): the file is always ready, as regular files are.
        finally:
            self._busy = False

    def close(self) -> None:
        """Put the flag back and close the descriptor; a task waiting in `send_all` is woken.  May be repeated."""
        self._file.close()

    async def aclose(self) -> None:
        """Close, then pass a checkpoint; a cancelled call has closed too."""
        self._file.close()
        await checkpoint()

    async def send_eof(self) -> None:
        """Tell the reader that no more comes: close, and on a socket shut the sending half down first.

        Always closes, then passes a checkpoint.

        Raises:
            trio.BusyResourceError: Another task is sending.
        """
        if self._busy:
            raise trio.BusyResourceError("another task is sending on this stream")
        sock = self._file.sock
        if sock is not None and self._file.fd != -1:
            # Another descriptor of this socket is open when it is read too, and closing one of two says nothing.
            try:
                sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    raise
        await self.aclose()


class FdPair(trio.abc.HalfCloseableStream):
    """Join a send and a receive stream into one duplex stream, and own both.

    Attributes:
        send_stream: Where `send_all` writes.
        receive_stream: Where `receive_some` reads.
    """

    def __init__(self, send: FdSendStream, receive: FdReceiveStream) -> None:
        self.send_stream = send
        self.receive_stream = receive

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data``; see `FdSendStream.send_all`."""
        await self.send_stream.send_all(data)

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Write what fits at once, as `FdSendStream.send_nowait`."""
        return self.send_stream.send_nowait(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until a byte can be written; see `FdSendStream.wait_send_all_might_not_block`."""
        await self.send_stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Read what is there; see `FdReceiveStream.receive_some`."""
        return await self.receive_stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """Close the sending half only; see `FdSendStream.send_eof`."""
        await self.send_stream.send_eof()

    def close(self) -> None:
        """Close both halves at once, waking their waiters.  May be repeated."""
        try:
            self.send_stream.close()
        finally:
            self.receive_stream.close()

    async def aclose(self) -> None:
        """Close both halves, then pass a checkpoint; a cancelled call has closed too."""
        self.close()
        await checkpoint()
