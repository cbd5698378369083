"""The strategies: what they draw can be sent, and reaches where careless code breaks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from trio_mcp_transport.testing.strategies import (
    chunkings,
    damaged,
    garbage,
    json_objects,
    json_values,
    message_ids,
    messages,
    notifications,
    requests,
    responses,
)
from trio_mcp_transport.wire import jsontext
from trio_mcp_transport.wire.messages import Message, Notification, Request, Response, decode, encode


@given(messages())
def test_every_message_can_be_sent_and_read(message: Message) -> None:
    text = encode(message)
    again = decode(text)
    assert type(again) is type(message)
    assert jsontext.decode(encode(again)) == jsontext.decode(text)
    assert b"\n" not in text


@given(json_values(), json_objects())
def test_values_are_json(value: Any, members: dict[str, Any]) -> None:
    assert jsontext.decode(jsontext.encode(value)) == value
    assert jsontext.decode(jsontext.encode(members)) == members


@pytest.mark.parametrize(
    ("strategy", "kind"), [(requests(), Request), (notifications(), Notification), (responses(), Response)]
)
@given(data=st.data())
def test_kinds(strategy: st.SearchStrategy[Message], kind: type[Message], data: st.DataObject) -> None:
    assert isinstance(data.draw(strategy), kind)


@pytest.mark.parametrize("wanted", ["1", "null", "", 0, 2**53 + 1, 10**40])
def test_ids_that_are_taken_for_others(wanted: int | str) -> None:
    assert find(message_ids(), lambda found: type(found) is type(wanted) and found == wanted) == wanted


def test_responses_of_every_kind() -> None:
    assert find(responses(), lambda response: response.error is None).id is not None
    assert find(responses(), lambda response: response.error is not None and response.id is None).result is None


@given(st.binary(max_size=50), st.integers(0, 5), st.data())
def test_chunks_are_the_data(data: bytes, most: int, drawn: st.DataObject) -> None:
    chunks = drawn.draw(chunkings(data, max_cuts=most))
    assert b"".join(chunks) == data
    assert all(chunks) and len(chunks) <= most + 1


def test_chunks_of_one_byte_are_drawn() -> None:
    assert len(find(chunkings(b"abcd"), lambda chunks: len(chunks) == 4)) == 4


@given(garbage(7))
def test_garbage_is_bounded(data: bytes) -> None:
    assert len(data) <= 7


@pytest.mark.parametrize("wanted", [b"abd", b"abccd", b"abCd", b"abcd"])
def test_damage(wanted: bytes) -> None:
    assert find(damaged(b"abcd"), lambda data: data == wanted) == wanted
