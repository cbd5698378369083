"""Unix sockets, both sides: who may connect, who did, and what is there before and afterwards."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.socket_servers import serving
from trio_mcp_transport import Deadlines, open_client
from trio_mcp_transport.deadlines import DeadlineExceeded
from trio_mcp_transport.errors import ConfigError, ConnectionFailed
from trio_mcp_transport.transports.framings import FRAMINGS
from trio_mcp_transport.transports.unix import UnixClientTransport, UnixServerTransport


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def there(path: Path) -> bool:
    return path.exists()


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_every_framing_both_ways(path: Path, framing: Any) -> None:
    async with serving(UnixServerTransport(path, framing=framing)) as server:
        assert server.address == f"unix:{path}" + ("" if framing == "newline" else f"?framing={framing}")
        async with open_client(UnixClientTransport.from_address(server.address)) as client:
            assert (await client.request("x", {"n": "é\n" * 1000}))["n"] == "é\n" * 1000


async def test_it_is_its_owners_alone_and_gone_in_the_end(path: Path) -> None:
    async with serving(UnixServerTransport(path)) as server:
        assert mode_of(path) == 0o600
        server.shutdown.set()
        await server.ended.wait()
        assert not there(path)
    async with serving(UnixServerTransport(str(path), mode=0o660)):
        assert mode_of(path) == 0o660
    assert not there(path)  # cancelled


async def test_the_socket_is_gone_before_the_last_answer_is(path: Path) -> None:
    release = trio.Event()

    async def slow(request: Any, context: Any) -> Any:
        await release.wait()
        return {}

    async with serving(UnixServerTransport(path), slow) as server, open_client(UnixClientTransport(path)) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.request, "x")
            await trio.sleep(0.02)
            server.shutdown.set()
            with trio.fail_after(5):
                while there(path):  # noqa: ASYNC110  # there is no event of a file
                    await trio.sleep(0.001)
            with pytest.raises(ConnectionFailed, match="No such file"):
                await open_client(UnixClientTransport(path)).__aenter__()
            async with serving(UnixServerTransport(path)):  # the successor need not wait
                release.set()


async def test_the_credentials_of_the_client_are_in_the_context(path: Path) -> None:
    async def who(request: Any, context: Any) -> Any:
        return {"peer": context.peer.address, "credentials": list(context.peer.credentials)}

    async with serving(UnixServerTransport(path), who) as server, open_client(UnixClientTransport(path)) as client:
        found = await client.request("x")
        assert found["credentials"] == [os.getpid(), os.getuid(), os.getgid()]
        assert found["peer"] == server.address


async def test_a_missing_socket_is_told_at_once_with_path_and_cause(path: Path) -> None:
    with pytest.raises(ConnectionFailed, match=f"cannot connect to unix:{path}: .*No such file") as caught:
        await open_client(UnixClientTransport(path)).__aenter__()
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(ConnectionFailed, match="refused"):
        await open_client(UnixClientTransport(path)).__aenter__()


async def test_a_server_whose_backlog_is_full_is_waited_for_within_the_deadline(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        waiting = []
        try:
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(str(path))
        except BlockingIOError:
            pass
        with pytest.raises(DeadlineExceeded, match="connect"):
            await open_client(UnixClientTransport(path), deadlines=Deadlines(connect=0.05)).__aenter__()
        async with trio.open_nursery() as nursery:
            streams: list[Any] = []

            @nursery.start_soon
            async def connect() -> None:
                streams.append(await UnixClientTransport(path)._connect())

            await trio.sleep(0.03)
            assert streams == []
            busy.accept()[0].close()
        await streams[0].aclose()
        for one in waiting:
            one.close()


@pytest.mark.parametrize("mode", [-1, 0o1000, "600", None, True])
def test_modes_that_are_none_are_refused(path: Path, mode: Any) -> None:
    with pytest.raises(ConfigError, match="mode"):
        UnixServerTransport(path, mode=mode)


def test_paths_that_are_none_are_refused() -> None:
    for kind in (UnixServerTransport, UnixClientTransport):
        with pytest.raises(ConfigError, match="path"):
            kind("x" * 108)
    with pytest.raises(ConfigError):
        UnixServerTransport.from_address("tcp://h:1")
