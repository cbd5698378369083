"""What an owned descriptor knows of its file, and what it leaves behind."""

from __future__ import annotations

import os
import socket

import pytest

from trio_mcp_transport.transports.descriptor import Descriptor


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
