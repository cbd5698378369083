"""Two more ways to disturb what runs over sockets: a handler that crashes at step k, and the k-th stream call failing.

Handlers crash over real sockets.  Streams fail in memory, under TLS and under both engines of the WebSocket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.certificates import client_context, server_context
from trio_mcp_transport import (
    ClientTransport,
    Handlers,
    RpcError,
    SecureStream,
    ServerInfo,
    ServerTransport,
    TcpClientTransport,
    TcpServerTransport,
    TransportError,
    WebSocketClientTransport,
    WebSocketServerTransport,
    open_client,
    serve,
)
from trio_mcp_transport.context import Peer
from trio_mcp_transport.testing import (
    CrashPlan,
    FaultPlan,
    StreamClientTransport,
    StreamServerTransport,
    fail_every_stream_call,
)
from trio_mcp_transport.testing.injection import InjectionOptions, inject
from trio_mcp_transport.transports.websocket_opening import ask_upgrade
from trio_mcp_transport.wire.websocket_handshake import ClientHandshake

SERVER = ServerInfo("server", "1")


# A handler that crashes.


async def work(message: Any, context: Any) -> Any:
    await context.progress(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.lowlevel.checkpoint)
        await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    return {"done": message.method}


async def close(context: Any) -> None:
    await trio.lowlevel.checkpoint()


SOCKETS: dict[str, tuple[Callable[[], Any], Callable[[str], Any]]] = {
    "tcp": (TcpServerTransport, TcpClientTransport.from_address),
    "native": (
        lambda: WebSocketServerTransport(engine="native"),
        lambda address: WebSocketClientTransport(address, engine="native"),
    ),
    "library": (WebSocketServerTransport, WebSocketClientTransport),
}


@pytest.mark.parametrize("kind", SOCKETS)
def test_a_crashing_handler_is_one_answer_and_nothing_more(kind: str) -> None:
    make_server, make_client = SOCKETS[kind]
    answers: list[list[Any]] = []

    async def scenario(plan: CrashPlan) -> None:
        answers.append([])
        shutdown, transport = trio.Event(), make_server()
        handler = plan.handler(Handlers(work, close=close))
        async with trio.open_nursery() as nursery:
            with trio.fail_after(5):
                (address,) = await nursery.start(
                    lambda task_status: serve(
                        handler, transport, server_info=SERVER, shutdown=shutdown, task_status=task_status
                    )
                )
                async with (
                    open_client(make_client(address), era="modern") as other,
                    open_client(make_client(address), era="modern") as client,
                ):
                    for one, method in ((client, "first"), (client, "second"), (other, "third")):
                        try:
                            answer = await one.request(method, on_progress=lambda params: None)
                            answers[-1].append(answer["done"])
                        except RpcError as error:
                            answers[-1].append((error.code, error.data["reason"]))
                    assert client.statistics().pending == 0
            shutdown.set()
        statistics = transport.statistics()
        assert (statistics.connection_count, statistics.in_flight, statistics.outbox_bytes) == (2, 0, 0)

    options = InjectionOptions(real_clock=True, seconds=10)
    points = inject(scenario, CrashPlan, options, "crashed")
    assert points == 3 * 4 + 2 * 2  # four steps of each call, two of each close hook
    whole, crashed = ["first", "second", "third"], (-32603, "internal")
    # One call crashes, and no other; in the end none does, for the hooks answer nobody.
    assert answers == [
        [crashed if point // 4 == place else name for place, name in enumerate(whole)] for point in range(points + 1)
    ]


# Streams whose k-th call fails.


def assert_told(error: TransportError | None) -> None:
    """See that a failure was foreseen: the firewall has words of its own for what was not."""
    assert "the transport failed" not in str(error)


class WebSocketServed(ServerTransport):
    """One connection of a WebSocket server, over any stream."""

    def __init__(self, stream: trio.abc.Stream, engine: Any) -> None:
        self._stream = stream
        self._transport = WebSocketServerTransport(engine=engine, handshake_deadline=5)

    async def run(self, exchanges: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started(("memory:",))
        assert_told(await exchanges.contain(lambda: self._transport._serve(exchanges, self._stream)))


class WebSocketReached(ClientTransport):
    """A WebSocket client over any stream."""

    def __init__(self, stream: trio.abc.Stream, engine: Any) -> None:
        self._stream = stream
        self._transport = WebSocketClientTransport("ws://localhost/", engine=engine)

    async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        try:
            upgrade = await ask_upgrade(self._stream, ClientHandshake("localhost", "/", port=80))
            await self._transport._converse(setup, self._stream, upgrade, Peer(), task_status)
        finally:
            await trio.aclose_forcefully(self._stream)


def secured(near: trio.abc.Stream, far: trio.abc.Stream) -> tuple[SecureStream, SecureStream]:
    return (
        SecureStream(near, ssl_context=client_context(), server_hostname="localhost"),
        SecureStream(far, ssl_context=server_context(), server_side=True),
    )


def transports(kind: str, plan: FaultPlan) -> tuple[Any, Any]:
    """Return the two sides of one connection whose stream calls the plan counts."""
    near, far = plan.streams()
    if kind == "tls":
        secure = secured(near, far)
        return StreamServerTransport(secure[1]), StreamClientTransport(secure[0])
    if kind == "wss":
        near, far = secured(near, far)  # type: ignore[assignment]  # streams all the same
    engine = "trio-websocket" if kind == "library" else "native"
    return WebSocketServed(far, engine), WebSocketReached(near, engine)


def conversation(kind: str) -> tuple[Any, list[str]]:
    ended: list[str] = []

    async def echo(message: Any, context: Any) -> Any:
        await context.progress(1)
        return {"text": message.params["text"]}

    async def scenario(plan: FaultPlan) -> None:
        server, transport = transports(kind, plan)
        closes = 0

        async def count(context: Any) -> None:
            nonlocal closes
            closes += 1

        failures: list[TransportError] = []
        handlers = Handlers(echo, error=lambda error, context: failures.append(error), close=count)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve(handlers, server, server_info=SERVER, drain=0))
            begun = len(ended)
            try:
                async with open_client(transport, era="modern") as client:
                    for text in ("one", "two" * 1000):
                        try:
                            answer = await client.request("echo", {"text": text}, on_progress=lambda params: None)
                            assert answer["text"] == text
                            ended.append("result")
                        except TransportError as error:
                            assert_told(error)
                            ended.append("failure")
                    assert len(ended) == begun + 2
            except TransportError as error:
                assert_told(error)
                assert plan.reached, plan.describe()
                assert plan.fault != "one_byte"
                ended.append("not connected")
            # The server ends by itself, and soon: nothing is waited for that cannot come.
            ending = trio.current_time()
        assert trio.current_time() <= ending + 10
        for failure in failures:
            assert_told(failure)
        assert closes <= 1
        assert closes == 1 or "not connected" in ended[begun:]

    return scenario, ended


KINDS = pytest.mark.parametrize("kind", ["tls", "native", "library", "wss"])


@KINDS
@pytest.mark.parametrize("fault", ["broken", "torn"])
def test_every_request_ends_whichever_stream_call_fails(kind: str, fault: Any) -> None:
    scenario, ended = conversation(kind)
    points = fail_every_stream_call(scenario, fault=fault)
    assert points > 15
    assert set(ended) == {"result", "failure", "not connected"}
    assert ended[-2:] == ["result", "result"]


@KINDS
def test_a_single_byte_at_any_stream_call_changes_nothing(kind: str) -> None:
    scenario, ended = conversation(kind)
    points = fail_every_stream_call(scenario, fault="one_byte")
    assert points > 15
    assert ended == ["result"] * 2 * (points + 1)
