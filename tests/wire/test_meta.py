"""The grammar of ``_meta`` keys, what is reserved, and the trace strings."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mcp_transport.errors import LocalProtocolError
from trio_mcp_transport.wire import meta

VALID = [
    "a",
    "1",
    "a1-._b",
    "com.example/name",
    "com.example/",
    "a/b",
    "a-b.c-d1/x_y.z-1",
    "A/B",
    "progressToken",
    "traceparent",
    "",
]
INVALID = [
    "-a",
    "a-",
    ".a",
    "_a",
    "a b",
    "ä",
    "1com/x",
    "com./x",
    ".com/x",
    "com..example/x",
    "-com/x",
    "com-/x",
    "com_x/y",
    "/x",
    "a/b/c",
    "a/-b",
    "a\n",
    "com.example/x\n",
]


@pytest.mark.requirement("M-ME-11")
@pytest.mark.parametrize("key", VALID)
def test_valid_keys(key: str) -> None:
    assert meta.is_valid_key(key)
    meta.check_application_key(key)


@pytest.mark.requirement("M-ME-11")
@pytest.mark.parametrize("key", INVALID)
def test_invalid_keys(key: str) -> None:
    assert not meta.is_valid_key(key)
    with pytest.raises(LocalProtocolError, match="not a valid _meta key"):
        meta.check_application_key(key)


@pytest.mark.requirement("M-ME-11")
@given(st.text(st.sampled_from("aZ09-._/ä \n"), max_size=8))
def test_the_grammar_against_a_slow_reading_of_it(key: str) -> None:
    prefix, slash, name = key.partition("/")
    label = r"[a-zA-Z]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
    well_named = not (name if slash else prefix) or re.fullmatch(
        r"[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?", name if slash else prefix
    )
    well_prefixed = not slash or all(re.fullmatch(label, one) for one in prefix.split("."))
    assert meta.is_valid_key(key) is bool(well_named and well_prefixed)


@pytest.mark.requirement("M-ME-12")
@pytest.mark.parametrize("key", ["io.modelcontextprotocol/x", "dev.mcp/x", "com.mcp.tools/x", "a.mcp/"])
def test_reserved_prefixes(key: str) -> None:
    assert meta.is_valid_key(key)
    with pytest.raises(LocalProtocolError, match="reserved"):
        meta.check_application_key(key)
    with pytest.raises(LocalProtocolError, match="reserved"):
        meta.check_application_meta({"fine": 1, key: 1})


@pytest.mark.requirement("M-ME-12")
@pytest.mark.parametrize("key", ["com.example.mcp/x", "mcp/x", "com.mcpx/x", "mcp.com/x", "x.y.modelcontextprotocol/x"])
def test_prefixes_that_are_not_reserved(key: str) -> None:
    meta.check_application_key(key)


def test_keys_that_mcp_defines_are_the_applications_to_set() -> None:
    constants = vars(meta).items()
    own = [value for name, value in constants if name[0].isupper() and isinstance(value, str)]
    assert {meta.LOG_LEVEL, meta.PROGRESS_TOKEN, meta.SUBSCRIPTION_ID} < set(own)
    assert all(meta.is_valid_key(key) for key in own)
    meta.check_application_meta(dict.fromkeys(own))


@pytest.mark.requirement("M-VN-07")
@pytest.mark.parametrize("identifier", ["io.modelcontextprotocol/tasks", "com.example/a-b.c_d", "x/y"])
def test_extension_identifiers(identifier: str) -> None:
    meta.check_extension(identifier)


@pytest.mark.requirement("M-VN-07")
@pytest.mark.parametrize("identifier", ["tasks", "", "/tasks", "com.example/", "com..x/y", "a/b/c", "com.example/x "])
def test_what_is_no_extension_identifier(identifier: str) -> None:
    with pytest.raises(LocalProtocolError, match="prefix/name"):
        meta.check_extension(identifier)


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.requirement("M-TR-01")
def test_trace_strings_are_verbatim() -> None:
    strings = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=1,b=2", "baggage": "k=v;p=1"}
    assert meta.trace_of({**strings, "other": 1}) == strings
    assert meta.trace_of({}) == {}


@pytest.mark.requirement("M-TR-01")
@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"cc-{TRACE}-{SPAN}-01more",
        5,
        None,
        ["00"],
    ],
)
def test_a_malformed_traceparent_is_left_out_with_its_state(traceparent: Any) -> None:
    found = meta.trace_of({"traceparent": traceparent, "tracestate": "a=1", "baggage": "k=v"})
    assert found == {"baggage": "k=v"}


@pytest.mark.requirement("M-TR-01")
def test_a_later_version_of_traceparent_may_be_longer() -> None:
    later = f"cc-{TRACE}-{SPAN}-01-what-comes"
    assert meta.trace_of({"traceparent": later}) == {"traceparent": later}


@given(st.dictionaries(st.sampled_from(meta.TRACE_KEYS), st.none() | st.text() | st.integers() | st.lists(st.text())))
def test_no_trace_is_fatal(found: dict[str, Any]) -> None:
    kept = meta.trace_of(found)
    assert all(isinstance(value, str) and found[key] == value for key, value in kept.items())
    assert "tracestate" not in kept or "traceparent" in kept


@pytest.mark.parametrize(
    ("params", "token"),
    [
        ({"_meta": {"progressToken": 7}}, 7),
        ({"_meta": {"progressToken": "7"}}, "7"),
        ({"_meta": {"progressToken": True}}, None),
        ({"_meta": {"progressToken": 1.0}}, None),
        ({"_meta": {}}, None),
        ({"_meta": 5}, None),
        ({}, None),
        (None, None),
        (b'{"_meta":{"progressToken":7}}', None),
    ],
)
def test_a_callers_own_progress_token_is_an_integer_or_a_string(params: Any, token: Any) -> None:
    assert meta.own_progress_token(params) == token
