"""The one context that may ask its peer something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio

from tests.support import legacy_request, modern_request, serve_bytes, shake_hands
from trio_mcp_transport import LegacyMessageContext, LocalProtocolError, MessageContext, Request, RpcError
from trio_mcp_transport.context import ConnectionInfo
from trio_mcp_transport.wire.envelope import Envelope


class Port:
    """Answers every question at once and keeps it."""

    def __init__(self) -> None:
        self.info = ConnectionInfo(transport="t", connection_id="t-1")
        self.asked: list[Any] = []

    def push(self, message: Any) -> None:
        raise AssertionError("nothing is pushed here")

    async def call(self, method: str, params: Mapping[str, Any] | None, context: MessageContext) -> Any:
        await trio.lowlevel.checkpoint()
        self.asked.append((method, params, context))
        return {"answer": method}


async def test_a_question_goes_through_the_connection_of_the_message() -> None:
    port = Port()
    context = LegacyMessageContext(port.info, Envelope("2025-11-25"), 0.0, port, True)
    assert await context.request("roots/list", {"a": 1}) == {"answer": "roots/list"}
    assert port.asked == [("roots/list", {"a": 1}, context)]


async def test_before_the_handshake_is_complete_only_ping_may_be_asked() -> None:
    port = Port()
    context = LegacyMessageContext(port.info, Envelope("2025-11-25"), 0.0, port, False)
    assert await context.request("ping") == {"answer": "ping"}
    with pytest.raises(LocalProtocolError, match="before notifications/initialized"):
        await context.request("sampling/createMessage")
    assert len(port.asked) == 1


async def test_an_error_of_the_peer_is_raised_and_the_handler_may_go_on() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        assert isinstance(context, LegacyMessageContext)
        try:
            await context.request("roots/list")
        except RpcError as error:
            return {"code": error.code, "data": error.data}
        raise AssertionError("an error was expected")

    async with serve_bytes(handle) as wire:
        await shake_hands(wire)
        question = await wire.ask(legacy_request(1))
        error = {"code": -1, "message": "no", "data": [1]}
        answer = await wire.ask({"jsonrpc": "2.0", "id": question["id"], "error": error})
        assert answer["result"] == {"code": -1, "data": [1]}


async def test_a_cancelled_handler_tells_the_peer_that_its_answer_is_not_wanted() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        assert isinstance(context, LegacyMessageContext)
        with trio.move_on_after(0.01):
            await context.request("roots/list")
        return {}

    async with serve_bytes(handle) as wire:
        await shake_hands(wire)
        question = await wire.ask(legacy_request(1))
        lines = [await wire.receive(), await wire.receive()]
        assert lines[0]["method"] == "notifications/cancelled"
        assert lines[0]["params"]["requestId"] == question["id"]
        assert lines[1]["id"] == 1


async def test_a_modern_message_has_no_way_to_ask() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        return {"asks": hasattr(context, "request")}

    async with serve_bytes(handle) as wire:
        await shake_hands(wire)
        assert (await wire.ask(modern_request(1)))["result"]["asks"] is False
        assert (await wire.ask(legacy_request(2)))["result"]["asks"] is True
