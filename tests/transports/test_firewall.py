"""The connection's boundary: what it turns into one error, and what it lets pass."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import StreamClient, Wire, echo_params, modern_request
from trio_mcp_transport import (
    ConnectionClosed,
    ConnectionFailed,
    FrameTooLarge,
    Handlers,
    NewlineCodec,
    ServerInfo,
    ServerTransport,
    TransportError,
    open_client,
    serve,
)
from trio_mcp_transport.pipe.server import serve_stream
from trio_mcp_transport.testing import byte_stream_pair
from trio_mcp_transport.transports.firewall import as_transport_error, call_contained, run_contained


async def failing(error: BaseException) -> TransportError | None:
    async def run() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    return await run_contained(run)


async def test_a_normal_end_is_none() -> None:
    assert await run_contained(trio.lowlevel.checkpoint) is None


async def test_a_transport_error_is_returned_as_it_is_out_of_any_depth_of_groups() -> None:
    error = FrameTooLarge("too long", limit=1)
    assert await failing(error) is error
    assert await failing(ExceptionGroup("one", [ExceptionGroup("more", [error])])) is error


async def test_everything_else_becomes_the_cause_of_one() -> None:
    cause = ValueError("why")
    failure = await failing(ExceptionGroup("one", [cause]))
    assert type(failure) is ConnectionFailed
    assert failure.__cause__ is cause
    assert "ValueError('why')" in str(failure)


async def test_several_failures_are_one_error_too() -> None:
    errors = [ConnectionClosed("read"), ConnectionClosed("write")]
    failure = await failing(ExceptionGroup("both", errors))
    assert type(failure) is ConnectionFailed
    assert isinstance(failure.__cause__, ExceptionGroup)
    assert list(failure.__cause__.exceptions) == errors


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_what_ends_a_program_passes(kind: type[BaseException]) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        await failing(BaseExceptionGroup("mixed", [ValueError(), kind()]))
    assert [type(error) for error in caught.value.exceptions] == [kind]
    with pytest.raises(kind):
        await failing(kind())


async def test_cancellation_passes_alone_and_out_of_a_mixed_group() -> None:
    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("on the way out")

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_when_cancelled)
            nursery.start_soon(trio.sleep_forever)

    for body in (trio.sleep_forever, run):
        passed = True
        with trio.CancelScope() as scope:
            scope.cancel()
            await run_contained(body)
            passed = False
        assert scope.cancelled_caught
        assert passed


async def test_a_cancellation_of_its_own_is_taken_out_before_the_rest_is_looked_at() -> None:
    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise ConnectionClosed("the peer left")

    failure = await run_contained(run)
    assert type(failure) is ConnectionClosed


def test_a_callback_is_contained() -> None:
    seen: list[Any] = []
    error = OSError("full")

    def fail(*_: object) -> None:
        raise error

    assert call_contained(seen.append, 1) is None
    assert seen == [1]
    assert call_contained(fail, 1, 2) is error
    with pytest.raises(KeyboardInterrupt):
        call_contained(_interrupt)


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_an_empty_cause_is_told_by_its_type() -> None:
    assert "OSError" in str(as_transport_error(OSError()))


class Foreign(trio.abc.Stream):
    """Somebody else's stream, whose errors are none of Trio's."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep(1)
        raise OSError("the card was pulled")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep_forever()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.sleep_forever()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError("and cannot be closed")


async def test_what_the_stream_of_one_connection_raises_ends_that_connection_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    events: list[object] = []

    class Both(ServerTransport):
        async def run(self, exchanges: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve_stream, exchanges, Foreign(), NewlineCodec())
                nursery.start_soon(serve_stream, exchanges, far, NewlineCodec())

    near, far = byte_stream_pair(64 * 1024)
    wire = Wire(near)
    hooks: Any = {"error": lambda error, context: events.append(error), "close": lambda context: events.append("close")}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve, Handlers(echo_params, **hooks), Both(), server_info=ServerInfo("s", "1")))
        await trio.sleep(2)
        assert (await wire.ask(modern_request(1)))["id"] == 1
        error, close = events
        assert isinstance(error, ConnectionFailed)
        assert isinstance(error.__cause__, OSError)
        assert close == "close"
        await wire.end()


async def test_what_a_clients_stream_raises_fails_its_calls_with_that_cause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_client(StreamClient(Foreign()), era="modern", discover=False) as client:
        with pytest.raises(ConnectionFailed, match="the card was pulled"):
            await client.request("x")
        with pytest.raises(ConnectionFailed, match="the card was pulled"):
            await client.request("x")
