"""Standard input and output while they carry a protocol, in real processes: nothing strays, nothing stays changed."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import tty
from pathlib import Path
from typing import Any

import pytest

from trio_mcp_transport.transports import stdio_guard

ROOT = str(Path(stdio_guard.__file__).parents[2])
DEADLINE = 20.0

# What every process below starts with; findings leave through the descriptor in argv[1], as one JSON document.
PRELUDE = """
import fcntl, json, os, subprocess, sys, threading
import trio
from trio_mcp_transport.errors import ConnectionFailed, LocalProtocolError
from trio_mcp_transport.transports.stdio_guard import StdioGuard

REPORT = int(sys.argv[1])

def report(found):
    os.write(REPORT, json.dumps(found).encode())

def snapshot():
    standard = []
    for fd in (0, 1, 2):
        status = os.fstat(fd)
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        standard.append([status.st_mode, status.st_dev, status.st_ino, status.st_rdev, flags, os.get_inheritable(fd)])
    return {"standard": standard, "fds": len(os.listdir("/proc/self/fd")), "threads": threading.active_count()}
"""

SERVE_THREE_TIMES = """
async def serve(how):
    during = {}
    with trio.CancelScope() as scope:
        with StdioGuard() as guard:
            print("stray print")
            os.write(1, b"stray write\\n")
            subprocess.run(["sh", "-c", "echo stray child; cat"])
            during["stderr is blocking"] = os.get_blocking(2)
            during["received"] = (await guard.receive_stream.receive_some(3)).decode()
            await guard.send_stream.send_all(b"wire")
            if how == "exception":
                raise ValueError(how)
            if how == "cancel":
                scope.cancel()
                await guard.receive_stream.receive_some()
    during["cancelled"] = scope.cancelled_caught
    return during

async def main():
    rounds = []
    before = snapshot()
    for how in ("return", "exception", "cancel"):
        try:
            during = await serve(how)
        except ValueError:
            during = {"raised": True}
        rounds.append([how, during, snapshot()])
    report({"before": before, "rounds": rounds})

