"""Replies by method come before replies in order, each once, and what is left is named."""

from __future__ import annotations

from typing import Any

import pytest

from trio_mcp_transport import Notification, Request, Response, RpcError
from trio_mcp_transport.testing.mock_script import Reply, Script, as_reply, progress

ASKED = Request(3, "m", {"_meta": {"progressToken": "t"}})
STEP = {"progressToken": "t", "progress": 1}


def sent(reply: Reply) -> list[Any]:
    found: list[Any] = []
    for message in reply.messages(ASKED):
        if isinstance(message, Response):
            found.append((message.id, message.error.code if message.error is not None else message.result))
        else:
            found.append(message.params if isinstance(message, Notification) else message)
    return found


@pytest.mark.parametrize(
    ("answer", "messages"),
    [
        ({"a": 1}, [(3, {"a": 1})]),
        (None, [(3, {})]),
        (RpcError(4, "no"), [(3, 4)]),
        (Response(9, {"b": 2}), [(3, {"b": 2})]),
        (Response(9, error=RpcError(6, "no")), [(3, 6)]),
        (b"raw", [b"raw"]),
        (bytearray(b"raw"), [b"raw"]),
        (Notification("n"), [b'{"jsonrpc":"2.0","method":"n"}']),
        (Request(5, "m"), [b'{"jsonrpc":"2.0","id":5,"method":"m"}']),
        (Reply(), [(3, {})]),
        (Reply(silent=True), []),
        (Reply(disconnect=True), []),
        (Reply(result={}, disconnect=True), [(3, {})]),
        (
            Reply(notifications=[progress(1, 2, "x")], silent=True),
            [{**STEP, "total": 2, "message": "x"}],
        ),
        (
            Reply(notifications=[Notification("n", {"k": 1}), progress(1)]),
            [{"k": 1}, STEP, (3, {})],
        ),
    ],
)
def test_what_a_reply_sends(answer: Any, messages: list[Any]) -> None:
    assert sent(as_reply(answer)) == messages


def test_what_is_no_reply_is_refused_when_it_is_added() -> None:
    script = Script()
    for wrong in (5, "text", [1]):
        with pytest.raises(TypeError, match="a reply is"):
            script.add(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a reply is"):
            script.on("m", [wrong], always=False)  # type: ignore[list-item]


def test_a_methods_own_replies_come_first() -> None:
    script = Script()
    script.add({"n": 0})
    script.on("m", [{"n": 1}, lambda request: {"id": request.id}], always=False)
    assert script.claims("m") and not script.claims("other")
    assert script.left()[1:] == ["(next): {'n': 0}"] or len(script.left()) == 3
    found = [script.next_for(ASKED) for _ in range(4)]
    assert [None if reply is None else reply.result for reply in found] == [{"n": 1}, {"id": 3}, {"n": 0}, None]
    assert script.left() == [] and script.first_in_order() is None


def test_a_method_without_answers_has_an_empty_one() -> None:
    script = Script()
    script.on("m", [], always=False)
    assert [sent(reply) for reply in (script.next_for(ASKED), script.next_for(ASKED)) if reply] == [[(3, {})]]


def test_always_repeats_the_last_and_is_never_left() -> None:
    script = Script()
    script.on("m", [], always=True)
    assert script.left() == []
    assert [sent(reply) for _ in range(3) if (reply := script.next_for(ASKED)) is not None] == [[(3, {})]] * 3
