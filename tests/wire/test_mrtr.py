"""Results that ask for input, and the state string that cannot be forged."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mcp_transport.errors import LocalProtocolError, RpcError
from trio_mcp_transport.wire.mrtr import ASKING_METHODS, StateSigner, check, input_required, missing_capability

ASK = {"name": {"method": "elicitation/create", "params": {}}}
DECLARED = {"elicitation": {}, "sampling": {}, "roots": {}}


def test_a_result_asks_by_requests_a_state_or_both() -> None:
    assert input_required(ASK) == {"resultType": "input_required", "inputRequests": ASK}
    assert input_required(state="") == {"resultType": "input_required", "requestState": ""}
    assert set(input_required(ASK, state="s")) == {"resultType", "inputRequests", "requestState"}


@pytest.mark.requirement("M-MR-02")
@pytest.mark.parametrize("requests", [None, {}])
def test_an_empty_result_is_refused(requests: Any) -> None:
    with pytest.raises(LocalProtocolError, match="needs input requests, a state"):
        input_required(requests)
    with pytest.raises(LocalProtocolError, match="needs input requests, a state"):
        check("tools/call", {"resultType": "input_required", "inputRequests": requests}, DECLARED)


@pytest.mark.requirement("M-MR-03")
def test_three_methods_may_ask() -> None:
    assert {"tools/call", "prompts/get", "resources/read"} == ASKING_METHODS
    for method in ASKING_METHODS:
        check(method, input_required(ASK, state="s"), DECLARED)
    for method in ("tools/list", "server/discover", "subscriptions/listen", ""):
        with pytest.raises(LocalProtocolError, match="cannot be answered"):
            check(method, input_required(ASK), DECLARED)


@pytest.mark.requirement("M-MR-04", "M-ME-07")
@pytest.mark.parametrize(
    ("method", "capability"),
    [("elicitation/create", "elicitation"), ("sampling/createMessage", "sampling"), ("roots/list", "roots")],
)
def test_a_kind_that_was_not_declared_is_a_missing_capability(method: str, capability: str) -> None:
    result = input_required({"a": {"method": method}})
    check("tools/call", result, {capability: {}})
    rest = {name: {} for name in DECLARED if name != capability}
    with pytest.raises(RpcError) as caught:
        check("tools/call", result, rest)
    assert (caught.value.code, caught.value.data) == (-32021, {"requiredCapabilities": {capability: {}}})


@pytest.mark.parametrize(
    "members",
    [
        {"inputRequests": []},
        {"inputRequests": [1]},
        {"inputRequests": {"a": 1}},
        {"inputRequests": {"a": {}}},
        {"inputRequests": {"a": {"method": "tools/call"}}},
        {"inputRequests": {"a": {"method": []}}},
        {"requestState": 5},
        {"requestState": {}},
    ],
)
def test_malformed_requests_are_refused(members: Any) -> None:
    with pytest.raises(LocalProtocolError):
        check("tools/call", members, DECLARED)


def test_a_missing_capability_is_an_object() -> None:
    error = missing_capability({"sampling": {"tools": {}}})
    assert (error.code, error.data) == (-32021, {"requiredCapabilities": {"sampling": {"tools": {}}}})


SIGNER = StateSigner(b"k" * 16)
JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@pytest.mark.requirement("M-MR-09")
@given(JSON, st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_a_state_comes_back_unchanged(state: Any, method: str, principal: str) -> None:
    token = SIGNER.sign(state, method=method, principal=principal, expires_at=10.0)
    assert token.isascii()
    assert SIGNER.verify(token, method=method, principal=principal, now=10.0) == state


@pytest.mark.requirement("M-MR-09")
@pytest.mark.parametrize(
    "changed", [{"method": "prompts/get"}, {"principal": "eve"}, {"now": 10.1}], ids=["method", "principal", "time"]
)
def test_a_state_is_bound_to_method_principal_and_time(changed: dict[str, Any]) -> None:
    token = SIGNER.sign({"step": 1}, method="tools/call", principal="ann", expires_at=10.0)
    circumstances: dict[str, Any] = {"method": "tools/call", "principal": "ann", "now": 9.0}
    assert SIGNER.verify(token, **circumstances) == {"step": 1}
    with pytest.raises(RpcError) as caught:
        SIGNER.verify(token, **{**circumstances, **changed})
    assert (caught.value.code, caught.value.message) == (-32602, "requestState is not valid")


@pytest.mark.requirement("M-MR-09")
def test_every_changed_byte_is_found() -> None:
    token = SIGNER.sign({"step": 1}, method="m", expires_at=10.0)
    signed = base64.urlsafe_b64decode(token)
    for at in range(len(signed)):
        forged = bytearray(signed)
        forged[at] ^= 1
        with pytest.raises(RpcError):
            SIGNER.verify(base64.urlsafe_b64encode(forged).decode(), method="m", now=0.0)
    with pytest.raises(RpcError):
        StateSigner(b"x" * 16).verify(token, method="m", now=0.0)


@pytest.mark.parametrize("token", ["", "x", "ä", "=", "AAAA", "\ud800", None, 5, [], {}, b"AAAA"], ids=repr)
def test_anything_a_peer_sends_instead_is_refused_alike(token: Any) -> None:
    with pytest.raises(RpcError, match="requestState is not valid"):
        SIGNER.verify(token, method="m", now=0.0)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="16 bytes"):
        StateSigner(b"k" * 15)
