"""The modern envelope: what is read from a request, what is refused, and what every result carries."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mcp_transport.errors import LocalProtocolError, MessageError, RpcError
from trio_mcp_transport.wire import jsontext, meta
from trio_mcp_transport.wire.envelope import ServerInfo
from trio_mcp_transport.wire.modern import (
    CORE_RESULT_TYPES,
    ModernEnvelope,
    check_result_type,
    discover_result,
    listen_result,
    read_envelope,
    speaks_modern,
    stamp_params,
)

INFO = ServerInfo("s", "1", {"tools": {}}, "read me", 5)
BASE = {meta.PROTOCOL_VERSION: "2026-07-28", meta.CLIENT_CAPABILITIES: {}}


def read(**extra: Any) -> ModernEnvelope:
    return read_envelope({"_meta": {**BASE, **extra}}, server_info=INFO)


def refused(params: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        read_envelope(params)
    return caught.value


def test_a_full_envelope_is_read() -> None:
    info = {"name": "c", "version": "2"}
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "x=1", "baggage": "k=v"}
    envelope = read_envelope(
        {
            "_meta": {
                meta.PROTOCOL_VERSION: "2026-07-28",
                meta.CLIENT_CAPABILITIES: {"sampling": {}},
                meta.CLIENT_INFO: info,
                meta.LOG_LEVEL: "warning",
                meta.PROGRESS_TOKEN: "2",
                "com.example/unknown": [1],
                **trace,
            }
        }
    )
    assert (envelope.revision, envelope.modern) == ("2026-07-28", True)
    assert envelope.client_capabilities == {"sampling": {}}
    assert (envelope.client_info, envelope.log_level, envelope.progress_token) == (info, "warning", "2")
    assert envelope.trace == trace


def test_the_least_envelope_is_enough() -> None:
    envelope = read()
    assert (envelope.client_info, envelope.log_level, envelope.progress_token, envelope.trace) == (None, None, None, {})


@pytest.mark.parametrize("key", ["traceparent", "baggage"])
def test_one_trace_string_is_enough(key: str) -> None:
    value = f"00-{'a' * 32}-{'b' * 16}-01"
    assert read(**{key: value}).trace == {key: value}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"_meta": None},
        {"_meta": []},
        {"_meta": {}},
        {"_meta": {meta.PROTOCOL_VERSION: "2026-07-28"}},
        {"_meta": {meta.CLIENT_CAPABILITIES: {}}},
        {"_meta": {**BASE, meta.PROTOCOL_VERSION: 20260728}},
        {"_meta": {**BASE, meta.PROTOCOL_VERSION: None}},
        {"_meta": {**BASE, meta.CLIENT_CAPABILITIES: []}},
        {"_meta": {**BASE, meta.CLIENT_CAPABILITIES: None}},
        {"_meta": {meta.PROTOCOL_VERSION: "1900-01-01"}},  # what is missing comes before the revision
        {"_meta": {**BASE, meta.CLIENT_INFO: {"name": "c"}}},
        {"_meta": {**BASE, meta.CLIENT_INFO: "c"}},
        {"_meta": {**BASE, meta.LOG_LEVEL: "loud"}},
        {"_meta": {**BASE, meta.LOG_LEVEL: []}},
        {"_meta": {**BASE, meta.PROGRESS_TOKEN: 1.5}},
        {"_meta": {**BASE, meta.PROGRESS_TOKEN: True}},
    ],
    ids=lambda params: json.dumps(params)[-60:],
)
def test_a_missing_or_malformed_member_is_invalid_params(params: Any) -> None:
    assert refused(params).code == -32602


def test_an_unsupported_revision_names_the_supported_ones() -> None:
    error = refused({"_meta": {**BASE, meta.PROTOCOL_VERSION: "1900-01-01"}})
    assert (error.code, error.data) == (-32022, {"supported": ["2026-07-28"], "requested": "1900-01-01"})


KEYS = st.sampled_from([*BASE, meta.CLIENT_INFO, meta.LOG_LEVEL, meta.PROGRESS_TOKEN, "traceparent", "x"])
VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()) | st.just({})


@given(st.dictionaries(KEYS, VALUES))
def test_any_meta_is_read_or_refused(found: dict[str, Any]) -> None:
    code = -32602
    try:
        read_envelope({"_meta": found})
    except RpcError as error:
        code = error.code
    assert code in (-32602, -32022)


@pytest.mark.parametrize(
    ("params", "modern"),
    [
        ({}, False),
        ({"_meta": {}}, False),
        ({"_meta": []}, False),
        ({"_meta": {"progressToken": 1}}, False),
        ({"_meta": {meta.PROTOCOL_VERSION: None}}, True),
        ({"_meta": BASE}, True),
    ],
)
def test_the_version_key_alone_makes_the_era(params: Any, modern: bool) -> None:
    assert speaks_modern(params) is modern


def result_of(value: Any, method: str = "m", **envelope: Any) -> dict[str, Any]:
    terms = read(**envelope)
    decoded: dict[str, Any] = json.loads(jsontext.encode(terms.result(method, value)))
    return decoded


IDENTITY = {meta.SERVER_INFO: {"name": "s", "version": "1"}}


@pytest.mark.parametrize(
    "value",
    [{"a": 1}, b'{"a":1}', msgspec.Raw(b'{"a":1}'), {"a": 1, "resultType": "complete"}, {"a": msgspec.Raw(b"1")}],
)
def test_a_result_gets_its_type_and_the_identity(value: Any) -> None:
    assert result_of(value) == {"a": 1, "resultType": "complete", "_meta": IDENTITY}


def test_nothing_becomes_an_empty_result() -> None:
    assert result_of(None) == {"resultType": "complete", "_meta": IDENTITY}


@pytest.mark.parametrize("as_text", [False, True])
def test_meta_of_the_handler_is_kept(as_text: bool) -> None:
    own = {"com.example/k": [1], "plain": 2}
    value: Any = {"_meta": own}
    assert result_of(json.dumps(value).encode() if as_text else value)["_meta"] == {**own, **IDENTITY}
    theirs = {"_meta": {meta.SERVER_INFO: {"name": "behind", "version": "0"}}}
    assert result_of(json.dumps(theirs).encode() if as_text else theirs)["_meta"] == theirs["_meta"]


def test_the_handlers_own_object_is_not_changed() -> None:
    value = {"_meta": {"a": 1}}
    read().result("m", value)
    assert value == {"_meta": {"a": 1}}


def test_an_identity_may_be_withheld() -> None:
    assert read_envelope({"_meta": BASE}).result("m", {}) == {"resultType": "complete"}


@pytest.mark.requirement("M-ME-12")
def test_reserved_meta_keys_of_a_handler_are_refused_and_of_raw_text_passed_on() -> None:
    with pytest.raises(LocalProtocolError, match="reserved"):
        read().result("m", {"_meta": {"io.modelcontextprotocol/x": 1}})
    assert "io.modelcontextprotocol/x" in result_of(b'{"_meta":{"io.modelcontextprotocol/x":1}}')["_meta"]


@pytest.mark.parametrize("kind", ["zzz", "task", "", 1, [], {}, True, "Complete"])
def test_an_unknown_result_type_is_refused_on_both_sides(kind: Any) -> None:
    with pytest.raises(LocalProtocolError, match="resultType"):
        read().result("m", {"resultType": kind})
    with pytest.raises(LocalProtocolError, match="resultType"):
        read().result("m", json.dumps({"resultType": kind}).encode())
    with pytest.raises(MessageError, match="resultType"):
        check_result_type({"resultType": kind}, CORE_RESULT_TYPES)


def test_a_declared_result_type_passes_on_both_sides() -> None:
    types = CORE_RESULT_TYPES | {"task"}
    envelope = read_envelope({"_meta": BASE}, result_types=types)
    assert envelope.result("m", {"resultType": "task"}) == {"resultType": "task"}
    check_result_type({"resultType": "task"}, types)


def test_an_absent_result_type_is_complete_and_null_is_not() -> None:
    check_result_type({}, CORE_RESULT_TYPES)
    with pytest.raises(MessageError):
        check_result_type({"resultType": None}, CORE_RESULT_TYPES)


@pytest.mark.parametrize("value", [{"_meta": []}, b'{"_meta":[]}', {"_meta": "x"}])
def test_a_meta_that_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match="_meta"):
        read().result("m", value)


def test_a_forbidden_code_becomes_an_internal_error_that_names_it() -> None:
    envelope = read()
    for code in (-32000, -32001, -32002, -32042, -32050, -32768):
        mapped = envelope.error(RpcError(code, "why", {"secret": 1}))
        assert (mapped.code, mapped.message) == (-32603, "why")
        assert mapped.data == {"reason": "internal", "refusedCode": code}
    for code in (-32602, -32021, 7, -31999):
        error = RpcError(code, "why", {"kept": 1})
        assert envelope.error(error) is error


def test_discover_and_listen_results() -> None:
    assert discover_result(INFO) == {
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}},
        "ttlMs": 5,
        "cacheScope": "public",
        "instructions": "read me",
    }
    assert "instructions" not in discover_result(ServerInfo("s", "1"))
    for id_ in (1, "1"):
        assert listen_result(id_) == {"resultType": "complete", "_meta": {meta.SUBSCRIPTION_ID: id_}}


@pytest.mark.parametrize(
    "params", [{"a": 1, "_meta": {"k": 1}}, b'{"a":1,"_meta":{"k":1}}', msgspec.Raw(b'{"a":1,"_meta":{"k":1}}')]
)
def test_stamping_keeps_what_the_caller_wrote(params: Any) -> None:
    stamped = stamp_params(params, {"s": 2})
    assert json.loads(jsontext.encode(stamped)) == {"a": 1, "_meta": {"s": 2, "k": 1}}


def test_stamping_nothing_and_what_has_no_meta() -> None:
    assert stamp_params(None, {"s": 2}) == {"_meta": {"s": 2}}
    assert stamp_params({"a": 1}, {"s": 2}) == {"a": 1, "_meta": {"s": 2}}
    own = {"_meta": {"s": "mine"}}
    assert stamp_params(own, {"s": 2}) == own


@pytest.mark.parametrize("params", [b"[]", b"{oops", b'{"a":"\xff"}', b'{"a":1e400}', b'{"_meta":[]}', {"_meta": []}])
def test_stamping_refuses_what_is_no_object(params: Any) -> None:
    with pytest.raises(LocalProtocolError):
        stamp_params(params, {"s": 2})
