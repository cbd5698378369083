"""What a legacy server may begin, seen from the client; a modern one may begin nothing."""

from __future__ import annotations

from typing import Any

import pytest

from trio_mcp_transport import LegacyMessageContext, MessageContext
from trio_mcp_transport.context import ConnectionInfo
from trio_mcp_transport.errors import MessageError
from trio_mcp_transport.legacy.inbound import ClientInbound
from trio_mcp_transport.wire.envelope import Envelope
from trio_mcp_transport.wire.messages import Batch, Notification, Request
from trio_mcp_transport.wire.revisions import LATEST_MODERN, LEGACY

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


class Port:
    """A connection on which nothing is sent."""

    def __init__(self) -> None:
        self.info = ConnectionInfo(transport="t", connection_id="t-1")

    def push(self, message: Any) -> None:
        raise AssertionError("a client is silent")

    async def call(self, method: str, params: Any, context: MessageContext) -> Any:
        raise AssertionError("nothing is asked here")


def inbound(revision: str = LEGACY[0]) -> ClientInbound:
    return ClientInbound(Port(), lambda: revision)


def test_ping_is_answered_and_the_rest_goes_to_the_handler() -> None:
    machine = inbound()
    assert machine.request(Request(1, "ping")) == {}
    terms = machine.request(Request(1, "roots/list", {"_meta": {"progressToken": 5}}))
    assert isinstance(terms, Envelope)
    assert (terms.revision, terms.modern, terms.progress_token) == (LEGACY[0], False, 5)
    assert type(machine.context(terms, 0.0)) is LegacyMessageContext


@pytest.mark.parametrize("method", ["ping", "roots/list", "sampling/createMessage"])
def test_a_modern_server_asks_nothing(method: str) -> None:
    assert inbound(LATEST_MODERN).request(Request(1, method)) is None


@pytest.mark.parametrize("token", [True, 1.5, None, [], {}])
def test_a_token_of_another_type_is_none(token: Any) -> None:
    terms = inbound().request(Request(1, "roots/list", {"_meta": {"progressToken": token}}))
    assert isinstance(terms, Envelope)
    assert terms.progress_token is None


def test_notifications_that_belong_to_no_call_go_to_the_handler() -> None:
    assert isinstance(inbound().notification(Notification("notifications/message")), Envelope)
    assert isinstance(inbound(LATEST_MODERN).notification(Notification("custom")), Envelope)


def test_a_stray_subscription_tag_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "trio_mcp_transport")
    stray = Notification("notifications/tools/list_changed", {"_meta": {SUBSCRIPTION: "forged\nline"}})
    assert inbound(LATEST_MODERN).notification(stray) is None
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "subscription" in record.getMessage()


def test_batches_are_read_where_the_revision_has_them() -> None:
    batch = Batch([{"jsonrpc": "2.0", "method": "n"}], b"[...]")
    for revision in (*LEGACY, LATEST_MODERN, ""):
        if revision == "2025-03-26":
            assert len(inbound(revision).batch(batch)) == 1
        else:
            with pytest.raises(MessageError):
                inbound(revision).batch(batch)


def test_a_client_never_answers_what_it_cannot_read() -> None:
    assert inbound().unreadable(MessageError("what?", message_id=1)) is None
