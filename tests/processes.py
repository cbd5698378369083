"""Programs under test as real processes, with their standard streams and a journal in the hands of a test."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import sys
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import trio

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "tests" / "problems" / "programs"
ECHO = (sys.executable, "-m", "trio_mcp_transport", "echo", "stdio")

DEADLINE = 10.0
"""Seconds after which something that should have happened long ago is a failure."""
STARTING = 3.0
"""Seconds a process may take to start on a busy machine."""

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
"""The scripts of the tests import the package as it lies here."""

Kind = Literal["pipe", "socket", "pty", "file", "null"]

MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def request(id_: int | str, method: str, **params: Any) -> dict[str, Any]:
    """Return a plain JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


def modern(id_: int | str, method: str, **params: Any) -> dict[str, Any]:
    """Return a request with the envelope of 2026-07-28."""
    return request(id_, method, **params, _meta=MODERN_META)


def notification(method: str, **params: Any) -> dict[str, Any]:
    """Return a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def handshake(revision: str = "2025-11-25") -> list[dict[str, Any]]:
    """Return the two messages a legacy client begins with; the first has the id 0."""
    info = {"name": "test", "version": "1"}
    return [
        request(0, "initialize", protocolVersion=revision, capabilities={}, clientInfo=info),
        notification("notifications/initialized"),
    ]


def encode(*messages: Any) -> bytes:
    """Return messages as lines."""
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


class Program:
    """A running program.

    ``stdin`` and ``stdout`` are the test's ends, None where the program has a file or ``/dev/null``.  ``its_stdin`` is
    a descriptor of the very description the program got, for looking at its flags.
    """

    def __init__(self, process: trio.Process, ends: _Ends, errors: Path) -> None:
        self.process = process
        self.stdin = ends.stdin
        self.stdout = ends.stdout
        self.its_stdin = ends.kept
        self._buffer = bytearray()
        self._errors = errors

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stderr(self) -> str:
        """What it wrote to standard error so far."""
        return self._errors.read_text("utf-8", "replace")

    async def send(self, *messages: Any) -> None:
        await self.send_bytes(encode(*messages))

    async def send_bytes(self, data: bytes) -> None:
        assert self.stdin is not None
        with trio.fail_after(DEADLINE):
            await self.stdin.send_all(data)

    async def end_input(self) -> None:
        """Close the test's end of its standard input."""
        assert self.stdin is not None
        await self.stdin.aclose()

    async def line(self) -> bytes:
        """Return the next line of its output, b"" at the end."""
        assert self.stdout is not None
        with trio.fail_after(DEADLINE):
            searched = 0
            while (end := self._buffer.find(b"\n", searched)) == -1:
                searched = len(self._buffer)
                data = await self.stdout.receive_some(1 << 20)
                if not data:
                    rest, self._buffer = bytes(self._buffer), bytearray()
                    return rest
                self._buffer += data
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    async def message(self) -> dict[str, Any]:
        """Return the next message of its output."""
        line = await self.line()
        assert line, "the output ended"
        found: dict[str, Any] = json.loads(line)
        return found

    async def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and return the next message."""
        await self.send(message)
        return await self.message()

    async def rest(self) -> list[dict[str, Any]]:
        """Return every message to the end of its output."""
        found = []
        while line := await self.line():
            found.append(json.loads(line))
        return found

    async def wait(self, seconds: float = DEADLINE) -> int:
        """Wait until it has ended, at most ``seconds``, and return its status."""
        with trio.fail_after(seconds):
            return await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def memory(self) -> int:
        """Return its resident set in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Ends:
    """The two ends of each standard stream: theirs as descriptors, ours as Trio streams."""

    def __init__(self) -> None:
        self.stdin: Any = None
        self.stdout: Any = None
        self.kept = -1
        self.theirs: list[int] = []

    def input(self, kind: Kind, content: bytes, folder: Path) -> int:
        if kind == "pipe":
            theirs, ours = os.pipe()
            self.stdin = trio.lowlevel.FdStream(ours)
        elif kind == "socket":
            left, right = socket.socketpair()
            theirs = left.detach()
            self.stdin = trio.SocketStream(trio.socket.from_stdlib_socket(right))
        elif kind == "pty":
            ours, theirs = pty.openpty()
            tty.setraw(theirs)
            self.stdin = trio.lowlevel.FdStream(ours)
        else:
            path = folder / "stdin.jsonl"
            path.write_bytes(content)
            theirs = os.open(path if kind == "file" else os.devnull, os.O_RDONLY)
        self.theirs.append(theirs)
        self.kept = os.dup(theirs)
        return theirs

    def output(self, kind: Kind, folder: Path) -> int:
        if kind == "pipe":
            ours, theirs = os.pipe()
            self.stdout = trio.lowlevel.FdStream(ours)
        elif kind == "socket":
            left, right = socket.socketpair()
            theirs = left.detach()
            self.stdout = trio.SocketStream(trio.socket.from_stdlib_socket(right))
        elif kind == "pty":
            ours, theirs = pty.openpty()
            tty.setraw(theirs)
            self.stdout = _Terminal(trio.lowlevel.FdStream(ours))
        else:
            path = folder / "stdout.jsonl" if kind == "file" else os.devnull
            theirs = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        self.theirs.append(theirs)
        return theirs

    async def aclose(self) -> None:
        for stream in (self.stdin, self.stdout):
            if stream is not None:
                await trio.aclose_forcefully(stream)
        os.close(self.kept)


