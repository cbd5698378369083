"""Messages: what a frame is, ids by exact type, and what survives from decoding to encoding."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mcp_transport.errors import LocalProtocolError, MessageError, RpcError
from trio_mcp_transport.wire.codes import INVALID_REQUEST, PARSE_ERROR
from trio_mcp_transport.wire.messages import (
    Batch,
    Message,
    Notification,
    Request,
    Response,
    decode,
    encode,
    from_value,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=4)
IDS = st.text() | st.integers() | st.integers().map(lambda n: n * 2**2000)
KNOWN = {"jsonrpc", "id", "method", "params", "result", "error"}


def message(frame: Any) -> Message:
    decoded = decode(frame if isinstance(frame, bytes) else json.dumps(frame).encode())
    assert not isinstance(decoded, Batch)
    return decoded


def refusal(frame: Any) -> MessageError:
    with pytest.raises(MessageError) as caught:
        decode(frame if isinstance(frame, bytes) else json.dumps(frame).encode())
    return caught.value


@pytest.mark.requirement("M-JR-03", "M-JR-20")
@given(IDS)
def test_any_id_round_trips_byte_exact(id_: int | str) -> None:
    token = msgspec.json.encode(id_)
    frame = b'{"jsonrpc":"2.0","id":%s,"method":"m"}' % token
    request = message(frame)
    assert isinstance(request, Request)
    assert type(request.id) is type(id_) and request.id == id_
    assert encode(request) == frame
    assert encode(Response(request.id, {})) == b'{"jsonrpc":"2.0","id":%s,"result":{}}' % token


def test_a_string_id_is_not_the_integer() -> None:
    by_text, by_number = message({"jsonrpc": "2.0", "id": "2", "method": "m"}), Request(2, "m")
    assert by_text.id == "2" and by_text.id != 2  # type: ignore[union-attr]  # a request, by its members
    assert b'"id":"2"' in encode(by_text) and b'"id":2,' in encode(by_number)


@pytest.mark.parametrize("id_", [None, True, False, 1.5, 2.0, [], {}, [1]], ids=repr)
def test_other_ids_are_refused_without_an_id(id_: Any) -> None:
    error = refusal({"jsonrpc": "2.0", "id": id_, "method": "m"})
    assert (error.rpc_code, error.message_id, error.answerable) == (INVALID_REQUEST, None, True)
    with pytest.raises(LocalProtocolError):
        Request(id_, "m")


def test_a_large_float_is_no_id() -> None:
    assert refusal(b'{"jsonrpc":"2.0","id":1e3,"method":"m"}').message_id is None


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ({"id": 1, "method": "m"}, Request),
        ({"id": 1, "method": "m", "params": {}}, Request),
        ({"method": "m"}, Notification),
        ({"id": 1, "result": {}}, Response),
        ({"id": 1, "error": {"code": 1, "message": ""}}, Response),
        ({"id": None, "error": {"code": 1, "message": ""}}, Response),
        ({"error": {"code": 1, "message": ""}}, Response),
    ],
)
def test_the_members_tell_what_a_frame_is(frame: dict[str, Any], kind: type[Message]) -> None:
    assert type(message({"jsonrpc": "2.0", **frame})) is kind


WRONG_SHAPES: list[tuple[Any, int | str | None, bool]] = [
    # frame, the id an answer may name, whether it may be answered at all
    (1, None, True),
    ("m", None, True),
    (None, None, True),
    ({}, None, True),
    ({"id": 1, "method": "m"}, 1, True),
    ({"jsonrpc": "1.0", "id": "a", "method": "m"}, "a", True),
    ({"jsonrpc": 2.0, "id": 1, "method": "m"}, 1, True),
    ({"jsonrpc": None, "id": 1, "method": "m"}, 1, True),
    ({"jsonrpc": "2.0", "id": 1}, 1, True),
    ({"jsonrpc": "2.0", "id": 1, "method": 5}, 1, True),
    ({"jsonrpc": "2.0", "id": 1, "method": None}, 1, True),
    ({"jsonrpc": "2.0", "id": 1, "method": "m", "params": []}, 1, True),
    ({"jsonrpc": "2.0", "id": 1, "method": "m", "params": None}, 1, True),
    ({"jsonrpc": "2.0", "method": "m", "params": 1}, None, True),
    ({"jsonrpc": "2.0", "id": 1, "result": {}, "error": {"code": 1, "message": ""}}, 1, False),
    ({"jsonrpc": "2.0", "id": 1, "result": []}, 1, False),
    ({"jsonrpc": "2.0", "id": 1, "result": None}, 1, False),
    ({"jsonrpc": "2.0", "result": {}}, None, False),
    ({"jsonrpc": "2.0", "id": None, "result": {}}, None, False),
    ({"jsonrpc": "2.0", "id": 1.5, "result": {}}, None, False),
    ({"jsonrpc": "2.0", "id": True, "error": {"code": 1, "message": ""}}, None, False),
    ({"jsonrpc": "2.0", "id": 1, "error": {}}, 1, False),
    ({"jsonrpc": "2.0", "id": 1, "error": {"code": 1.0, "message": ""}}, 1, False),
    ({"jsonrpc": "2.0", "id": 1, "error": {"code": True, "message": ""}}, 1, False),
    ({"jsonrpc": "2.0", "id": 1, "error": {"code": 1}}, 1, False),
    ({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": None}}, 1, False),
    ({"jsonrpc": "2.0", "id": 1, "error": "no"}, 1, False),
    ({"jsonrpc": "1.0", "id": 1, "result": {}}, 1, False),
]


@pytest.mark.parametrize(("frame", "id_", "answerable"), WRONG_SHAPES, ids=lambda value: json.dumps(value)[:60])
def test_wrong_shapes_are_invalid_requests(frame: Any, id_: int | str | None, answerable: bool) -> None:
    error = refusal(frame)
    assert error.rpc_code == INVALID_REQUEST
    assert (type(error.message_id), error.message_id) == (type(id_), id_)
    assert error.answerable is answerable


@pytest.mark.requirement("M-JR-13")
def test_a_response_is_never_both() -> None:
    both = Response(1, {"a": 1}, RpcError(5, "no"))
    assert json.loads(encode(both)) == {"jsonrpc": "2.0", "id": 1, "error": {"code": 5, "message": "no"}}


def test_an_array_is_a_batch_for_the_era_to_judge() -> None:
    batch = decode(b'[{"jsonrpc":"2.0","method":"m"},5]')
    assert isinstance(batch, Batch)
    assert isinstance(from_value(batch.items[0]), Notification)
    with pytest.raises(MessageError):
        from_value(batch.items[1])


@pytest.mark.requirement("M-JR-18")
@given(OBJECTS, OBJECTS, OBJECTS)
def test_unknown_members_survive(params: dict[str, Any], meta: dict[str, Any], top: dict[str, Any]) -> None:
    top = {key: value for key, value in top.items() if key not in KNOWN}
    params = {**params, "_meta": meta}
    for members in (
        {"id": 1, "method": "m", "params": params},
        {"method": "m", "params": params},
        {"id": "x", "result": params},
    ):
        value = {"jsonrpc": "2.0", **members, **top}
        frame = json.dumps(value).encode()
        assert json.loads(encode(message(frame))) == value
        looked_at = message(frame)
        assert (looked_at.result if isinstance(looked_at, Response) else looked_at.params) == params
        assert json.loads(encode(looked_at)) == value


@pytest.mark.requirement("M-JR-18")
@given(JSON.filter(lambda value: value is not None), OBJECTS)
def test_the_data_of_an_error_survives(data: Any, top: dict[str, Any]) -> None:
    top = {key: value for key, value in top.items() if key not in KNOWN}
    value = {"jsonrpc": "2.0", "id": 1, "error": {"code": -5, "message": "m", "data": data}, **top}
    response = message(value)
    assert isinstance(response, Response) and response.error is not None
    assert response.error.data == data
    assert json.loads(encode(response)) == value


BODIES = [
    b'{"a":"\xff"}',
    b'{"a":1e400}',
    b'{"a":-1e400}',
    b'{"a":"\\ud800"}',
    b'{"a":%s}' % (b"1" * 5000),
    b'{"a":"\x01"}',
    b'{"a":%s}' % (b"[" * 2000 + b"]" * 2000),
    b'{"a":%s}' % (b"[" * 127 + b"]" * 127),
    b'{"a":%s}' % (b"[" * 100_000 + b"]" * 100_000),
    b'{"a":NaN}',
]


@pytest.mark.requirement("M-JR-19")
@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:16]))
@pytest.mark.parametrize(
    "shape", [b'"id":1,"method":"m","params":%s', b'"method":"m","params":%s', b'"id":1,"result":%s']
)
def test_a_bad_body_is_refused_though_nobody_looks_at_it(body: bytes, shape: bytes) -> None:
    frame = b'{"jsonrpc":"2.0",%s}' % (shape % body)
    assert refusal(frame).rpc_code == PARSE_ERROR
    assert refusal(b'{"jsonrpc":"2.0","unknown":%s,"method":"m"}' % body).rpc_code == PARSE_ERROR


@pytest.mark.requirement("M-JR-19")
@given(st.binary(max_size=100))
def test_any_bytes_are_a_message_a_batch_or_refused(frame: bytes) -> None:
    for text in (frame, b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":' + frame + b"}}"):
        try:
            decoded = decode(text)
        except MessageError:
            continue
        if not isinstance(decoded, Batch):
            assert decode(encode(decoded)) is not None


@given(JSON)
def test_any_json_value_is_a_message_a_batch_or_refused(value: Any) -> None:
    try:
        decode(json.dumps(value).encode())
    except MessageError:
        return
    assert type(value) is list or "method" in value or "result" in value or "error" in value


@given(st.lists(st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error"]), unique=True), st.data())
def test_any_mix_of_members_has_one_reading(names: list[str], data: st.DataObject) -> None:
    value = {
        name: data.draw(st.sampled_from(["2.0", 1, None, {}, {"code": 1, "message": ""}, [], 1.5])) for name in names
    }
    value["jsonrpc"] = "2.0"
    try:
        kind: object = type(decode(json.dumps(value).encode()))
    except MessageError as error:
        kind = error.rpc_code
    if type(kind) is int:
        assert kind == INVALID_REQUEST
    elif kind is Request:
        assert "method" in value and "id" in value
    elif kind is Notification:
        assert "method" in value and "id" not in value
    else:
        assert kind is Response and "method" not in value and ("result" in value) != ("error" in value)


def test_an_escaped_member_name_reads_alike_both_ways() -> None:
    frame = b'{"jsonrpc":"2.0","method":"m","params":{"a":1},"par\\u0061ms":{"a":2}}'
    notification = message(frame)
    assert isinstance(notification, Notification)
    assert notification.params == json.loads(bytes(notification.raw_params or b"")) == {"a": 2}


def test_raw_members_are_the_text_as_received() -> None:
    request = message(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{ "a" : 1.0 }}')
    response = message(b'{"jsonrpc":"2.0","id":1,"result":{ "a" : 1.0 }}')
    assert isinstance(request, Request) and isinstance(response, Response)
    assert bytes(request.raw_params or b"") == bytes(response.raw_result) == b'{ "a" : 1.0 }'
    assert Request(1, "m").raw_params is None
    assert bytes(Response(1, {"a": 1}).raw_result) == b'{"a":1}'
    bare = message({"jsonrpc": "2.0", "method": "m"})
    assert isinstance(bare, Notification) and bare.raw_params is None and bare.params == {} and bare.meta == {}


@pytest.mark.requirement("M-IO-21")
def test_a_pretty_printed_body_leaves_as_one_line() -> None:
    pretty = b'{\n  "a": "b\\n",\r\n  "c": [\n1]\n}'
    for text in (
        encode(Request(1, "m", pretty)),
        encode(Notification("m", msgspec.Raw(pretty))),
        encode(Response(1, msgspec.Raw(pretty))),
        encode(message(b'{"jsonrpc":"2.0",\n"id":1,"method":"m","params":' + pretty + b"}")),
    ):
        assert b"\n" not in text
        decoded = json.loads(text)
        assert decoded.get("params", decoded.get("result")) == {"a": "b\n", "c": [1]}


@pytest.mark.parametrize("raw", [b"[]", b"{oops", b'{"a":"\xff"}', b'{"a":1e999}', b""])
def test_raw_params_of_a_caller_are_checked_at_once(raw: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        Request(1, "m", raw)
    with pytest.raises(LocalProtocolError):
        Notification("m", msgspec.Raw(raw))


class Arguments(msgspec.Struct):
    count: int


def test_decode_gives_typed_params_or_the_error_to_answer_with() -> None:
    assert Request(1, "m", {"count": 3}).decode(Arguments) == Arguments(3)
    with pytest.raises(RpcError, match="count") as caught:
        Request(1, "m", {"count": "x"}).decode(Arguments)
    assert caught.value.code == -32602
    with pytest.raises(RpcError):
        Request(1, "m").decode(Arguments)


def test_sealing_cuts_the_tie_to_the_callers_objects() -> None:
    params, result, data = {"a": [1]}, {"a": [1]}, {"a": [1]}
    request, response, refused = Request(1, "m", params), Response(1, result), Response(1, error=RpcError(1, "", data))
    for sealed in (request, response, refused):
        sealed.seal()
    for mutable in (params, result, data):
        mutable["a"].append(2)
    assert request.params == {"a": [1]} == response.result
    assert refused.error is not None and refused.error.data == {"a": [1]}


def test_sealing_an_error_makes_another_exception_of_it() -> None:
    raised = RpcError(7, "no")
    response = Response(1, error=raised)
    response.seal()
    assert response.error is not None and response.error is not raised
    assert (response.error.code, response.error.message, response.error.data) == (7, "no", None)


def test_sealing_refuses_what_a_wire_would_refuse() -> None:
    for unwritable in (Notification("m", {"a": float("nan")}), Response(1, error=RpcError(1, "", float("inf")))):
        with pytest.raises(LocalProtocolError):
            unwritable.seal()


def test_any_mapping_may_be_params() -> None:
    class Frozen(dict[str, Any]):
        pass

    assert json.loads(encode(Notification("m", Frozen(a=1))))["params"] == {"a": 1}


def test_size_is_that_of_the_frame_or_the_params() -> None:
    frame = b'{"jsonrpc":"2.0","method":"m","params":{"a":1}}'
    notification = message(frame)
    assert isinstance(notification, Notification)
    assert notification.size == len(frame)
    assert Request(1, "m", {"a": 1}).size == len(b'{"a":1}')
    assert Request(1, "m").size == 0


@pytest.mark.parametrize("code", [1.0, "1", True, None])
def test_an_error_code_is_an_integer(code: Any) -> None:
    with pytest.raises(TypeError):
        RpcError(code, "message")


def test_reprs_name_what_matters() -> None:
    assert repr(Request(1, "m")) == "Request(1, 'm')"
    assert repr(Notification("m")) == "Notification('m')"
    assert repr(Response("1", {})) == "Response('1', result)"
    assert repr(Response(None, error=RpcError(1, ""))) == "Response(None, error)"


BEYOND = [b'{"a":1e400}', b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", b'{"a":"\xff"}']


@pytest.mark.parametrize("text", BEYOND)
@pytest.mark.parametrize("id_", [7, "7"])
@pytest.mark.parametrize("member", ["result", "error"])
def test_an_undecodable_response_still_names_its_request(text: bytes, id_: int | str, member: str) -> None:
    frame = b'{"jsonrpc":"2.0","%s":%s,"id":%s}' % (member.encode(), text, json.dumps(id_).encode())
    with pytest.raises(MessageError) as caught:
        decode(frame)
    assert caught.value.rpc_code == -32700
    assert caught.value.message_id == id_
    assert type(caught.value.message_id) is type(id_)
    assert not caught.value.answerable


@pytest.mark.parametrize("text", BEYOND)
def test_an_undecodable_request_is_no_json_text_and_has_no_id(text: bytes) -> None:
    frames = (b'{"jsonrpc":"2.0","id":7,"method":"m","params":%s}' % text, b'{"id":7,"x":%s}' % text, b"[" * 100_000)
    for frame in frames:
        with pytest.raises(MessageError) as caught:
            decode(frame)
        assert (caught.value.message_id, caught.value.answerable) == (None, True)


def test_a_torn_response_names_nobody() -> None:
    with pytest.raises(MessageError) as caught:
        decode(b'{"jsonrpc":"2.0","id":7,"result":{')
    assert caught.value.message_id is None


def test_a_sealed_message_keeps_the_depth_its_connection_allows() -> None:
    frame = b'{"jsonrpc":"2.0","method":"m","params":{"a":%s}}' % (b"[" * 200 + b"]" * 200)
    message = decode(frame, max_depth=300)
    assert isinstance(message, Notification)
    before = message.params
    message.seal()
    assert message.params is not before
    assert message.params == before
