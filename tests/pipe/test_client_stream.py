"""A client over any byte stream: it answers, counts, names the peer, and says how it ended."""

from __future__ import annotations

import pytest
import trio

from trio_mcp_transport import (
    ClientTransport,
    ConnectionClosed,
    DeadlineExceeded,
    Limits,
    NewlineCodec,
    Peer,
    ServerInfo,
    open_client,
    serve,
)
from trio_mcp_transport.cli.echo_server import Echo
from trio_mcp_transport.connect import ClientConnection, ClientSetup
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.pipe.client_stream import run_stream
from trio_mcp_transport.testing import ByteStream, StreamServerTransport, byte_stream_pair


class Custom(ClientTransport):
    """A custom client transport as a third party would write it."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.metrics = TransportMetrics()

    async def run(
        self, setup: ClientSetup, *, task_status: trio.TaskStatus[ClientConnection] = trio.TASK_STATUS_IGNORED
    ) -> None:
        peer = Peer(address="elsewhere")
        await run_stream(setup, self.stream, NewlineCodec(), peer=peer, metrics=self.metrics, task_status=task_status)


async def test_it_answers_counts_and_closes_the_stream(autojump_clock: object) -> None:
    near, far = byte_stream_pair()
    transport = Custom(near)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(Echo(), StreamServerTransport(far), server_info=ServerInfo("echo", "1")))
        async with open_client(transport) as client:
            assert (await client.request("echo", {"n": 1}))["n"] == 1
            assert transport.metrics.snapshot().messages_received > 0
    with pytest.raises(trio.ClosedResourceError):
        await near.send_all(b"x")


async def test_a_server_that_leaves_is_an_error(autojump_clock: object) -> None:
    near, far = byte_stream_pair()
    await far.send_eof()
    with pytest.raises(ConnectionClosed):
        async with open_client(Custom(near)):
            pytest.fail("there is no server")


async def test_the_write_deadline_is_the_clients(autojump_clock: object) -> None:
    near, _ = byte_stream_pair(capacity=10)
    began = trio.current_time()
    with pytest.raises(DeadlineExceeded, match="reads nothing"):
        async with open_client(Custom(near), limits=Limits(write_deadline=3.0)):
            pytest.fail("there is no server")
    assert 3.0 <= trio.current_time() - began < 4.0
