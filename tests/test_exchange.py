"""One exchange: cancelled before, during and after its handler, and settled by its cause."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport.context import ConnectionInfo, MessageContext
from trio_mcp_transport.errors import FramingError, LocalProtocolError, RpcError
from trio_mcp_transport.exchange import LISTEN, CancelCause, Exchange, Fault
from trio_mcp_transport.wire.envelope import Envelope, ServerInfo
from trio_mcp_transport.wire.messages import Message, Notification, Request, Response
from trio_mcp_transport.wire.meta import CLIENT_CAPABILITIES, PROTOCOL_VERSION, SUBSCRIPTION_ID
from trio_mcp_transport.wire.modern import read_envelope


class Outbox:
    """Keeps what is put; implements `exchange.Outbox` without a connection."""

    def __init__(self) -> None:
        self.sent: list[tuple[Message, bool]] = []
        self.finished: list[Exchange] = []

    def put_nowait(self, exchange: Exchange, message: Message, final: bool) -> bool:
        self.put_urgent(exchange, message, final)
        return True

    async def put(self, exchange: Exchange, message: Message, final: bool) -> None:
        await trio.lowlevel.checkpoint()
        self.put_urgent(exchange, message, final)

    def put_urgent(self, exchange: Exchange, message: Message, final: bool) -> None:
        self.sent.append((message, final))
        exchange.answered = exchange.answered or final

    def finish(self, exchange: Exchange) -> None:
        self.finished.append(exchange)


def modern_envelope() -> Envelope:
    return read_envelope(
        {"_meta": {PROTOCOL_VERSION: "2026-07-28", CLIENT_CAPABILITIES: {}}}, server_info=ServerInfo("s", "1")
    )


def exchange_of(message: Request | Notification, envelope: Envelope | None = None) -> tuple[Exchange, Outbox]:
    outbox = Outbox()
    context = MessageContext(ConnectionInfo(transport="t", connection_id="t-1"), envelope or modern_envelope())
    return Exchange(message, context, outbox), outbox


def request_exchange(method: str = "tools/call", **options: Any) -> tuple[Exchange, Outbox]:
    return exchange_of(Request(7, method), **options)


def only_response(outbox: Outbox) -> Response:
    ((response, final),) = outbox.sent
    assert isinstance(response, Response) and final
    return response


async def test_cancelled_before_dispatch_the_handler_never_begins() -> None:
    exchange, outbox = request_exchange()
    exchange.cancel(CancelCause.PEER)
    scope = trio.CancelScope()
    assert exchange.begin(scope) is False
    exchange.settle()
    assert not scope.cancel_called
    assert outbox.sent == [] and outbox.finished == [exchange] and exchange.ended


async def test_cancelled_while_running_the_scope_of_the_worker_is_cancelled_once() -> None:
    exchange, _ = request_exchange()
    scope = trio.CancelScope()
    assert exchange.begin(scope) is True
    assert not scope.cancel_called
    exchange.cancel(CancelCause.PEER)
    exchange.cancel(CancelCause.DRAIN)
    assert scope.cancel_called
    assert exchange.cause is CancelCause.PEER, "the first cause stays"


async def test_cancelled_after_the_end_the_next_exchange_of_the_worker_is_not_hit() -> None:
    first, outbox = request_exchange()
    second, _ = request_exchange()
    scope = trio.CancelScope()
    first.begin(scope)
    first.end()
    second.begin(scope)
    first.cancel(CancelCause.PEER)
    assert not scope.cancel_called
    assert first.cause is None and second.cause is None
    first.end()
    assert outbox.finished == [first], "ending twice frees once"


async def test_cancelled_after_the_answer_the_cause_still_marks_it() -> None:
    exchange, outbox = request_exchange()
    exchange.begin(trio.CancelScope())
    exchange.refuse(RpcError(1, "no"))
    exchange.cancel(CancelCause.PEER)
    assert exchange.cause is CancelCause.PEER
    exchange.settle()
    assert len(outbox.sent) == 1 and outbox.finished == [], "the outbox knows the end by the final message"


@pytest.mark.parametrize("cause", [CancelCause.PEER, CancelCause.CLOSED, CancelCause.SERVICE])
@pytest.mark.parametrize("method", ["tools/call", LISTEN])
def test_three_causes_leave_the_peer_nothing(cause: CancelCause, method: str) -> None:
    exchange, outbox = request_exchange(method)
    exchange.begin(trio.CancelScope())
    exchange.cancel(cause)
    exchange.settle()
    assert outbox.sent == [] and outbox.finished == [exchange]


def test_a_drain_answers_a_call_with_an_error() -> None:
    exchange, outbox = request_exchange()
    exchange.cancel(CancelCause.DRAIN)
    exchange.settle()
    response = only_response(outbox)
    assert response.id == 7 and response.error is not None
    assert (response.error.code, response.error.data) == (-32603, {"reason": "shutdown"})


def test_a_drain_answers_a_listen_with_its_result_then_the_notice() -> None:
    exchange, outbox = request_exchange(LISTEN)
    exchange.cancel(CancelCause.DRAIN)
    exchange.notified = True  # its acknowledgement has left
    exchange.settle()
    (response, final), (notice, notice_final) = outbox.sent
    assert isinstance(response, Response) and final and not notice_final
    assert response.result["resultType"] == "complete"
    assert response.result["_meta"][SUBSCRIPTION_ID] == 7
    assert isinstance(notice, Notification)
    assert (notice.method, notice.params) == ("notifications/cancelled", {"requestId": 7})


def test_a_drain_after_the_answer_adds_nothing() -> None:
    exchange, outbox = request_exchange(LISTEN)
    exchange.refuse(RpcError(1, "no"))
    exchange.cancel(CancelCause.DRAIN)
    exchange.settle()
    assert len(outbox.sent) == 1


@pytest.mark.parametrize("cause", list(CancelCause))
def test_a_notification_is_never_answered(cause: CancelCause) -> None:
    exchange, outbox = exchange_of(Notification(LISTEN))
    assert not exchange.is_request and not exchange.is_listen
    exchange.refuse(RpcError(1, "no"))
    exchange.cancel(cause)
    exchange.settle()
    assert outbox.sent == []


def test_a_listen_of_the_legacy_era_is_a_call_like_any_other() -> None:
    exchange, outbox = request_exchange(LISTEN, envelope=Envelope("2025-11-25"))
    assert not exchange.is_listen
    exchange.cancel(CancelCause.DRAIN)
    exchange.settle()
    assert only_response(outbox).error is not None


def test_a_refusal_comes_once() -> None:
    exchange, outbox = request_exchange()
    exchange.refuse(RpcError(1, "no"))
    exchange.refuse(RpcError(2, "no"))
    error = only_response(outbox).error
    assert error is not None and error.code == 1


def test_a_response_carries_the_id_of_the_request_and_the_terms_of_the_revision() -> None:
    exchange, _ = request_exchange()
    response = exchange.response({"a": 1})
    assert response.id == 7
    assert response.result["a"] == 1 and response.result["resultType"] == "complete"
    assert exchange_of(Request(7, "m"), Envelope("2025-11-25"))[0].response({"a": 1}).result == {"a": 1}


@pytest.mark.requirement("M-JR-06", "M-JR-07")
def test_a_response_of_another_server_is_passed_on_under_the_own_id() -> None:
    exchange, _ = request_exchange()
    theirs = Response("other", {"a": 1})
    theirs.extra = {"unknown": 1}
    response = exchange.response(theirs)
    assert (response.id, response.extra) == (7, {"unknown": 1})
    assert response.result["resultType"] == "complete"
    with pytest.raises(LocalProtocolError):
        exchange.response(Response("other", [1]))


def test_an_error_of_another_server_is_passed_on_by_the_rules_of_the_revision() -> None:
    exchange, _ = request_exchange()
    kept = exchange.response(Response("other", error=RpcError(5, "no", {"d": 1}))).error
    assert kept is not None and (kept.code, kept.data) == (5, {"d": 1})
    mapped = exchange.response(Response("other", error=RpcError(-32001, "timeout"))).error
    assert mapped is not None and mapped.code == -32603


@pytest.mark.requirement("M-ER-08")
@pytest.mark.parametrize(
    ("code", "modern", "warned"),
    [
        (-32050, True, True),
        (-32000, True, True),
        (-32002, True, True),
        (-32768, True, True),
        (-32050, False, True),
        (-32002, False, False),
        (-32042, False, False),
        (-32602, True, False),
        (-32021, True, False),
        (-31999, True, False),
        (404, True, False),
    ],
)
def test_a_reserved_code_without_meaning_is_reported(
    code: int, modern: bool, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    exchange, _ = request_exchange(envelope=modern_envelope() if modern else Envelope("2025-11-25"))
    with caplog.at_level(logging.WARNING, "trio_mcp_transport"):
        exchange.refuse(RpcError(code, "no"))
    assert [str(code) in record.getMessage() for record in caplog.records] == [True] * warned


def test_a_fault_carries_its_error_and_is_no_request() -> None:
    fault = Fault(FramingError("torn"))
    assert str(fault.error) == "torn" and fault.params == {}
    exchange, outbox = exchange_of(fault)
    exchange.refuse(RpcError(1, "no"))
    exchange.end()
    assert outbox.sent == [] and outbox.finished == [exchange]


async def test_a_cancel_from_another_task_reaches_the_handler_at_its_next_checkpoint() -> None:
    exchange, _ = request_exchange()
    steps: list[str] = []

    async def worker() -> None:
        with trio.CancelScope() as scope:
            assert exchange.begin(scope)
            try:
                await trio.sleep_forever()
            finally:
                steps.append(f"cancelled by {exchange.context.cancel_cause}")
        exchange.settle()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker)
        await trio.testing.wait_all_tasks_blocked()
        exchange.cancel(CancelCause.PEER)
        assert steps == [], "cancelling is synchronous and runs nothing"
    assert steps == [f"cancelled by {CancelCause.PEER}"]
    assert exchange.ended
