"""What a request and a notification hold, as they came and as they leave."""

from __future__ import annotations

from types import MappingProxyType

import msgspec
import pytest

from trio_mcp_transport.errors import LocalProtocolError, RpcError
from trio_mcp_transport.wire.messages import decode, encode
from trio_mcp_transport.wire.requests import Notification, Request, decode_raw


class Point(msgspec.Struct):
    x: int


@pytest.mark.parametrize("params", [{"x": 1}, MappingProxyType({"x": 1}), b'{"x": 1}', msgspec.Raw(b'{"x":1}')])
def test_params_may_be_given_in_any_form(params: object) -> None:
    request = Request(1, "m", params)  # type: ignore[arg-type]  # the forms are the point
    assert request.params == {"x": 1}
    assert msgspec.json.decode(request.raw_params or b"") == {"x": 1}
    assert request.decode(Point) == Point(1)


def test_params_that_do_not_fit_a_type_are_invalid_params() -> None:
    with pytest.raises(RpcError) as caught:
        Request(1, "m", {"x": "one"}).decode(Point)
    assert caught.value.code == -32602


def test_absent_params_read_as_empty_and_stay_absent() -> None:
    notification = Notification("n")
    assert (notification.params, notification.raw_params, notification.size) == ({}, None, 0)
    assert b"params" not in encode(notification)


@pytest.mark.parametrize("id_", [None, True, 1.5, [], {}])
def test_an_id_is_an_integer_or_a_string(id_: object) -> None:
    with pytest.raises(LocalProtocolError):
        Request(id_, "m")  # type: ignore[arg-type]  # the wrong types are the point


def test_raw_params_come_out_as_they_came_in() -> None:
    frame = b'{"jsonrpc":"2.0","method":"n","params":{ "x" : 1.0 }}'
    message = decode(frame)
    assert isinstance(message, Notification)
    assert bytes(message.raw_params or b"") == b'{ "x" : 1.0 }' == bytes(decode_raw(frame).params)  # type: ignore[arg-type]  # present


def test_a_sealed_message_shares_nothing_with_what_it_was_made_of() -> None:
    params = {"list": [1]}
    request = Request(1, "m", params)
    request.seal()
    params["list"].append(2)
    assert request.params == {"list": [1]}
