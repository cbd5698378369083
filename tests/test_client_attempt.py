"""One run of a transport, and questions before there are terms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import (
    ClientTransport,
    ConnectionClosed,
    ConnectionFailed,
    FramingError,
    Limits,
    Response,
    RpcError,
    TransportError,
)
from trio_mcp_transport.call import Call
from trio_mcp_transport.client_attempt import Attempt, ask


class Connection:
    """Stands for a connection; answers each request with what ``answer`` makes of it."""

    def __init__(self, answer: Callable[[Call], None] = lambda call: None) -> None:
        self.closed = 0
        self.sent: list[Call] = []
        self._answer = answer

    def close(self) -> None:
        self.closed += 1

    def next_id(self) -> int:
        return len(self.sent) + 1

    def send_call_nowait(self, call: Call) -> bool:
        return False

    async def send_call(self, call: Call) -> None:
        await trio.lowlevel.checkpoint()
        call.attach(lambda _: None)
        self.sent.append(call)
        self._answer(call)


class Transport(ClientTransport):
    """Runs what a test gives it."""

    address = "test:"

    def __init__(self, body: Callable[[Any], Awaitable[None]]) -> None:
        self._body = body

    async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        await self._body(task_status)


SETUP: Any = SimpleNamespace(limits=Limits())


def attempt(body: Callable[[Any], Awaitable[None]]) -> Attempt:
    return Attempt(Transport(body), SETUP)


async def test_the_connection_is_told_to_whoever_waits_and_stays_known() -> None:
    connection = Connection()
    go = trio.Event()

    async def body(task_status: Any) -> None:
        await go.wait()
        task_status.started(connection)

    tried = attempt(body)
    got: list[Any] = []

    async def wait() -> None:
        got.append(await tried.connection())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tried.run)
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert got == []
        assert not tried.close()
        go.set()
    assert got == [connection, connection]
    assert tried.ended.is_set()
    assert tried.failure is None
    assert await tried.connection() is connection
    assert tried.close()
    assert connection.closed == 1


@pytest.mark.parametrize(
    ("raised", "kind"), [(FramingError("torn"), FramingError), (ZeroDivisionError("bug"), ConnectionFailed)]
)
async def test_a_transport_that_fails_gives_one_typed_error(raised: Exception, kind: type[TransportError]) -> None:
    async def body(_: Any) -> None:
        raise raised

    tried = attempt(body)
    await tried.run()
    with pytest.raises(kind) as caught:
        await tried.connection()
    assert type(caught.value) is kind
    assert raised in (caught.value, caught.value.__cause__)
    assert tried.failure is caught.value


async def test_a_transport_that_returns_without_a_connection_is_told_with_its_address() -> None:
    async def body(_: Any) -> None:
        await trio.lowlevel.checkpoint()

    tried = attempt(body)
    await tried.run()
    with pytest.raises(ConnectionClosed, match="test: ended before it connected"):
        await tried.connection()


async def test_a_cancelled_run_leaves_nobody_waiting() -> None:
    async def body(_: Any) -> None:
        await trio.sleep_forever()

    tried = attempt(body)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tried.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert tried.ended.is_set()
    with pytest.raises(ConnectionClosed):
        await tried.connection()


async def test_a_question_is_sent_as_it_is_and_its_result_decoded() -> None:
    connection: Any = Connection(lambda call: call.respond(Response(call.request.id, {"n": 1})))
    assert await ask(connection, SETUP, "server/discover", {"a": 1}) == {"n": 1}
    (call,) = connection.sent
    assert (call.request.id, call.request.method, call.request.params) == (1, "server/discover", {"a": 1})
    assert call.deadlines.total is None


async def test_a_refusal_and_a_loss_are_raised() -> None:
    refusal = RpcError(-32601, "no")
    connection: Any = Connection(lambda call: call.respond(Response(call.request.id, error=refusal)))
    with pytest.raises(RpcError) as refused:
        await ask(connection, SETUP, "x", {})
    assert refused.value is refusal
    connection = Connection(lambda call: call.fail(ConnectionClosed("gone")))
    with pytest.raises(ConnectionClosed, match="gone"):
        await ask(connection, SETUP, "x", {})
