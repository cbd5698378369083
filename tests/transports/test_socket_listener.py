"""A listening socket as a Trio listener."""

from __future__ import annotations

import os
import resource
import socket

import pytest
import trio
import trio.testing

from trio_mcp_transport.testing.cancel import CancelRegion, cancel_at_every_checkpoint
from trio_mcp_transport.transports.socket_listener import BACKLOG, SocketListener


def listening() -> SocketListener:
    sock = socket.create_server(("127.0.0.1", 0))
    sock.listen(BACKLOG)
    return SocketListener(sock)


def connect(listener: SocketListener) -> socket.socket:
    return socket.create_connection(listener.socket.getsockname())


async def test_connections_are_accepted_whether_they_wait_or_are_waited_for() -> None:
    async with listening() as listener:
        with connect(listener):
            with trio.testing.assert_checkpoints():
                stream = await listener.accept()
            await stream.aclose()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def accept() -> None:
                async with await listener.accept() as stream:
                    assert stream.socket.gettimeout() == 0
                    await stream.send_all(b"hello")

            await trio.testing.wait_all_tasks_blocked()
            client = connect(listener)
        with client:
            assert client.recv(5) == b"hello"


async def test_closing_wakes_whoever_waits_and_is_told_once() -> None:
    calls: list[int] = []
    sock = socket.create_server(("127.0.0.1", 0))
    listener = SocketListener(sock, before_close=lambda: calls.append(sock.fileno()))
    fd = sock.fileno()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def accept() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()

        await trio.testing.wait_all_tasks_blocked()
        await listener.aclose()
    await listener.aclose()
    assert calls == [fd]  # while it was open
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()


async def test_a_shortage_of_descriptors_is_an_error_of_the_call_alone() -> None:
    async with listening() as listener:
        client = connect(listener)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                await listener.accept()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await (await listener.accept()).aclose()
        client.close()


def test_cancelled_anywhere_it_loses_no_connection() -> None:
    async def scenario(region: CancelRegion) -> None:
        async with listening() as listener:
            clients = [connect(listener) for _ in range(3)]
            accepted = 0
            with region:
                for _ in clients:
                    stream = await listener.accept()
                    accepted += 1
                    stream.close()
            while accepted < len(clients):
                (await listener.accept()).close()
                accepted += 1
            for client in clients:
                client.close()

    assert cancel_at_every_checkpoint(scenario, real_clock=True) >= 3
