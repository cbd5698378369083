"""Noticing that a reader left: on every kind of descriptor, and only then."""

from __future__ import annotations

import os
import pty
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_mcp_transport.transports.hangup import wait_hangup

QUIET = 0.02
"""Seconds in which nothing happens; real ones, because the kernel keeps no virtual clock."""


def pipe() -> tuple[int, Callable[[], None]]:
    reader, writer = os.pipe()
    return writer, lambda: os.close(reader)


def sockets() -> tuple[int, Callable[[], None]]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.close


def terminal() -> tuple[int, Callable[[], None]]:
    master, slave = pty.openpty()
    return slave, lambda: os.close(master)


@contextmanager
def closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.mark.parametrize("make", [pipe, sockets, terminal])
async def test_it_waits_while_somebody_reads_and_returns_once_nobody_does(
    make: Callable[[], tuple[int, Callable[[], None]]],
) -> None:
    fd, leave = make()
    with closing(fd):
        with trio.move_on_after(QUIET) as waiting:
            await wait_hangup(fd)
        assert waiting.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_hangup, fd)
            await trio.testing.wait_all_tasks_blocked()
            leave()
            nursery.cancel_scope.deadline = trio.current_time() + 1
        assert not nursery.cancel_scope.cancelled_caught


async def test_a_full_pipe_with_a_reader_is_no_hangup() -> None:
    reader, writer = os.pipe()
    with closing(reader), closing(writer):
        os.set_blocking(writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(65536))
        with trio.move_on_after(QUIET) as waiting:
            await wait_hangup(writer)
        assert waiting.cancelled_caught


async def test_a_peer_that_only_stopped_writing_still_reads() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.shutdown(socket.SHUT_WR)
        with trio.move_on_after(QUIET) as waiting:
            await wait_hangup(ours.fileno())
        assert waiting.cancelled_caught


@pytest.mark.parametrize("kind", ["file", "null"])
async def test_files_have_no_other_end(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out" if kind == "file" else os.devnull
    with closing(os.open(path, os.O_WRONLY | os.O_CREAT)) as fd:
        with trio.move_on_after(QUIET) as waiting:
            await wait_hangup(fd)
        assert waiting.cancelled_caught


async def test_a_cancelled_wait_leaves_no_descriptor() -> None:
    reader, writer = os.pipe()
    with closing(reader), closing(writer):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            with trio.CancelScope() as scope:
                scope.cancel()
                await wait_hangup(writer)
        assert len(os.listdir("/proc/self/fd")) == before
