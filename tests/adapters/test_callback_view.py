"""Ours in the callback shapes: who is called, in which order, exactly how often, and by whose task."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import Wire
from trio_mcp_transport import (
    ConnectionClosed,
    ConnectionFailed,
    Handlers,
    LocalProtocolError,
    MessageContext,
    MessageError,
    Notification,
    Request,
    ServerInfo,
    memory_transports,
    serve,
)
from trio_mcp_transport.adapters.callback_view import CallbackContext, CallbackView, as_callback_transport
from trio_mcp_transport.adapters.raw import as_bytes_transport

NOTE = {"jsonrpc": "2.0", "method": "m"}


class Listener:
    """AIRS' ``MessageHandler``; writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.contexts: list[CallbackContext] = []

    async def handle_message(self, message: Any, context: CallbackContext) -> None:
        await trio.lowlevel.checkpoint()
        self.told.append(message)
        self.contexts.append(context)

    async def handle_error(self, error: Exception) -> None:
        self.told.append(error)

    async def handle_close(self) -> None:
        self.told.append("closed")


def opened(**options: Any) -> tuple[CallbackView, Wire]:
    ours, theirs = trio.testing.memory_stream_pair()
    return as_callback_transport(ours, **options), Wire(theirs)


async def until(condition: Any) -> None:
    with trio.fail_after(5):
        while not condition():
            await trio.lowlevel.checkpoint()


async def test_a_handler_is_told_everything_in_order() -> None:
    transport, wire = opened(form="object")
    listener = Listener()
    transport.set_message_handler(listener)
    async with transport:
        await transport.start()
        await wire.send_line(NOTE)
        await wire.send_line(b"nonsense")
        await wire.send_line({**NOTE, "method": "n"})
        await wire.end()
        await until(lambda: len(listener.told) == 4)
        assert [listener.told[0]["method"], type(listener.told[1]), listener.told[2]["method"]] == [
            "m",
            MessageError,
            "n",
        ]
        assert listener.told[3] == "closed"
        assert not transport.is_connected()
    assert listener.told.count("closed") == 1
    assert {context.session_id for context in listener.contexts} == {transport.session_id()}


async def test_callbacks_of_the_typescript_shape() -> None:
    transport, wire = opened()
    told: list[Any] = []
    transport.onmessage = told.append
    transport.onerror = lambda error: told.append(type(error))
    transport.onclose = lambda: told.append("closed")
    async with transport:
        await transport.start()
        await wire.send_line(b"nonsense")
        await wire.send_line(NOTE)
        await until(lambda: len(told) == 2)
        await transport.close()
        assert told[2:] == ["closed"]
    assert told[0] is MessageError
    assert isinstance(told[1], Notification)
    assert told.count("closed") == 1


async def test_messages_go_out_in_any_form() -> None:
    transport, wire = opened()
    async with transport:
        await transport.start()
        for message in (NOTE, Notification("m"), b'{"jsonrpc":"2.0","method":"m"}', '{"jsonrpc":"2.0","method":"m"}'):
            await transport.send(message)
            assert await wire.receive() == NOTE


async def test_a_failure_is_told_before_the_close() -> None:
    class Failing:
        async def send(self, message: bytes) -> None: ...

        async def receive(self) -> bytes:
            raise ConnectionFailed("broken")

        async def close(self) -> None: ...

    listener = Listener()
    async with as_callback_transport(Failing()) as transport:
        transport.set_message_handler(listener)
        await transport.start()
        await until(lambda: "closed" in listener.told)
    assert [type(one) for one in listener.told] == [ConnectionFailed, str]


async def test_an_exception_of_a_callback_is_logged_and_contained(caplog: pytest.LogCaptureFixture) -> None:
    transport, wire = opened()
    seen: list[Any] = []

    def broken(message: Any) -> None:
        seen.append(message)
        raise ZeroDivisionError

    transport.onmessage = broken
    with caplog.at_level(logging.ERROR, logger="trio_mcp_transport"):
        async with transport:
            await transport.start()
            await wire.send_line(NOTE)
            await wire.send_line(NOTE)
            await until(lambda: len(seen) == 2)
    assert [record.message.endswith("the callback handle_message failed") for record in caplog.records] == [True, True]
    assert caplog.records[0].exc_info and caplog.records[0].exc_info[0] is ZeroDivisionError


async def test_a_callback_may_close() -> None:
    transport, wire = opened()
    told: list[str] = []

    async def stop(message: Any) -> None:
        await transport.close()
        told.append("unreachable" if trio.current_effective_deadline() > 0 else "closing")

    transport.onmessage = stop
    transport.onclose = lambda: told.append("closed")
    async with transport:
        await transport.start()
        await wire.send_line(NOTE)
        await until(lambda: "closed" in told)
    assert told[-1] == "closed"


async def test_the_order_of_calls_is_kept() -> None:
    transport, _ = opened()
    with pytest.raises(LocalProtocolError, match="nursery"):
        await transport.start()
    async with transport:
        with pytest.raises(LocalProtocolError, match="started before"):
            await transport.send(NOTE)
        assert not transport.is_connected()
        await transport.start()
        assert transport.is_connected()
        with pytest.raises(LocalProtocolError, match="once"):
            await transport.start()
        with pytest.raises(LocalProtocolError, match="before start"):
            transport.set_message_handler(Listener())
        await transport.close()
        await transport.close()
        for call in (transport.start, lambda: transport.send(NOTE)):
            with pytest.raises(ConnectionClosed):
                await call()


async def test_a_nursery_of_the_caller() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        transport = as_callback_transport(ours, nursery=nursery)
        got: list[Any] = []
        transport.onmessage = got.append
        await transport.start()
        await Wire(theirs).send_line(NOTE)
        await until(lambda: got)
        await transport.close()


async def test_closing_when_its_nursery_is_cancelled_still_tells() -> None:
    transport, _ = opened()
    told: list[str] = []
    transport.onclose = lambda: told.append("closed")
    with trio.CancelScope() as scope:
        async with transport:
            await transport.start()
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.sleep_forever()
    assert told == ["closed"]


@pytest.mark.parametrize("given", [True, False])
async def test_a_client_transport_of_ours(given: bool) -> None:
    async def echo(request: Request, context: MessageContext) -> Any:
        return request.params

    server, client = memory_transports()
    got: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(Handlers(echo), server, server_info=ServerInfo("s", "1")))
        async with as_callback_transport(client, form="object", nursery=nursery if given else None) as transport:
            transport.onmessage = got.append
            await transport.start()
            params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
            await transport.send({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
            await until(lambda: got)
        nursery.cancel_scope.cancel()
    assert got[0]["result"]["serverInfo"]["name"] == "s"


async def test_the_bodys_exception_leaves_as_it_is() -> None:
    ours, _ = trio.testing.memory_stream_pair()

    async def body() -> None:
        async with as_callback_transport(as_bytes_transport(ours)) as transport:
            await transport.start()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
