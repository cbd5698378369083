"""A question to the peer: who may ask, and what it costs the others."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio.testing

from tests.support import legacy_request, serve_bytes, shake_hands
from trio_mcp_transport import Handlers, LegacyMessageContext, Limits, MessageContext, Request, RpcError
from trio_mcp_transport.errors import LocalProtocolError


async def ask_first(request: Request, context: MessageContext) -> Any:
    assert isinstance(context, LegacyMessageContext)
    return {"answer": await context.request("sampling/createMessage", {"for": request.id})}


async def test_the_answer_is_the_decoded_result(autojump_clock: trio.testing.MockClock) -> None:
    async with serve_bytes(Handlers(ask_first)) as wire:
        await shake_hands(wire)
        await wire.send_line(legacy_request(7, "tools/call"))
        question = json.loads(await wire.receive_line())
        assert (question["method"], question["params"]) == ("sampling/createMessage", {"for": 7})
        await wire.send_line({"jsonrpc": "2.0", "id": question["id"], "result": {"text": "yes"}})
        assert json.loads(await wire.receive_line())["result"] == {"answer": {"text": "yes"}}


async def test_an_error_of_the_peer_reaches_the_asking_handler(autojump_clock: trio.testing.MockClock) -> None:
    seen: list[RpcError] = []

    async def ask(request: Request, context: MessageContext) -> Any:
        try:
            return await ask_first(request, context)
        except RpcError as error:
            seen.append(error)
            return {}

    async with serve_bytes(Handlers(ask)) as wire:
        await shake_hands(wire)
        await wire.send_line(legacy_request(1, "tools/call"))
        question = json.loads(await wire.receive_line())
        await wire.send_line({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -1, "message": "no"}})
        assert json.loads(await wire.receive_line())["result"] == {}
    assert [(error.code, error.message) for error in seen] == [(-1, "no")]


@pytest.mark.parametrize("bound", [1, 2, 3])
async def test_questions_are_bounded(autojump_clock: trio.testing.MockClock, bound: int) -> None:
    refused: list[str] = []

    async def ask(request: Request, context: MessageContext) -> Any:
        try:
            return await ask_first(request, context)
        except LocalProtocolError as error:
            refused.append(str(error))
            return {}

    async with serve_bytes(Handlers(ask), limits=Limits(max_pending=bound)) as wire:
        await shake_hands(wire)
        for id_ in range(bound + 1):
            await wire.send_line(legacy_request(id_, "tools/call"))
        lines = [json.loads(await wire.receive_line()) for _ in range(bound + 1)]
    assert sum("method" in line for line in lines) == bound
    assert len(refused) == 1