trio.run(main)
"""


class Run:
    """One Python process whose standard descriptors the test made; the process owns the only copies."""

    def __init__(self, code: str, stdin: int, stdout: int, stderr: int, prefix: tuple[str, ...] = ()) -> None:
        self._report, report = os.pipe()
        command = [*prefix, sys.executable, "-c", PRELUDE + code, str(report)]
        # Empty is unset: a print has to sit in its buffer for these tests to mean anything.
        environment = {**os.environ, "PYTHONPATH": ROOT, "PYTHONUNBUFFERED": ""}
        self.process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=[report], env=environment
        )
        os.close(report)

    def report(self) -> Any:
        """Return what the process reported, once it has ended."""
        document = read_all(self._report)
        os.close(self._report)
        status = self.process.wait(DEADLINE)
        assert status == 0, (status, document)
        return json.loads(document)


def read_all(fd: int) -> bytes:
    """Read to the end of input, with a deadline per chunk; the hang-up of a terminal is the end."""
    chunks: list[bytes] = []
    while True:
        assert select.select([fd], [], [], DEADLINE)[0], "the process does not answer"
        try:
            chunk = os.read(fd, 65536)
        except OSError:
            chunk = b""
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)


class Setup:
    """A standard input and output of one kind; ``wire`` reads what the process wrote."""

    def __init__(self, kind: str, tmp_path: Path) -> None:
        self.kind = kind
        self.kept: list[int] = []
        data = b"onetwosix"
        if kind == "pipe":
            self.stdin, peer = os.pipe()
            os.write(peer, data)
            self.output, self.stdout = os.pipe()
            self.kept = [peer]  # Held open: the cancelled round waits for input.
        elif kind == "socket":
            ours, theirs = socket.socketpair()
            ours.send(data)
            self.output = ours.detach()
            self.stdin = theirs.detach()
            self.stdout = os.dup(self.stdin)
        elif kind == "terminal":
            self.output, self.stdin = pty.openpty()
            tty.setraw(self.stdin)
            self.stdout = os.dup(self.stdin)
            os.write(self.output, data)
        elif kind == "file":
            (tmp_path / "input").write_bytes(data)
            self.stdin = os.open(tmp_path / "input", os.O_RDONLY)
            self.stdout = os.open(tmp_path / "output", os.O_CREAT | os.O_WRONLY)
            self.output = os.open(tmp_path / "output", os.O_RDONLY)
        else:
            self.stdin = os.open(os.devnull, os.O_RDONLY)
            self.stdout = os.open(os.devnull, os.O_WRONLY)
            self.output = os.open(os.devnull, os.O_RDONLY)

    def wire(self) -> bytes:
        for fd in (self.stdin, self.stdout):
            os.close(fd)
        written = read_all(self.output)
        for fd in (self.output, *self.kept):
            os.close(fd)
        return written


@pytest.mark.requirement("M-IO-04")
@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal", "file", "null"])
def test_nothing_strays_and_everything_is_put_back_on_every_exit_path(kind: str, tmp_path: Path) -> None:
    setup = Setup(kind, tmp_path)
    log, log_writer = os.pipe()
    run = Run(SERVE_THREE_TIMES, setup.stdin, setup.stdout, log_writer)
    os.close(log_writer)
    found = run.report()
    assert [entry[0] for entry in found["rounds"]] == ["return", "exception", "cancel"]
    for how, _, after in found["rounds"]:
        assert after == found["before"], how
    received = [during.get("received") for _, during, _ in found["rounds"]]
    assert received == (["", None, ""] if kind == "null" else ["one", None, "six"])
    assert found["rounds"][1][1] == {"raised": True}
    assert [found["rounds"][index][1]["cancelled"] for index in (0, 2)] == [False, True]
    assert setup.wire() == (b"" if kind == "null" else b"wire" * 3)
    strays = read_all(log).decode().splitlines()
    os.close(log)
    assert sorted(strays) == ["stray child"] * 3 + ["stray print"] * 3 + ["stray write"] * 3


@pytest.mark.requirement("M-IO-06")
def test_a_terminal_shared_with_standard_error_stays_blocking_for_it(tmp_path: Path) -> None:
    setup = Setup("terminal", tmp_path)
    found = Run(SERVE_THREE_TIMES, setup.stdin, setup.stdout, setup.stdout).report()
    assert found["rounds"][0][1]["stderr is blocking"]
    assert found["rounds"][2][2] == found["before"]
    setup.wire()


def test_a_pipe_shared_with_standard_error_stays_blocking_for_it(tmp_path: Path) -> None:
    setup = Setup("pipe", tmp_path)
    found = Run(SERVE_THREE_TIMES, setup.stdin, setup.stdout, setup.stdout).report()
    assert found["rounds"][0][1]["stderr is blocking"]
    assert found["rounds"][2][2] == found["before"]
    setup.wire()


@pytest.mark.parametrize("kind", ["pipe", "terminal", "socket"])
def test_a_killed_process_leaves_no_flag_behind_on_what_it_shared(kind: str, tmp_path: Path) -> None:
    setup = Setup(kind, tmp_path)
    code = """
async def main():
    with StdioGuard() as guard:
        await guard.receive_stream.receive_some()
        await guard.send_stream.send_all(b"up")
        await guard.receive_stream.receive_some()
trio.run(main)
"""
    run = Run(code, setup.stdin, setup.stdout, subprocess.DEVNULL)
    assert select.select([setup.output], [], [], DEADLINE)[0]
    os.kill(run.process.pid, signal.SIGKILL)
    assert run.process.wait(DEADLINE) == -signal.SIGKILL
    assert os.get_blocking(setup.stdin)
    assert os.get_blocking(setup.stdout)
    os.close(run._report)
    assert setup.wire() == b"up"


def test_two_hundred_cycles_leave_descriptors_flags_and_threads_as_they_were(tmp_path: Path) -> None:
    setup = Setup("pipe", tmp_path)
    code = """
async def main():
    before = snapshot()
    for _ in range(200):
        with StdioGuard() as guard:
            await guard.send_stream.send_all(b".")
            with trio.CancelScope() as scope:
                scope.cancel()
                await guard.receive_stream.receive_some()
    report({"before": before, "after": snapshot()})
trio.run(main)
"""
    found = Run(code, setup.stdin, setup.stdout, subprocess.DEVNULL).report()
    assert found["after"] == found["before"]
    assert setup.wire() == b"." * 200


def test_prints_before_and_after_the_block_reach_standard_output(tmp_path: Path) -> None:
    setup = Setup("pipe", tmp_path)
    code = """
print("before")
with StdioGuard():
    print("inside")
print("after")
report(None)
"""
    Run(code, setup.stdin, setup.stdout, subprocess.DEVNULL).report()
    assert setup.wire() == b"before\nafter\n"


@pytest.mark.requirement("M-IO-04")
def test_a_print_that_standard_error_refuses_never_reaches_the_wire(tmp_path: Path) -> None:
    setup = Setup("pipe", tmp_path)
    log, log_writer = os.pipe()
    os.close(log)
    code = """