class _Terminal(trio.abc.ReceiveStream):
    """The master of a pseudo-terminal, whose hang-up Linux reports as EIO (pty(7))."""

    def __init__(self, stream: trio.lowlevel.FdStream) -> None:
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            return await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            return b""

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def running(
    command: tuple[str, ...] | list[str],
    folder: Path,
    *,
    stdin: Kind = "pipe",
    stdout: Kind = "pipe",
    content: bytes = b"",
) -> AsyncIterator[Program]:
    """Run a program for a block; it is killed at the end if it still lives."""
    ends = _Ends()
    errors = folder / "stderr.txt"
    try:
        with errors.open("ab") as log:
            process = await trio.lowlevel.open_process(
                command,
                stdin=ends.input(stdin, content, folder),
                stdout=ends.output(stdout, folder),
                stderr=log,
                cwd=ROOT,
                env=ENVIRONMENT,
            )
        for fd in ends.theirs:
            os.close(fd)
        try:
            yield Program(process, ends, errors)
        finally:
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            await ends.aclose()


def server(folder: Path, *options: str) -> list[str]:
    """Return the command of the journalling server; its journal is read with `journal`."""
    return [sys.executable, str(PROGRAMS / "server.py"), str(folder / "journal.jsonl"), *options]


def journal(folder: Path, event: str | None = None) -> list[dict[str, Any]]:
    """Return what the server noted, oldest first; only ``event`` where it is given."""
    path = folder / "journal.jsonl"
    text = path.read_text() if path.exists() else ""
    # The server may be in the middle of a line: what has no end yet was not noted yet.
    entries = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [entry for entry in entries if event is None or entry["event"] == event]


async def noted(folder: Path, event: str, count: int = 1, *, seconds: float = DEADLINE) -> list[dict[str, Any]]:
    """Wait until the server has noted something, and return it."""
    await until(lambda: len(journal(folder, event)) >= count, seconds=seconds)
    return journal(folder, event)


async def until(condition: Callable[[], object], *, seconds: float = DEADLINE) -> None:
    """Wait for a condition that nobody reports; for other processes only."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - another process changes it
            await trio.sleep(0.002)


async def within(seconds: float, wait: Callable[[], Awaitable[Any]]) -> float:
    """Wait for something that must not take longer; return the seconds it took."""
    began = trio.current_time()
    with trio.fail_after(DEADLINE):
        await wait()
    took = trio.current_time() - began
    assert took < seconds
    return took


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    return False


def cpu_seconds(pid: int) -> float:
    """Return the time a process has spent on a processor, user and system, in seconds; 10 ms fine."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def has_children() -> bool:
    """Return whether this process has children, zombies included."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True
