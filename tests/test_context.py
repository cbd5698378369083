"""What a context tells a handler, and what it lets it send."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.test_exchange import Outbox, modern_envelope
from trio_mcp_transport.context import Auth, ConnectionInfo, MessageContext, Peer
from trio_mcp_transport.errors import LocalProtocolError, RpcError
from trio_mcp_transport.exchange import CancelCause, Exchange
from trio_mcp_transport.wire.envelope import Envelope
from trio_mcp_transport.wire.messages import Notification, Request

LEGACY = Envelope("2025-11-25")


def context_of(envelope: Envelope, **connection: Any) -> tuple[MessageContext, Outbox]:
    info = ConnectionInfo(transport="tcp", connection_id="tcp-1", **connection)
    context, outbox = MessageContext(info, envelope, received_at=2.5), Outbox()
    Exchange(Request(1, "tools/call"), context, outbox)
    return context, outbox


def notices(outbox: Outbox) -> list[tuple[str, dict[str, Any]]]:
    assert all(isinstance(message, Notification) and not final for message, final in outbox.sent)
    return [(message.method, message.params) for message, _ in outbox.sent if isinstance(message, Notification)]


def test_it_tells_about_the_connection() -> None:
    peer, auth = Peer(address="1.2.3.4:5"), Auth(subject="ann", scopes=frozenset({"read"}))
    context, _ = context_of(LEGACY, peer=peer, auth=auth, headers={"host": "h"}, session_id="s")
    assert (context.transport, context.connection_id, context.received_at) == ("tcp", "tcp-1", 2.5)
    assert (context.peer, context.auth, context.headers, context.session_id) == (peer, auth, {"host": "h"}, "s")
    bare, _ = context_of(LEGACY)
    assert (bare.peer.address, bare.auth, bare.headers, bare.session_id) == ("", None, {}, None)


def test_it_tells_about_the_message() -> None:
    envelope = modern_envelope()
    envelope.client_info = {"name": "c"}
    envelope.client_capabilities = {"sampling": {}}
    envelope.trace = {"baggage": "k=v"}
    context, _ = context_of(envelope)
    assert context.revision == "2026-07-28"
    assert (context.client_info, context.client_capabilities) == ({"name": "c"}, {"sampling": {}})
    assert context.trace == {"baggage": "k=v"}


@pytest.mark.requirement("M-ST-05", "M-JR-16")
def test_it_offers_neither_a_request_nor_a_store_of_the_connection() -> None:
    public = {name for name in dir(MessageContext) if not name.startswith("_")}
    assert public == {
        "auth",
        "cancel_cause",
        "client_capabilities",
        "client_info",
        "connection",
        "connection_id",
        "envelope",
        "exchange",
        "headers",
        "last_cause",
        "log",
        "metadata",
        "notify",
        "peer",
        "progress",
        "received_at",
        "revision",
        "session_id",
        "trace",
        "transport",
    }
    first, _ = context_of(modern_envelope())
    second, _ = context_of(modern_envelope())
    first.metadata["user"] = "ann"
    assert first.metadata == {"user": "ann"} and second.metadata == {}


async def test_notify_sends_until_the_answer() -> None:
    context, outbox = context_of(modern_envelope())
    with trio.testing.assert_checkpoints():
        await context.notify("notifications/x", {"a": 1, "_meta": {"com.example/k": 1}})
    assert notices(outbox) == [("notifications/x", {"a": 1, "_meta": {"com.example/k": 1}})]
    assert context.exchange is not None
    context.exchange.refuse(RpcError(1, "no"))
    with pytest.raises(LocalProtocolError, match="follow the response"):
        await context.notify("notifications/x")


async def test_nothing_is_sent_after_the_end_or_for_a_connection_hook() -> None:
    context, outbox = context_of(modern_envelope())
    assert context.exchange is not None
    context.exchange.end()
    hook = MessageContext(ConnectionInfo(transport="t", connection_id="t-1"), Envelope())
    assert hook.exchange is None and hook.cancel_cause is None
    for ended in (context, hook):
        with pytest.raises(LocalProtocolError):
            await ended.notify("notifications/x")
    assert outbox.sent == []


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("notifications/cancelled", {"requestId": 1}),
        ("notifications/progress", {"progressToken": 2, "progress": 1}),
        ("notifications/progress", {"progress": 1}),
        ("notifications/message", {"level": "loud"}),
        ("notifications/message", {}),
        ("notifications/x", {"_meta": {"io.modelcontextprotocol/x": 1}}),
    ],
)
async def test_modern_terms_forbid_some_notifications(method: str, params: dict[str, Any]) -> None:
    envelope = modern_envelope()
    envelope.progress_token = "2"
    context, outbox = context_of(envelope)
    with pytest.raises(LocalProtocolError):
        await context.notify(method, params)
    assert outbox.sent == []


async def test_progress_needs_a_token_and_only_ever_rises() -> None:
    silent, nothing = context_of(modern_envelope())
    with trio.testing.assert_checkpoints():
        await silent.progress(1)
    assert nothing.sent == []
    envelope = modern_envelope()
    envelope.progress_token = "2"
    context, outbox = context_of(envelope)
    for value in (1, 1, 0.5, float("nan"), 2):
        with trio.testing.assert_checkpoints():
            await context.progress(value, 10, "on the way" if value == 2 else None)
    assert notices(outbox) == [
        ("notifications/progress", {"progressToken": "2", "progress": 1, "total": 10}),
        ("notifications/progress", {"progressToken": "2", "progress": 2, "total": 10, "message": "on the way"}),
    ]


async def test_logs_go_out_from_the_level_asked_for() -> None:
    envelope = modern_envelope()
    context, outbox = context_of(envelope)
    with trio.testing.assert_checkpoints():
        await context.log("emergency", "unasked")
    await context.notify("notifications/message", {"level": "emergency", "data": "unasked"})
    assert outbox.sent == []
    envelope.log_level = "warning"
    await context.log("info", "too little")
    await context.log("warning", {"a": 1}, "app")
    await context.notify("notifications/message", {"level": "info", "data": 1})
    assert notices(outbox) == [("notifications/message", {"level": "warning", "data": {"a": 1}, "logger": "app"})]
    with pytest.raises(LocalProtocolError):
        await context.log("loud", "x")


async def test_cancel_cause_tells_why() -> None:
    context, _ = context_of(modern_envelope())
    assert context.exchange is not None and context.cancel_cause is None
    with trio.CancelScope() as scope:
        scope.cancel()
        assert context.cancel_cause is CancelCause.SERVICE, "cancelled from around the exchange"
        context.exchange.cancel(CancelCause.DRAIN)
        assert context.cancel_cause is CancelCause.DRAIN
        await trio.lowlevel.checkpoint()
    ended, _ = context_of(modern_envelope())
    assert ended.exchange is not None
    ended.exchange.end()
    with trio.CancelScope() as scope:
        scope.cancel()
        assert ended.cancel_cause is None
        await trio.lowlevel.checkpoint()
