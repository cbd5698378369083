"""Which era a message belongs to: by message, then by session, then by what was switched on."""

from __future__ import annotations

from typing import Any

import pytest

from trio_mcp_transport import EraPolicy, LegacyMessageContext, MessageContext, RpcError, ServerInfo
from trio_mcp_transport.context import ConnectionInfo
from trio_mcp_transport.errors import MessageError
from trio_mcp_transport.transports.eras import ServerEras
from trio_mcp_transport.wire.envelope import Envelope
from trio_mcp_transport.wire.messages import Batch, Message, Notification, Request, Response
from trio_mcp_transport.wire.meta import CLIENT_CAPABILITIES, LOG_LEVEL, PROTOCOL_VERSION
from trio_mcp_transport.wire.modern import REMOVED_METHODS
from trio_mcp_transport.wire.revisions import LEGACY, MODERN

INFO = ServerInfo("s", "1")
MODERN_META = {PROTOCOL_VERSION: MODERN[0], CLIENT_CAPABILITIES: {}}


class FakePort:
    """A connection that sends nothing."""

    def __init__(self) -> None:
        self.info = ConnectionInfo(transport="t", connection_id="t-1")
        self.pushed: list[Message] = []

    def push(self, message: Message) -> None:
        self.pushed.append(message)

    async def call(self, method: str, params: Any, context: MessageContext) -> Any:
        raise AssertionError("nothing is asked here")


def eras(server_info: ServerInfo | None = INFO, **policy: Any) -> ServerEras:
    return ServerEras(FakePort(), EraPolicy(**policy), server_info)


def request(method: str, *, meta: Any = None, **params: Any) -> Request:
    return Request(1, method, {**params, "_meta": meta} if meta is not None else params)


def initialize(revision: str = LEGACY[0]) -> Request:
    return request("initialize", protocolVersion=revision, capabilities={}, clientInfo={"name": "c", "version": "1"})


def code(era: ServerEras, asked: Request) -> int:
    with pytest.raises(RpcError) as caught:
        era.request(asked)
    return caught.value.code


def terms(era: ServerEras, asked: Request) -> Envelope:
    envelope = era.request(asked)
    assert isinstance(envelope, Envelope)
    return envelope


def test_the_version_key_makes_a_message_modern_whatever_was_agreed_before() -> None:
    era = eras()
    assert terms(era, request("m", meta=MODERN_META)).modern
    era.request(initialize())
    assert terms(era, request("m", meta=MODERN_META)).modern
    legacy = terms(era, request("m"))
    assert (legacy.modern, legacy.revision) == (False, LEGACY[0])
    # A broken modern envelope is a broken modern request, not a legacy one.
    assert code(era, request("m", meta={PROTOCOL_VERSION: MODERN[0]})) == -32602
    assert code(era, request("m", meta={PROTOCOL_VERSION: "1900-01-01", CLIENT_CAPABILITIES: {}})) == -32022


def test_without_an_envelope_and_without_initialize_a_request_is_refused_with_what_is_spoken() -> None:
    with pytest.raises(RpcError) as caught:
        eras().request(request("m"))
    assert caught.value.code == -32602
    assert caught.value.data == {"supported": [*MODERN, *LEGACY]}
    with pytest.raises(RpcError) as caught:
        eras(legacy=False).request(request("m"))
    assert caught.value.data == {"supported": list(MODERN)}


def test_legacy_revisions_can_be_switched_off_and_initialize_is_told_so() -> None:
    era = eras(legacy=False)
    with pytest.raises(RpcError) as caught:
        era.request(initialize("2025-06-18"))
    assert caught.value.code == -32602
    assert caught.value.data == {"supported": list(MODERN), "requested": "2025-06-18"}
    assert MODERN[0] in caught.value.message
    assert code(era, request("m")) == -32602


def test_plain_json_rpc_is_served_where_it_was_switched_on() -> None:
    era = eras(plain=True)
    plain = terms(era, request("m"))
    assert (plain.modern, plain.revision) == (False, "")
    assert era.request(request("ping")) == {}
    assert type(era.context(plain, 0.0)) is MessageContext
    assert terms(era, request("m", meta=MODERN_META)).modern


@pytest.mark.parametrize("method", sorted(REMOVED_METHODS))
def test_methods_of_earlier_revisions_do_not_exist_in_a_modern_envelope(method: str) -> None:
    assert code(eras(), request(method, meta=MODERN_META)) == -32601


