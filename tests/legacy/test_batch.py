"""Batches, which one revision allows."""

from __future__ import annotations

from typing import Any

import pytest

from trio_mcp_transport.errors import MessageError
from trio_mcp_transport.legacy.batch import MAX_MEMBERS, refuse_batch, split_batch
from trio_mcp_transport.wire.messages import Batch, Notification, Request, Response

REQUEST = {"jsonrpc": "2.0", "id": 1, "method": "m"}
NOTE = {"jsonrpc": "2.0", "method": "n"}
RESPONSE = {"jsonrpc": "2.0", "id": 1, "result": {}}


def batch(*items: Any) -> Batch:
    return Batch(list(items), b"the frame")


def test_requests_and_notifications_come_out_in_order() -> None:
    members = split_batch(batch(REQUEST, NOTE, {**REQUEST, "id": "2"}))
    assert [type(member) for member in members] == [Request, Notification, Request]
    assert [getattr(member, "id", None) for member in members] == [1, None, "2"]


def test_responses_come_alone() -> None:
    assert [type(member) for member in split_batch(batch(RESPONSE, RESPONSE))] == [Response, Response]


def test_a_member_that_is_no_message_is_the_error_to_answer_it_with() -> None:
    bad, good = split_batch(batch({"jsonrpc": "1.0", "id": 7, "method": "m"}, REQUEST))
    assert isinstance(bad, MessageError) and isinstance(good, Request)
    assert (bad.rpc_code, bad.message_id) == (-32600, 7)


@pytest.mark.parametrize(
    "items",
    [
        (),
        (REQUEST, RESPONSE),
        (RESPONSE, NOTE),
        ({**REQUEST, "method": "initialize"},),
        (NOTE, {**REQUEST, "method": "initialize"}),
        (REQUEST,) * (MAX_MEMBERS + 1),
    ],
    ids=["empty", "mixed", "mixed with a notification", "initialize", "initialize later", "too long"],
)
def test_what_a_batch_may_not_be(items: tuple[Any, ...]) -> None:
    with pytest.raises(MessageError) as caught:
        split_batch(batch(*items))
    assert (caught.value.rpc_code, caught.value.message_id) == (-32600, None)
    assert caught.value.frame == b"the frame"


def test_the_longest_batch_is_as_long_as_an_admission_queue() -> None:
    assert len(split_batch(batch(*[NOTE] * MAX_MEMBERS))) == MAX_MEMBERS == 1000


def test_elsewhere_an_array_is_an_invalid_request() -> None:
    error = refuse_batch(batch(REQUEST))
    assert (error.rpc_code, error.frame, error.answerable) == (-32600, b"the frame", True)
