"""Callback-shaped objects as server and client, certified, and their way of starting, failing and ending."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.adapters.foreign import AirsCallbacks, BytesEnd, TypeScriptCallbacks, bytes_pair
from trio_mcp_transport import (
    ConfigError,
    ConnectionClosed,
    ConnectionFailed,
    Handlers,
    LocalProtocolError,
    MessageContext,
    MessageError,
    Request,
    ServerInfo,
    TransportError,
    serve,
)
from trio_mcp_transport.adapters.callback import (
    CallbackClientTransport,
    CallbackServerTransport,
    as_callback_transport,
    open_callback_client,
    serve_callback,
)
from trio_mcp_transport.testing import byte_stream_pair
from trio_mcp_transport.testing.check_transport import check_transport

INFO = ServerInfo("s", "1")


async def echo(request: Request, context: MessageContext) -> Any:
    return {"text": request.params.get("text"), "session": context.session_id}


def airs() -> Any:
    server, client = bytes_pair()
    return CallbackServerTransport(AirsCallbacks(server)), lambda _: CallbackClientTransport(AirsCallbacks(client))


@pytest.mark.parametrize("make_pair", [airs])
async def test_certified_in_both_roles(make_pair: Callable[[], Any], autojump_clock: trio.testing.MockClock) -> None:
    report = await check_transport(make_pair, several_clients=False, injection_points=15)
    assert len(report.passed) > 30


async def test_the_typescript_shape_is_certified_too(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:

        def make_pair() -> Any:
            server, client = bytes_pair(0)
            return (
                CallbackServerTransport(TypeScriptCallbacks(server, nursery)),
                lambda _: CallbackClientTransport(TypeScriptCallbacks(client, nursery)),
            )

        # Its callbacks cannot be awaited, so nothing slows its peer down: it is cut off at the limits instead.
        # Its tasks live in a nursery of its owner, and so does what is left when a client is cancelled.
        report = await check_transport(make_pair, several_clients=False, back_pressure=False, injection_points=15)
        assert len(report.passed) > 30
        nursery.cancel_scope.cancel()


async def test_ours_in_that_shape_are_certified_too(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:

        def make_pair() -> Any:
            server, client = byte_stream_pair()
            return (
                CallbackServerTransport(as_callback_transport(server, nursery=nursery)),
                lambda _: CallbackClientTransport(as_callback_transport(client, nursery=nursery)),
            )

        report = await check_transport(make_pair, several_clients=False, injection_points=15)
        assert len(report.passed) > 30
        nursery.cancel_scope.cancel()


async def test_both_roles_by_their_front_doors() -> None:
    server, client = bytes_pair()
    async with trio.open_nursery() as nursery:
        address = await nursery.start(partial(serve_callback, Handlers(echo), AirsCallbacks(server), server_info=INFO))
        assert address == ("callback:",)
        async with open_callback_client(TypeScriptCallbacks(client, nursery)) as opened:
            answer = await opened.request("echo", {"text": "hé"})
            assert (answer["text"], answer["session"]) == ("hé", "session-7")
    assert (server.closed, client.closed) == (True, True)


@pytest.mark.parametrize("missing", ["start", "send", "close"])
def test_an_object_without_a_method_is_refused(missing: str) -> None:
    methods: dict[str, Any] = {name: lambda self: None for name in ("start", "send", "close") if name != missing}
    with pytest.raises(ConfigError, match=missing):
        CallbackServerTransport(type("Incomplete", (), methods)())


async def test_a_start_that_fails_is_told_and_the_object_closed() -> None:
    broken = OSError("refused")

    class Refusing(AirsCallbacks):
        async def start(self) -> None:  # type: ignore[override]
            raise broken

    async def reach(end: BytesEnd) -> None:
        async with open_callback_client(Refusing(end)):
            raise AssertionError("it cannot be reached")

    for use in (lambda end: serve_callback(Handlers(echo), Refusing(end)), reach):
        end, _ = bytes_pair()
        with pytest.raises(ConnectionFailed) as caught:
            await use(end)
        assert caught.value.__cause__ is broken
        assert end.closed


async def test_a_start_that_did_not_connect_is_told() -> None:
    class Pretending(AirsCallbacks):
        async def start(self) -> None:  # type: ignore[override]
            return

    end, _ = bytes_pair()
    with pytest.raises(ConnectionFailed, match="not connected"):
        await serve_callback(Handlers(echo), Pretending(end))
    assert end.closed


async def test_a_start_that_hangs_ends_with_its_cancellation(autojump_clock: trio.testing.MockClock) -> None:
    class Hanging(AirsCallbacks):
        async def start(self) -> None:  # type: ignore[override]
            await trio.sleep_forever()

    end, _ = bytes_pair()
    with pytest.raises(TransportError):
        async with open_callback_client(Hanging(end)):
            pass
    assert end.closed


async def test_queries_may_be_attributes() -> None:
    class Attributes(TypeScriptCallbacks):
        sessionId = "of the attribute"

    server, client = bytes_pair()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_callback, Handlers(echo), Attributes(server, nursery), server_info=INFO))
        async with open_callback_client(AirsCallbacks(client)) as opened:
            assert (await opened.request("echo"))["session"] == "of the attribute"


async def test_queries_may_be_coroutine_methods() -> None:
    class Asked(AirsCallbacks):
        async def session_id(self) -> str | None:  # type: ignore[override]
            return "of the coroutine"

        async def is_connected(self) -> bool:  # type: ignore[override]
            return self.connected

    server, client = bytes_pair()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_callback, Handlers(echo), Asked(server), server_info=INFO))
        async with open_callback_client(AirsCallbacks(client)) as opened:
            assert (await opened.request("echo"))["session"] == "of the coroutine"


async def test_order_of_events_when_the_object_fails() -> None:
    told: list[Any] = []
    handlers = Handlers(
        echo, error=lambda error, context: told.append(error), close=lambda context: told.append("closed")
    )
    broken = OSError("gone")

    class Failing(AirsCallbacks):
        async def start(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            self.connected = True
            task_status.started()
            await self.handler.handle_message(b"nonsense")
            await self.handler.handle_error(broken)
            await self.handler.handle_close()

    end, _ = bytes_pair()
    await serve_callback(handlers, Failing(end), eras=None)
    assert [type(one).__name__ for one in told] == ["MessageError", "ConnectionFailed", "str"]
    assert told[1].__cause__ is broken


@pytest.mark.parametrize("broken", [OSError("gone"), None])
async def test_a_start_that_ends_or_fails_later_is_the_end_of_the_connection(broken: OSError | None) -> None:
    class Ending(AirsCallbacks):
        async def start(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            self.connected = True
            task_status.started()
            await self.handler.handle_message(await self.end.receive())
            if broken is not None:
                raise broken

    told: list[Any] = []
    handlers = Handlers(
        echo, error=lambda error, context: told.append(error), close=lambda context: told.append("closed")
    )
    server, client = bytes_pair(1)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(serve_callback, handlers, Ending(server), server_info=INFO))
            await client.send(b"nonsense")
    unreadable, *failed, last = told
    assert (type(unreadable), last) == (MessageError, "closed")
    assert [(type(error), error.__cause__) for error in failed] == ([(ConnectionFailed, broken)] if broken else [])

    server, client = bytes_pair(1)
    async with open_callback_client(Ending(client), era="modern", discover=False) as opened:
        await server.send(b"nonsense")
        with trio.fail_after(5), pytest.raises(ConnectionFailed if broken else ConnectionClosed) as caught:
            await opened.request("m")
    assert caught.value.__cause__ is broken


async def test_a_server_that_leaves_fails_open_calls() -> None:
    server, client = bytes_pair()
    async with open_callback_client(AirsCallbacks(client), era="modern", discover=False) as opened:
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                await server.receive()
                await server.close()

            nursery.start_soon(leave)
            with pytest.raises(ConnectionClosed):
                await opened.request("m")


async def test_it_runs_once_and_counts() -> None:
    server, client = bytes_pair()
    transport = CallbackServerTransport(AirsCallbacks(server))
    reaching = CallbackClientTransport(AirsCallbacks(client))
    assert reaching.address == "callback:"
    from trio_mcp_transport import open_client

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Handlers(echo), transport, server_info=INFO))
        async with open_client(reaching) as opened:
            await opened.request("echo")
    assert (transport.statistics().messages_received, transport.statistics().bytes_received > 0) == (2, True)
    with pytest.raises(LocalProtocolError):
        await serve(Handlers(echo), transport)
