"""The idle deadline: silence ends a connection, and nothing that is open is silence."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.served import Slow
from tests.support import Wire, modern_request
from trio_mcp_transport import NewlineCodec, ServerInfo, ServerTransport, Subscriptions, serve
from trio_mcp_transport.errors import ConfigError
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.pipe.server import serve_stream
from trio_mcp_transport.testing import byte_stream_pair
from trio_mcp_transport.transports.idle import IdleDeadline, check_deadline

IDLE = 10.0


class IdleServer(ServerTransport):
    """One connection under the deadline."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.metrics = TransportMetrics()
        self.ended_at = -1.0

    async def run(self, exchanges: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started(("test:",))
        idle = IdleDeadline(self._stream, IDLE, self.metrics)
        await serve_stream(exchanges, idle, NewlineCodec(1000), metrics=idle.metrics)
        self.ended_at = trio.current_time()


async def start(nursery: trio.Nursery, handler: Any = None) -> tuple[Wire, IdleServer]:
    near, far = byte_stream_pair()
    server = IdleServer(far)
    options: Any = {"server_info": ServerInfo("s", "1"), "subscriptions": Subscriptions()}
    await nursery.start(partial(serve, handler or Slow(), server, **options))
    return Wire(near), server


async def test_silence_ends_the_connection_cleanly(autojump_clock: trio.testing.MockClock) -> None:
    handler = Slow()
    async with trio.open_nursery() as nursery:
        wire, server = await start(nursery, handler)
        assert await wire.stream.receive_some() == b""
    assert server.ended_at == pytest.approx(IDLE)
    assert handler.closed == 1
    assert handler.errors == []
    assert server.metrics.snapshot().errors == 0


async def test_bytes_either_way_put_it_off(autojump_clock: trio.testing.MockClock) -> None:
    handler = Slow()
    async with trio.open_nursery() as nursery:
        wire, server = await start(nursery, handler)
        await trio.sleep(IDLE - 1)
        await wire.send_bytes(b"\n")  # not even a message
        await trio.sleep(IDLE - 1)
        await wire.ask(modern_request(1, "quick"))
        asked_at = trio.current_time()
        assert asked_at == pytest.approx(2 * IDLE - 2)
        assert await wire.stream.receive_some() == b""
    assert server.ended_at == pytest.approx(asked_at + IDLE)
    assert server.metrics.snapshot().messages_received == 1
    assert server.metrics.snapshot().connection_count == 1


async def test_an_open_request_is_not_silence_and_its_answer_begins_a_new_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    handler = Slow()
    async with trio.open_nursery() as nursery:
        wire, server = await start(nursery, handler)
        await wire.send_line(modern_request(1, "slow"))
        await trio.sleep(3.5 * IDLE)
        handler.release.set()
        await wire.receive()
        answered_at = trio.current_time()
        assert answered_at == pytest.approx(3.5 * IDLE)
        assert await wire.stream.receive_some() == b""
    assert server.ended_at == pytest.approx(answered_at + IDLE)


async def test_an_open_listen_is_not_silence(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire, server = await start(nursery)
        await wire.ask(modern_request(1, "subscriptions/listen", {"notifications": {"toolsListChanged": True}}))
        await trio.sleep(20 * IDLE)
        assert server.ended_at == -1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("value", [0, -1, "5", True, [], float("nan")])
def test_a_deadline_that_cannot_be_used_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="idle_deadline"):
        check_deadline("idle_deadline", value)


def test_deadlines_that_can_be_used() -> None:
    assert check_deadline("idle_deadline", None) is None
    assert check_deadline("idle_deadline", 1) == 1.0
    assert check_deadline("idle_deadline", 0.01) == 0.01