with StdioGuard():
    print("stray")
report(None)
"""
    run = Run(code, setup.stdin, setup.stdout, log_writer)
    os.close(log_writer)
    run.report()
    assert setup.wire() == b""


def test_a_second_guard_is_refused_while_the_first_goes_on(tmp_path: Path) -> None:
    setup = Setup("pipe", tmp_path)
    code = """
async def main():
    before = snapshot()
    with StdioGuard() as guard:
        inside = snapshot()
        try:
            StdioGuard().__enter__()
        except LocalProtocolError as error:
            refusal = str(error)
        unchanged = snapshot() == inside
        await guard.send_stream.send_all(await guard.receive_stream.receive_some())
        await guard.pair.aclose()
    with StdioGuard() as again:
        await again.send_stream.send_all(b"!")
    report([refusal, unchanged, snapshot() == before])
trio.run(main)
"""
    refusal, unchanged, restored = Run(code, setup.stdin, setup.stdout, subprocess.DEVNULL).report()
    assert "already taken" in refusal
    assert unchanged
    assert restored
    assert setup.wire() == b"onetwosix!"


def with_closed(redirection: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", f'exec "$0" "$@" {redirection}')


@pytest.mark.parametrize(
    ("redirection", "name"), [("<&-", "standard input"), (">&-", "standard output")], ids=["input", "output"]
)
def test_a_closed_descriptor_is_one_clear_error(redirection: str, name: str, tmp_path: Path) -> None:
    setup = Setup("pipe", tmp_path)
    code = """
async def main():
    try:
        StdioGuard().__enter__()
    except ConnectionFailed as error:
        report(str(error))
trio.run(main)
"""
    message = Run(code, setup.stdin, setup.stdout, subprocess.DEVNULL, with_closed(redirection)).report()
    assert message.startswith("cannot serve over stdio: " + name)
    assert "closed" in message
    assert setup.wire() == b""


def test_strays_go_to_dev_null_when_standard_error_is_closed(tmp_path: Path) -> None:
    setup = Setup("pipe", tmp_path)
    code = """
before = len(os.listdir("/proc/self/fd"))
with StdioGuard() as guard:
    print("stray", flush=True)
    os.write(1, b"stray")
    os.write(guard.send_stream.fileno(), b"wire")
    low = min(guard.send_stream.fileno(), guard.receive_stream.fileno())
try:
    os.fstat(2)
    reopened = True
except OSError:
    reopened = False
report([low, reopened, len(os.listdir("/proc/self/fd")) - before])
"""
    low, reopened, leaked = Run(code, setup.stdin, setup.stdout, subprocess.DEVNULL, with_closed("2>&-")).report()
    assert low > 2
    assert not reopened
    assert leaked == 0
    assert setup.wire() == b"wire"


def test_children_inherit_no_way_to_the_wire(tmp_path: Path) -> None:
    setup = Setup("pipe", tmp_path)
    code = """
with StdioGuard() as guard:
    fds = [guard.receive_stream.fileno(), guard.send_stream.fileno()]
    listing = subprocess.run(["ls", "/proc/self/fd"], close_fds=False, stdout=subprocess.PIPE).stdout.split()
    report([fds, [int(name) for name in listing]])
"""
    private, inherited = Run(code, setup.stdin, setup.stdout, subprocess.DEVNULL).report()
    assert not set(private) & (set(inherited) - {3})  # 3 is the open listing itself.
    assert setup.wire() == b""


def test_a_flag_that_had_to_be_shared_is_put_back(tmp_path: Path) -> None:
    # A named pipe without a reader cannot be opened again (fifo(7): ENXIO), so that the guard has to use a duplicate.
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "fifo", os.O_WRONLY)
    os.close(reader)
    code = """
async def main():
    before = snapshot()
    with StdioGuard() as guard:
        blocking = os.get_blocking(guard.send_stream.fileno())
        try:
            await guard.send_stream.send_all(b"x")
        except trio.BrokenResourceError:
            broken = True
    report([blocking, broken, snapshot() == before])
trio.run(main)
"""
    blocking_inside, broken, restored = Run(code, subprocess.DEVNULL, writer, subprocess.DEVNULL).report()
    assert not blocking_inside
    assert broken
    assert restored
    assert os.get_blocking(writer)
    os.close(writer)
