"""Objects with send, receive and close as server and client, certified, and with their errors told to the right one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.adapters.foreign import BytesEnd, FragileEnd, LockedEnd, bytes_pair
from tests.adapters.test_bytes_link import Scripted, line
from tests.package_tree import ROOT
from tests.support import modern_request
from trio_mcp_transport import (
    ConfigError,
    ConnectionClosed,
    ConnectionFailed,
    FramingError,
    Handlers,
    LocalProtocolError,
    MessageContext,
    MessageTooLarge,
    Request,
    RpcError,
    ServerInfo,
    TransportError,
)
from trio_mcp_transport.adapters.blocking import (
    BytesClientTransport,
    BytesServerTransport,
    as_bytes_transport,
    open_bytes_client,
    serve_bytes,
)
from trio_mcp_transport.adapters.wrappers import BufferedTransport, MonitoredTransport
from trio_mcp_transport.testing import byte_stream_pair
from trio_mcp_transport.testing.check_transport import check_transport

INFO = ServerInfo("s", "1")


async def echo(request: Request, context: MessageContext) -> Any:
    return {"text": request.params.get("text")}


def of_class(pair: tuple[BytesEnd, BytesEnd], *classes: type[BytesEnd]) -> tuple[BytesEnd, BytesEnd]:
    made = []
    for end, kind in zip(pair, classes, strict=True):
        made.append(kind(end._outgoing, end._incoming))
    return made[0], made[1]


def plain() -> Any:
    server, client = bytes_pair()
    return BytesServerTransport(server), lambda _: BytesClientTransport(client)


def exclusive() -> Any:
    server, client = of_class(bytes_pair(64), LockedEnd, LockedEnd)
    return (
        BytesServerTransport(server, exclusive=True),
        lambda _: BytesClientTransport(client, exclusive=True),
    )


def not_cancel_safe() -> Any:
    server, client = of_class(bytes_pair(), FragileEnd, FragileEnd)
    return (
        BytesServerTransport(server, cancel_safe=False),
        lambda _: BytesClientTransport(client, cancel_safe=False),
    )


def monitored() -> Any:
    server, client = bytes_pair()
    return BytesServerTransport(MonitoredTransport(server)), lambda _: BytesClientTransport(MonitoredTransport(client))


def buffered() -> Any:
    server, client = bytes_pair()
    return BytesServerTransport(BufferedTransport(server)), lambda _: BytesClientTransport(BufferedTransport(client))


def stacked() -> Any:
    server, client = bytes_pair()
    wrap = MonitoredTransport
    return (
        BytesServerTransport(wrap(BufferedTransport(server))),
        lambda _: BytesClientTransport(wrap(BufferedTransport(client))),
    )


def ours_there_and_back() -> Any:
    server, client = byte_stream_pair()
    return (
        BytesServerTransport(as_bytes_transport(server)),
        lambda _: BytesClientTransport(as_bytes_transport(client)),
    )


PAIRS = [plain, exclusive, not_cancel_safe, monitored, buffered, stacked, ours_there_and_back]


@pytest.mark.parametrize("make_pair", PAIRS, ids=lambda make: make.__name__)
async def test_certified_in_both_roles(make_pair: Callable[[], Any], autojump_clock: trio.testing.MockClock) -> None:
    report = await check_transport(make_pair, several_clients=False, injection_points=15)
    assert len(report.passed) > 30


async def test_a_server_and_a_client_of_two_plain_objects() -> None:
    there, here = bytes_pair()
    async with trio.open_nursery() as nursery:
        assert await nursery.start(partial(serve_bytes, Handlers(echo), there, server_info=INFO)) == ("bytes:",)
        async with open_bytes_client(here) as client:
            assert (await client.request("echo", {"text": "hé"}))["text"] == "hé"
    assert here.log[-1] == there.log[-1] == "close"
    # Whoever connects on first use does so in one task: the first call is alone.
    assert (here.log[0], there.log[0]) == ("send", "receive")


async def test_a_locked_object_needs_exclusive(autojump_clock: trio.testing.MockClock) -> None:
    for exclusive_ in (True, False):
        there, here = of_class(bytes_pair(16), LockedEnd, BytesEnd)
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_bytes, Handlers(echo), there, server_info=INFO, exclusive=exclusive_))
            with trio.move_on_after(5) as scope:
                async with open_bytes_client(here, era="modern", discover=False) as client:
                    await client.request("echo", {"text": "x"})
            assert scope.cancelled_caught is not exclusive_
            nursery.cancel_scope.cancel()


def test_what_cannot_be_interrupted_cannot_be_shared() -> None:
    with pytest.raises(ConfigError, match="exclusive"):
        BytesServerTransport(Scripted(), exclusive=True, cancel_safe=False)


async def test_a_transport_object_runs_once() -> None:
    transport = BytesServerTransport(Scripted(b""))
    from trio_mcp_transport import serve

    await serve(Handlers(echo), transport)
    with pytest.raises(LocalProtocolError):
        await serve(Handlers(echo), transport)


@pytest.mark.parametrize("when", ["send", "receive"])
async def test_what_an_object_raises_reaches_the_caller_with_its_cause(when: str) -> None:
    class Odd(Exception):
        pass

    error = Odd("no such luck")

    class Failing(Scripted):
        async def send(self, message: bytes) -> None:
            if when == "send":
                raise error

        async def receive(self) -> bytes:
            raise error

    async with open_bytes_client(Failing(), era="modern", discover=False) as client:
        with pytest.raises(ConnectionFailed) as caught:
            await client.request("m")
    assert caught.value.__cause__ is error


async def test_a_failing_object_of_a_server_is_told_to_the_handler_and_then_the_close() -> None:
    told: list[Any] = []

    async def on_error(error: TransportError, context: MessageContext) -> None:
        told.append(error)

    async def on_close(context: MessageContext) -> None:
        told.append("closed")

    broken = type("Format", (Exception,), {})("half a message")
    await serve_bytes(Handlers(echo, error=on_error, close=on_close), Scripted(broken))
    assert [type(told[0]), told[1:]] == [FramingError, ["closed"]]
    assert told[0].__cause__ is broken


async def test_the_end_of_input_still_answers() -> None:
    transport = Scripted(line(**{k: v for k, v in modern_request(1).items() if k != "jsonrpc"}), b"")
    await serve_bytes(Handlers(echo), transport, server_info=INFO)
    assert len(transport.sent) == 1
    assert b'"result"' in transport.sent[0]
    assert transport.closed == 1


async def test_a_request_over_the_objects_limit_is_refused_alone_and_nothing_is_sent() -> None:
    there, here = bytes_pair()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_bytes, Handlers(echo), there, server_info=INFO, max_message_size=1000))
        async with open_bytes_client(here, max_message_size=2000) as client:
            with pytest.raises(MessageTooLarge):
                await client.request("echo", {"text": "x" * 2000})
            with pytest.raises(RpcError) as caught:
                await client.request("echo", {"text": "x" * 1200})
            assert caught.value.reason() == "too_large"
            assert (await client.request("echo", {"text": "x"}))["text"] == "x"


async def test_the_end_of_the_server_fails_calls_with_the_objects_error() -> None:
    there, here = bytes_pair()
    async with open_bytes_client(here, era="modern", discover=False) as client:
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                await there.receive()
                await there.close()

            nursery.start_soon(leave)
            with pytest.raises(ConnectionClosed) as caught:
                await client.request("m")
    assert type(caught.value.__cause__).__name__ == "Closed"


async def test_statistics_and_address() -> None:
    there, here = bytes_pair()
    server, client_transport = BytesServerTransport(there), BytesClientTransport(here)
    assert client_transport.address == "bytes:"
    from trio_mcp_transport import open_client, serve

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(echo), server, server_info=INFO))
        async with open_client(client_transport) as client:
            await client.request("echo", {"text": "x"})
    seen = server.statistics()
    assert (seen.connection_count, seen.messages_received, seen.messages_sent) == (1, 2, 2)
    assert seen.bytes_received == client_transport.statistics().bytes_sent


# The transports of examples/from_airs, which know nothing of this library, with no edit.


def example(name: str) -> Any:
    """Import an example program; its neighbours are found where it lies, as when it is run."""
    folder = str(ROOT / "examples" / "from_airs")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


def template_pair(wrap: Callable[[Any], Any] = lambda transport: transport) -> Any:
    custom = example("custom_transport_template")
    config = custom.CustomConfig("", max_message_size=64 * 1024 * 1024)
    server, client = byte_stream_pair()
    return (
        BytesServerTransport(wrap(custom.CustomTransport(config, server))),
        lambda _: BytesClientTransport(wrap(custom.CustomTransport(config, client))),
    )


def airs_buffered() -> Any:
    module = example("buffered_transport")
    return template_pair(lambda inner: module.BufferedTransport(inner, module.BufferManager(10, 64 * 1024 * 1024)))


def airs_monitored() -> Any:
    module = example("monitored_transport")
    return template_pair(lambda inner: module.MonitoredTransport(inner, module.TransportMetrics()))


@pytest.mark.parametrize("make_pair", [template_pair, airs_buffered, airs_monitored], ids=lambda make: make.__name__)
async def test_airs_shaped_transports_are_certified_with_no_edit(
    make_pair: Callable[[], Any], autojump_clock: trio.testing.MockClock
) -> None:
    report = await check_transport(make_pair, several_clients=False, injection_points=15)
    assert len(report.passed) > 30


async def test_an_airs_shaped_mock_serves_its_script_with_no_edit() -> None:
    mock = example("mock_transport_test").MockTransport()
    mock.add_response(line(**{k: v for k, v in modern_request(1, params={"text": "x"}).items() if k != "jsonrpc"}))
    await serve_bytes(Handlers(echo), mock, lockstep=True, server_info=INFO)
    assert [b'"text":"x"' in message for message in mock.get_sent_messages()] == [True]
