"""The probe does what the method says, and notes what became of each message."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import Handlers, RpcError
from trio_mcp_transport.testing import connect
from trio_mcp_transport.testing.transport_checks.journal import MemoryJournal
from trio_mcp_transport.testing.transport_checks.probe import ProbeHandler


def plain(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("resultType", "_meta")}


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("check/echo", {"a": [1]}, {"echo": {"a": [1]}}),
        ("check/silence", {}, {}),
        ("check/blob", {"size": 3}, {"blob": "xxx"}),
        ("check/measure", {"text": "four"}, {"length": 4}),
        ("check/release", {"gate": "g"}, {"released": "g"}),
        ("check/delay", {"seconds": 5, "key": "k"}, {"key": "k"}),
        ("check/progress", {"count": 2}, {"count": 2}),
    ],
)
async def test_methods(method: str, params: Any, result: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with connect(ProbeHandler(MemoryJournal())) as client:
        assert plain(await client.request(method, params)) == result


async def test_what_becomes_of_a_message_is_noted(autojump_clock: trio.testing.MockClock) -> None:
    journal = MemoryJournal()
    async with connect(ProbeHandler(journal)) as client:
        await client.request("check/echo", {"key": "fine"})
        for how, code in (("rpc", 7), ("crash", -32603), ("group", -32603)):
            with pytest.raises(RpcError) as caught:
                await client.request("check/fail", {"key": how, "how": how, "code": 7, "message": "no"})
            assert caught.value.code == code
        with pytest.raises(RpcError, match="not known"):
            await client.request("other", {"key": "other"})
        with trio.move_on_after(1):
            await client.request("check/wait", {"key": "left"})
        await client.notify("notifications/check/echo", {"key": "told"})
        await journal.wait("ended", key="told")
    outcomes = {event.key: (event.kind, event.detail) for event in journal.events() if event.kind != "began"}
    assert outcomes == {
        "fine": ("ended", ""),
        "rpc": ("raised", "RpcError"),
        "crash": ("raised", "ZeroDivisionError"),
        "group": ("raised", "ExceptionGroup"),
        "other": ("raised", "RpcError"),
        "left": ("cancelled", "peer"),
        "told": ("ended", ""),
        "": ("close", ""),
    }
    assert len(journal.select("began")) == 7
    assert journal.events()[-1].kind == "close"


async def test_a_group_ends_from_its_last_turn_on() -> None:
    journal = MemoryJournal()
    async with connect(ProbeHandler(journal)) as client, trio.open_nursery() as nursery:
        for turn in range(3):
            params = {"group": "g", "size": 3, "turn": turn, "key": str(turn)}
            nursery.start_soon(client.request, "check/gather", params)
    assert [event.key for event in journal.select("ended")] == ["2", "1", "0"]


async def test_a_gate_holds_until_it_is_released() -> None:
    journal = MemoryJournal()
    async with connect(ProbeHandler(journal)) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.request, "check/hold", {"gate": "g", "key": "held"})
        await journal.wait("began", key="held")
        assert journal.select("ended") == []
        await client.request("check/release", {"gate": "g"})
    assert len(journal.select("ended", key="held")) == 1


async def test_it_asks_and_tells_where_the_era_lets_it() -> None:
    told: list[Any] = []

    async def answer(message: Any, context: Any) -> Any:
        return {"got": message.params}

    handler = Handlers(answer, lambda message, context: told.append(message.params))
    async with connect(ProbeHandler(MemoryJournal()), era="legacy", client_handler=handler) as client:
        asked = await client.request("check/ask", {"method": "q", "params": {"n": 1}})
        assert asked["answer"] == {"got": {"n": 1}}
        await client.request("check/tell", {"method": "notifications/n", "params": {"n": 2}})
        await client.request("check/echo")
    assert told == [{"n": 2}]