def test_discover_is_answered_by_the_library_only_where_it_knows_the_server() -> None:
    result = eras().request(request("server/discover", meta=MODERN_META))
    assert not isinstance(result, Envelope) and result is not None
    assert result["supportedVersions"] == list(MODERN)
    assert isinstance(eras(None).request(request("server/discover", meta=MODERN_META)), Envelope)


def test_no_request_depends_on_an_earlier_one() -> None:
    era = eras()
    first = terms(era, request("m", meta={**MODERN_META, CLIENT_CAPABILITIES: {"sampling": {}}, LOG_LEVEL: "debug"}))
    second = terms(era, request("m", meta=MODERN_META))
    assert (first.client_capabilities, first.log_level) == ({"sampling": {}}, "debug")
    assert (second.client_capabilities, second.log_level) == ({}, None)
    terms(era, request("m", meta={**MODERN_META, "progressToken": 1}))
    # Equal for Python, and yet no token: nothing is taken over from the request before.
    assert code(era, request("m", meta={**MODERN_META, "progressToken": True})) == -32602
    assert code(era, request("m", meta={**MODERN_META, "progressToken": 1.0})) == -32602


def test_a_handler_that_changes_its_own_terms_changes_no_other() -> None:
    era = eras()
    first = terms(era, request("m", meta={**MODERN_META, CLIENT_CAPABILITIES: {}}))
    first.client_capabilities["elicitation"] = {}  # type: ignore[index]  # a handler that does what it must not
    assert terms(era, request("m", meta={**MODERN_META, CLIENT_CAPABILITIES: {}})).client_capabilities == {}


def test_notifications_follow_the_same_rule_and_are_never_answered() -> None:
    era = eras()
    modern = era.notification(Notification("n"))
    assert modern is not None and modern.modern
    assert era.notification(Notification("n", {"_meta": {PROTOCOL_VERSION: "1900-01-01"}})) is None
    era.request(initialize())
    assert era.notification(Notification("notifications/initialized")) is None
    legacy = era.notification(Notification("n"))
    assert legacy is not None and not legacy.modern


def test_the_context_class_follows_the_era() -> None:
    era = eras()
    era.request(initialize())
    assert type(era.context(terms(era, request("m", meta=MODERN_META)), 1.5)) is MessageContext
    legacy = era.context(terms(era, request("m")), 1.5)
    assert type(legacy) is LegacyMessageContext
    assert legacy.received_at == 1.5


def test_unreadable_messages_are_answered_or_met_with_silence() -> None:
    error = MessageError("what?", message_id=7)
    answer = eras().unreadable(error)
    assert answer is not None and answer.error is not None
    assert (answer.id, answer.error.code) == (7, -32600)
    assert eras(unreadable="silent").unreadable(error) is None
    assert eras().unreadable(MessageError("a broken answer", answerable=False)) is None


@pytest.mark.parametrize(("revision", "extra"), [(None, None), *((one, {"id": None}) for one in LEGACY[1:])])
def test_an_answer_without_an_id_has_a_null_only_before_2025_11_25(revision: str | None, extra: Any) -> None:
    era = eras()
    if revision is not None:
        era.request(initialize(revision))
    answer = era.unreadable(MessageError("what?"))
    assert answer is not None
    assert (answer.id, answer.extra) == (None, extra)


def test_batches_exist_in_one_revision() -> None:
    batch = Batch([{"jsonrpc": "2.0", "id": 1, "method": "m"}], b"[...]")
    for revision in (None, *LEGACY):
        era = eras()
        if revision is not None:
            era.request(initialize(revision))
        if revision == "2025-03-26":
            (member,) = era.batch(batch)
            assert isinstance(member, Request)
        else:
            with pytest.raises(MessageError) as caught:
                era.batch(batch)
            assert caught.value.rpc_code == -32600
    with pytest.raises(MessageError):
        eras(legacy=False).batch(batch)


def test_a_handler_may_answer_initialize_itself() -> None:
    era = eras(None)
    asked = initialize()
    assert isinstance(era.request(asked), Envelope)
    era.answered(asked, Response(1, {"protocolVersion": "2025-06-18"}))
    assert terms(era, request("m")).revision == "2025-06-18"


def test_extensions_add_result_types() -> None:
    envelope = terms(eras(extensions=frozenset({"task"})), request("m", meta=MODERN_META))
    assert envelope.result("m", {"resultType": "task"})["resultType"] == "task"
