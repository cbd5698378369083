"""A contender as a child process, and the descriptors over which it is driven: its pipes, or a socket it listens on.

Only the driver talks to it; nothing here may look into a message.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from .accounting import Placement
from .framing import Framing, FramingBroken, check_upgrade, upgrade_request

START_LIMIT = 30.0  # seconds until a socket server must have said where it listens, and until it must have answered
READ_SIZE = 1 << 20


class ContenderFailed(Exception):
    """A contender did not start, ended early, hung, or answered wrongly."""


class Peer:
    """A contender running as a child.

    Use as a context manager; leaving asks it to end, waits two seconds and then kills.

    Attributes:
        source: Non-blocking descriptor its answers come from.
        sink: Non-blocking descriptor its requests go to; may be the same.
        framing: How messages become bytes.
    """

    source: int
    sink: int

    def __init__(
        self,
        command: Sequence[str],
        placement: Placement,
        environment: Mapping[str, str],
        cwd: str,
        *,
        stdin: int,
        framing: Framing,
    ) -> None:
        self.framing = framing
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__, with the process
        try:
            self._process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
                env=dict(environment),
                cwd=cwd,
                preexec_fn=placement.pin_subject,
            )
        except OSError as error:
            self._errors.close()
            raise ContenderFailed(f"{command[0]}: {error}") from error

    @property
    def pid(self) -> int:
        """The process id of the contender."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ask_to_end()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def _ask_to_end(self) -> None:
        raise NotImplementedError

    def explain(self, what: str) -> ContenderFailed:
        """Make the error that says what happened, with exit status and the last lines on stderr."""
        try:
            status = f"exit status {self._process.wait(timeout=0.5)}"
        except subprocess.TimeoutExpired:
            status = "still running"
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 600))
        last = self._errors.read().decode(errors="replace").strip().replace("\n", " | ")
        return ContenderFailed(f"{what} ({status}) {last}".strip())

    def read_messages(self) -> list[bytes]:
        """Read what is there and return the complete messages.

        Raises:
            ContenderFailed: End of file, or bytes that are not its framing.
        """
        try:
            chunk = os.read(self.source, READ_SIZE)
        except BlockingIOError:
            return []
        except ConnectionError as error:
            raise self.explain(f"broke the connection: {error}") from None
        if not chunk:
            raise self.explain("ended before it had answered everything")
        try:
            return self.framing.cut(chunk)
        except FramingBroken as error:
            raise self.explain(str(error)) from error

    def write_some(self, data: memoryview) -> memoryview:
        """Write what fits and return the rest.

        Raises:
            ContenderFailed: It reads no more.
        """
        try:
            return data[os.write(self.sink, data) :]
        except BlockingIOError:
            return data
        except ConnectionError:
            raise self.explain("closed its input") from None


class PipePeer(Peer):
    """A contender with its stdin and stdout in our hands; end of input ends it."""

    def __init__(
        self,
        command: Sequence[str],
        placement: Placement,
        environment: Mapping[str, str],
        cwd: str,
        *,
        framing: Framing,
    ) -> None:
        super().__init__(command, placement, environment, cwd, stdin=subprocess.PIPE, framing=framing)
        assert self._process.stdin is not None and self._process.stdout is not None
        self.sink = self._process.stdin.fileno()
        self.source = self._process.stdout.fileno()
        os.set_blocking(self.sink, False)
        os.set_blocking(self.source, False)

    def _ask_to_end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()


class SocketPeer(Peer):
    """A contender that prints its address as the first line, and one connection to it; SIGTERM ends it.

    `{directory}` in its command is replaced by a directory of its own, for the path of a Unix socket.
    """

    def __init__(
        self,
        command: Sequence[str],
        placement: Placement,
        environment: Mapping[str, str],
        cwd: str,
        *,
        framing: Framing,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="bench-")
        self._socket: socket.socket | None = None
        filled = [part.replace("{directory}", self._directory.name) for part in command]
        super().__init__(filled, placement, environment, cwd, stdin=subprocess.DEVNULL, framing=framing)

    def __enter__(self) -> Self:
        try:
            self._socket = self._connect(self._read_address())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._socket.setblocking(False)
        self.source = self.sink = self._socket.fileno()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._directory.cleanup()

    def _ask_to_end(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._process.send_signal(signal.SIGTERM)

    def _read_address(self) -> str:
        assert self._process.stdout is not None
        stdout, line = self._process.stdout.fileno(), b""
        poller = select.poll()
        poller.register(stdout, select.POLLIN)
        deadline = time.monotonic() + START_LIMIT
        while not line.endswith(b"\n"):
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise self.explain("did not say where it listens")
            piece = os.read(stdout, 1)  # a line, once per process: no byte of what follows may be taken
            if not piece:
                raise self.explain("ended before it said where it listens")
            line += piece
        return os.fsdecode(line.split()[0]) if line.split() else ""

    def _connect(self, address: str) -> socket.socket:
        scheme, _, rest = address.partition(":")
        try:
            if scheme == "unix":
                connection = socket.socket(socket.AF_UNIX)
                connection.settimeout(START_LIMIT)
                connection.connect(rest.partition("?")[0])
                return connection
            where = rest.lstrip("/").partition("?")[0].rstrip("/")
            host, _, port = where.rpartition(":")
            connection = socket.create_connection((host, int(port)), START_LIMIT)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if scheme == "ws":
                self._upgrade(connection, where)
        except (OSError, ValueError) as error:
            raise self.explain(f"cannot connect to {address!r}: {error}") from error
        return connection

    def _upgrade(self, connection: socket.socket, host: str) -> None:
        connection.sendall(upgrade_request(host))
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(READ_SIZE)
            if not piece:
                raise self.explain(f"ended in the handshake: {head[:300]!r}")
            head += piece
        if not head.endswith(b"\r\n\r\n"):
            raise self.explain("spoke before it was asked")
        try:
            check_upgrade(head)
        except FramingBroken as error:
            raise self.explain(str(error)) from error
