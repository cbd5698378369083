"""The session of one legacy connection, seen from the server."""

from __future__ import annotations

from typing import Any

import pytest

from trio_mcp_transport import MessageContext, RpcError, ServerInfo, Subscriptions
from trio_mcp_transport.context import ConnectionInfo
from trio_mcp_transport.legacy.server import LegacySession
from trio_mcp_transport.wire.envelope import Envelope
from trio_mcp_transport.wire.messages import Message, Notification, Request, Response
from trio_mcp_transport.wire.revisions import LATEST_LEGACY, LEGACY

INFO = ServerInfo("s", "1", {"tools": {}}, "be kind")


class Port:
    """Keeps what is pushed."""

    def __init__(self) -> None:
        self.info = ConnectionInfo(transport="t", connection_id="t-1")
        self.pushed: list[Message] = []

    def push(self, message: Message) -> None:
        self.pushed.append(message)

    async def call(self, method: str, params: Any, context: MessageContext) -> Any:
        raise AssertionError("nothing is asked here")


def initialize(revision: Any = LATEST_LEGACY, **params: Any) -> Request:
    given = {"protocolVersion": revision, "capabilities": {"roots": {}}, "clientInfo": {"name": "c"}, **params}
    return Request("i", "initialize", given)


def session(
    subscriptions: Subscriptions | None = None, *, info: ServerInfo | None = INFO
) -> tuple[LegacySession, Port]:
    port = Port()
    return LegacySession(port, info, subscriptions), port


def terms(one: LegacySession, request: Request) -> Envelope:
    envelope = one.request(request)
    assert isinstance(envelope, Envelope)
    return envelope


@pytest.mark.parametrize(("asked", "given"), [*((one, one) for one in LEGACY), ("1900-01-01", LATEST_LEGACY)])
def test_initialize_is_answered_with_the_revision_asked_for_or_the_newest(asked: str, given: str) -> None:
    one, _ = session()
    assert one.request(initialize(asked)) == {
        "protocolVersion": given,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "s", "version": "1"},
        "instructions": "be kind",
    }
    assert one.revision == given


def test_initialize_comes_once_and_well_formed() -> None:
    one, _ = session()
    for params in ({"protocolVersion": 7}, {"protocolVersion": None}, {"capabilities": []}):
        with pytest.raises(RpcError) as caught:
            one.request(initialize(**{"revision": params.pop("protocolVersion", LATEST_LEGACY), **params}))
        assert caught.value.code == -32602
    assert one.revision is None
    one.request(initialize())
    with pytest.raises(RpcError, match="once"):
        one.request(initialize())


def test_what_was_negotiated_is_in_the_terms_of_every_message() -> None:
    one, _ = session()
    one.request(initialize("2025-06-18"))
    meta = {"progressToken": "t", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    envelope = terms(one, Request(1, "m", {"_meta": meta}))
    assert (envelope.revision, envelope.modern) == ("2025-06-18", False)
    assert envelope.client_capabilities == {"roots": {}}
    assert envelope.client_info == {"name": "c"}
    assert envelope.progress_token == "t"
    assert set(envelope.trace) == {"traceparent"}
    assert terms(one, Request(1, "m", {"_meta": {"progressToken": True}})).progress_token is None


def test_ping_is_answered_by_the_library_unless_the_handler_is_everything() -> None:
    assert session()[0].request(Request(1, "ping")) == {}
    assert isinstance(session(info=None)[0].request(Request(1, "ping")), Envelope)


def test_the_log_level_holds_from_its_request_on_and_starts_with_everything() -> None:
    one, _ = session()
    one.request(initialize())
    assert terms(one, Request(1, "m")).wants_log("debug")
    assert terms(one, Request(1, "logging/setLevel", {"level": "warning"})).log_level == "warning"
    later = terms(one, Request(1, "m"))
    assert (later.wants_log("warning"), later.wants_log("notice")) == (True, False)
    assert terms(one, Request(1, "logging/setLevel", {"level": "loud"})).log_level == "warning"


def test_initialized_makes_the_session_ready_and_is_not_for_the_handler() -> None:
    one, _ = session()
    one.request(initialize())
    assert not one.ready
    assert one.notification(Notification("notifications/initialized")) is None
    assert one.ready
    assert isinstance(one.notification(Notification("notifications/roots/list_changed")), Envelope)


def test_a_ready_session_gets_what_is_published_until_it_is_closed() -> None:
    subscriptions = Subscriptions()
    one, port = session(subscriptions)
    one.request(initialize())
    subscriptions.publish("notifications/tools/list_changed")
    assert port.pushed == []
    for _ in range(2):
        one.notification(Notification("notifications/initialized"))
    subscriptions.publish("notifications/tools/list_changed")
    assert len(port.pushed) == 1
    one.closed()
    one.closed()
    subscriptions.publish("notifications/tools/list_changed")
    assert len(port.pushed) == 1


def test_resources_are_subscribed_to_one_by_one() -> None:
    subscriptions = Subscriptions()
    one, port = session(subscriptions)
    one.request(initialize())
    assert isinstance(one.request(Request(1, "resources/subscribe", {"uri": "a"})), Envelope), "not ready yet"
    one.notification(Notification("notifications/initialized"))
    assert one.request(Request(1, "resources/subscribe", {"uri": "a"})) == {}
    for uri in ("a", "b"):
        subscriptions.publish("notifications/resources/updated", {"uri": uri})
    assert [message.params["uri"] for message in port.pushed if isinstance(message, Notification)] == ["a"]
    assert one.request(Request(1, "resources/unsubscribe", {"uri": "a"})) == {}
    assert one.request(Request(1, "resources/unsubscribe", {"uri": "never"})) == {}
    subscriptions.publish("notifications/resources/updated", {"uri": "a"})
    assert len(port.pushed) == 1
    with pytest.raises(RpcError) as caught:
        one.request(Request(1, "resources/subscribe", {"uri": 7}))
    assert caught.value.code == -32602


def test_without_a_publisher_subscriptions_reach_the_handler() -> None:
    one, _ = session()
    one.request(initialize())
    one.notification(Notification("notifications/initialized"))
    assert isinstance(one.request(Request(1, "resources/subscribe", {"uri": "a"})), Envelope)


def test_a_handlers_own_answer_to_initialize_is_believed() -> None:
    one, _ = session(info=None)
    asked = initialize("2025-06-18")
    assert isinstance(one.request(asked), Envelope)
    for answer in (Response("i", error=RpcError(1, "no")), Response("i", {"protocolVersion": "1900-01-01"})):
        one.answered(asked, answer)
        assert one.revision is None
    one.answered(asked, Response("i", {"protocolVersion": "2024-11-05"}))
    assert one.revision == "2024-11-05"
