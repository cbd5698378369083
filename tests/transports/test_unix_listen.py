"""A Unix socket appears for its owner only, replaces nothing but a dead one, and goes only if it is ours."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport.errors import ConfigError, ConnectionFailed
from trio_mcp_transport.transports.unix_listen import (
    LONGEST_PATH,
    PATIENCE,
    check_path,
    listen_at,
    open_unix_listener,
)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_mode_is_what_was_asked_for_whatever_the_umask(path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        listener = listen_at(str(path), mode)
    finally:
        assert os.umask(before) == umask
    assert mode_of(path) == mode
    listener.close()
    assert not path.exists()


def test_there_is_no_moment_with_another_mode(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []

    class Watched(socket.socket):
        def bind(self, address: Any) -> None:
            super().bind(address)
            modes.append(mode_of(path))

        def listen(self, backlog: int = 0) -> None:
            modes.append(mode_of(path))
            super().listen(backlog)

    monkeypatch.setattr(socket, "socket", Watched)
    before = os.umask(0)
    try:
        listen_at(str(path), 0o600).close()
    finally:
        os.umask(before)
    assert modes == [0o600, 0o600]


def test_a_dead_socket_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.is_socket()
    listener = listen_at(str(path), 0o600)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()
    assert not path.exists()


@pytest.mark.parametrize("full", [False, True])
def test_a_living_one_is_not(path: Path, full: bool) -> None:
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(0)
        waiting = []
        if full:
            with suppress(BlockingIOError):
                while True:
                    waiting.append(socket.socket(socket.AF_UNIX))
                    waiting[-1].setblocking(False)
                    waiting[-1].connect(str(path))
        with pytest.raises(ConnectionFailed, match=f"unix:{path}: another server listens there"):
            listen_at(str(path), 0o600)
        assert path.is_socket()
        for one in waiting:
            one.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link to a file", "pipe"])
def test_what_is_no_socket_is_never_removed(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.with_name("precious").write_text("precious")
        path.symlink_to("precious")
    with pytest.raises(ConfigError, match="no socket"):
        listen_at(str(path), 0o600)
    assert path.exists()


def test_a_socket_of_another_kind_is_not_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(ConnectionFailed, match=str(path)):
            listen_at(str(path), 0o600)
        assert path.is_socket()


def test_only_ours_is_removed_in_the_end(path: Path) -> None:
    first = listen_at(str(path), 0o600)
    path.unlink()
    second = listen_at(str(path), 0o600)
    first.close()
    assert path.is_socket()
    second.close()
    assert not path.exists()
    third = listen_at(str(path), 0o600)
    path.unlink()
    path.write_text("precious")
    third.close()
    assert path.read_text() == "precious"
    path.unlink()
    listen_at(str(path), 0o600).close()
    assert list(path.parent.iterdir()) == []  # and no lock file either


async def test_of_two_that_start_at_once_one_finds_the_other(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # as the other one does, between its look and its socket
    found: list[ConnectionFailed] = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def start() -> None:
            with pytest.raises(ConnectionFailed, match="another server listens there") as caught:
                await open_unix_listener(str(path), 0o600)
            found.append(caught.value)

        await trio.sleep(0.03)
        assert found == []
        listener = listen_at(str(path), 0o600)
        os.close(folder)
    await listener.aclose()
    assert len(found) == 1


async def test_a_lock_of_a_stranger_delays_the_start_and_no_more(
    path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    listener = await open_unix_listener(str(path), 0o600)
    assert trio.current_time() == pytest.approx(PATIENCE)
    await listener.aclose()
    os.close(folder)


async def test_alone_it_starts_at_once_and_a_folder_that_is_not_there_is_told(path: Path) -> None:
    await (await open_unix_listener(str(path), 0o600)).aclose()
    with pytest.raises(ConnectionFailed, match="No such file"):
        await open_unix_listener(str(path / "deeper"), 0o600)


def test_a_folder_that_is_not_there_is_one_typed_error_and_leaves_nothing(path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="No such file") as caught:
        listen_at(str(path / "deeper"), 0o600)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_socket_that_cannot_listen_is_taken_away_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(socket.socket):
        def listen(self, backlog: int = 0) -> None:
            raise OSError("no")

    monkeypatch.setattr(socket, "socket", Deaf)
    with pytest.raises(ConnectionFailed):
        listen_at(str(path), 0o600)
    assert not path.exists()


def test_paths_at_the_limit_and_one_above(tmp_path: Path) -> None:
    base = "x" * LONGEST_PATH
    assert check_path(base) == base
    with pytest.raises(ConfigError, match="at most 107 bytes, not 108"):
        check_path(base + "x")
    with pytest.raises(ConfigError, match="not 108"):
        check_path("é" * 54)
    room = LONGEST_PATH - len(os.fsencode(tmp_path)) - 1
    longest = tmp_path / ("s" * room)
    listen_at(str(longest), 0o600).close()


@pytest.mark.parametrize("value", ["", "\0abstract", "a\0b", None, 5, b"bytes"])
def test_what_is_no_path_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="path"):
        check_path(value)


def test_path_objects_are_paths(path: Path) -> None:
    assert check_path(path) == str(path)
