"""The driver: keeps N calls in flight on a child's stdin and stdout, and times each answer.

Blocking and single-threaded on purpose: it has a CPU of its own and must never be the thing that is measured.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import attrs

from .accounting import Placement
from .workload import INITIALIZE, INITIALIZED, LEGACY, Workload, WrongAnswer

SILENCE_LIMIT = 30.0  # seconds without a byte before a contender counts as hung
READ_SIZE = 1 << 20


class ContenderFailed(Exception):
    """A contender did not start, ended early, hung, or answered wrongly."""


class Peer:
    """A contender running as a child, with its stdin and stdout in our hands.

    Use as a context manager; leaving closes stdin, waits two seconds and then kills.
    """

    def __init__(self, command: Sequence[str], placement: Placement, environment: Mapping[str, str], cwd: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__, with the process
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
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
        assert self._process.stdin is not None and self._process.stdout is not None
        self.stdin = self._process.stdin.fileno()
        self.stdout = self._process.stdout.fileno()
        os.set_blocking(self.stdin, False)
        os.set_blocking(self.stdout, False)
        self.tail: list[bytes] = []

    @property
    def pid(self) -> int:
        """The process id of the contender."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

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

    def read_lines(self) -> list[bytes]:
        """Read what is there and return the complete lines.

        Raises:
            ContenderFailed: End of file.
        """
        try:
            chunk = os.read(self.stdout, READ_SIZE)
        except BlockingIOError:
            return []
        if not chunk:
            raise self.explain("ended before it had answered everything")
        lines = chunk.split(b"\n")
        if len(lines) == 1:
            self.tail.append(chunk)
            return []
        lines[0] = b"".join([*self.tail, lines[0]])
        self.tail = [lines.pop()]
        return [line for line in lines if line]


@attrs.frozen
class Drive:
    """What one drive saw from outside.

    Attributes:
        messages: Number of calls answered.
        seconds: Wall-clock time from the first byte to the last.
        latencies: Nanoseconds from handing over to answer, one per call.
    """

    messages: int
    seconds: float
    latencies: list[int]


def shake_hands(peer: Peer) -> None:
    """Open a legacy connection with `initialize`.

    Raises:
        ContenderFailed: No answer, or the wrong one.
    """
    os.write(peer.stdin, INITIALIZE)
    poller = select.poll()
    poller.register(peer.stdout, select.POLLIN)
    lines: list[bytes] = []
    while not lines:
        if not poller.poll(SILENCE_LIMIT * 1000):
            raise peer.explain("did not answer initialize")
        lines = peer.read_lines()
    if b'"error"' in lines[0]:
        raise ContenderFailed(f"refused initialize: {lines[0][:300]!r}")
    os.write(peer.stdin, INITIALIZED)


def open_era(peer: Peer, workload: Workload) -> None:
    """Do what the workload's era demands before the first call."""
    if workload.era == LEGACY:
        shake_hands(peer)


def drive(peer: Peer, workload: Workload, *, first: int, count: int, in_flight: int) -> Drive:
    """Make `count` calls numbered from `first`, with at most `in_flight` unanswered, and check every answer.

    Raises:
        ContenderFailed: Early end, silence, or a wrong answer.
    """
    sent_at: dict[int, int] = {}
    latencies: list[int] = []
    number, stop = first, first + count
    unsent = memoryview(b"")
    poller = select.poll()
    poller.register(peer.stdout, select.POLLIN)
    poller.register(peer.stdin, 0)
    started = time.perf_counter()
    while len(latencies) < count:
        if not unsent and (room := min(in_flight - len(sent_at), stop - number)):
            unsent = memoryview(b"".join(map(workload.request, range(number, number + room))))
            sent_at.update(dict.fromkeys(range(number, number + room), time.perf_counter_ns()))
            number += room
        unsent = _write_some(peer, unsent)
        poller.modify(peer.stdin, select.POLLOUT if unsent else 0)
        if not poller.poll(SILENCE_LIMIT * 1000):
            raise peer.explain(f"silent for {SILENCE_LIMIT:.0f} s with {len(sent_at)} calls open")
        _settle_answers(peer, workload, sent_at, latencies)
    return Drive(count, time.perf_counter() - started, latencies)


def _write_some(peer: Peer, data: memoryview) -> memoryview:
    if not data:
        return data
    try:
        return data[os.write(peer.stdin, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        raise peer.explain("closed its stdin") from None


def _settle_answers(peer: Peer, workload: Workload, sent_at: dict[int, int], latencies: list[int]) -> None:
    lines = peer.read_lines()
    now = time.perf_counter_ns()
    for line in lines:
        try:
            number = workload.check(line)
        except WrongAnswer as error:
            raise ContenderFailed(str(error)) from error
        if number is None:
            continue
        if number not in sent_at:
            raise ContenderFailed(f"answered id {number}, which is not open")
        latencies.append(now - sent_at.pop(number))
