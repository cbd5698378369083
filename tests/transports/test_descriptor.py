"""What an owned descriptor knows of its file, and what it leaves behind."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator

import pytest

from trio_mcp_transport.transports.descriptor import WIDE_PIPE, Descriptor, widen_pipe


def test_a_pipe_is_made_non_blocking_and_given_back() -> None:
    reader, writer = os.pipe()
    keeper = os.dup(reader)
    one = Descriptor(reader, True)
    assert (one.fifo, one.sock, one.terminal) == (True, None, False)
    assert not os.get_blocking(keeper)
    one.close()
    assert os.get_blocking(keeper)
    assert one.fd == -1
    one.close()
    for fd in (keeper, writer):
        os.close(fd)


def test_a_flag_that_shall_stay_stays() -> None:
    reader, writer = os.pipe()
    keeper = os.dup(reader)
    Descriptor(reader, False).close()
    assert not os.get_blocking(keeper)
    for fd in (keeper, writer):
        os.close(fd)


def test_a_socket_keeps_its_flags() -> None:
    here, there = socket.socketpair()
    with here, there:
        one = Descriptor(os.dup(here.fileno()), True)
        assert one.sock is not None
        assert os.get_blocking(one.fd)
        one.close()


def test_null_blocks_nobody_and_is_left_alone() -> None:
    one = Descriptor(os.open(os.devnull, os.O_RDWR), True)
    assert one.terminal
    assert os.get_blocking(one.fd)
    one.close()


def test_what_is_not_open_is_refused() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Descriptor(fd, True)


def capacity(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(writer)
    os.close(reader)


def test_a_pipe_is_widened_from_either_end_and_a_wider_one_is_left_alone(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    assert capacity(reader) == WIDE_PIPE // 2
    widen_pipe(writer)
    assert capacity(reader) == WIDE_PIPE
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 2 * WIDE_PIPE)
    widen_pipe(writer)
    assert capacity(reader) == 2 * WIDE_PIPE


def test_what_is_no_pipe_and_what_is_not_granted_stays_as_it_is(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = socket.socketpair()
    widen_pipe(one.fileno())
    one.close()
    other.close()
    genuine = fcntl.fcntl

    def refuse(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETPIPE_SZ:
            raise PermissionError("the user's pipes hold too much already")
        return genuine(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    widen_pipe(pipe[0])
    assert capacity(pipe[0]) == WIDE_PIPE // 2


@pytest.mark.parametrize(("size", "asked"), [(4096, WIDE_PIPE // 2), (WIDE_PIPE, WIDE_PIPE), (1 << 20, WIDE_PIPE)])
def test_as_much_is_asked_for_as_a_pipe_holds_within_reason(pipe: tuple[int, int], size: int, asked: int) -> None:
    fcntl.fcntl(pipe[0], fcntl.F_SETPIPE_SZ, size)
    one = Descriptor(os.dup(pipe[0]), True)
    assert one.capacity == asked
    one.close()
