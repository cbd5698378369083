"""Plain envelopes, identities and what counts as a result object."""

from __future__ import annotations

import json
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import attrs
import msgspec
import pytest

from trio_mcp_transport.errors import LocalProtocolError, RpcError
from trio_mcp_transport.wire import jsontext
from trio_mcp_transport.wire.envelope import ClientInfo, Envelope, ServerInfo, plain_object
from trio_mcp_transport.wire.meta import LOG_LEVELS


class Struct(msgspec.Struct):
    a: Any


@attrs.define
class Attrs:
    a: Any


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {}),
        ({"a": 1}, {"a": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Struct([1]), {"a": [1]}),
        (Attrs(Struct(1)), {"a": {"a": 1}}),
        (Struct(msgspec.Raw(b"[1]")), {"a": [1]}),
        (b' {"a":1}', {"a": 1}),
        (bytearray(b'{"a":1}'), {"a": 1}),
        (memoryview(b'{"a":1}'), {"a": 1}),
        (msgspec.Raw(b'{"a":1}'), {"a": 1}),
    ],
)
def test_a_result_may_be_any_object(value: Any, expected: dict[str, Any]) -> None:
    assert json.loads(jsontext.encode(plain_object(value))) == expected


@pytest.mark.parametrize(
    "value",
    [
        1,
        "a",
        [],
        [("a", 1)],
        True,
        1.5,
        object(),
        b"[]",
        b"1",
        b"",
        b"{oops",
        b'{"a":"\xff"}',
        msgspec.Raw(b'{"a":NaN}'),
    ],
    ids=repr,
)
def test_anything_else_is_no_result(value: Any) -> None:
    with pytest.raises(LocalProtocolError):
        plain_object(value)


def test_a_raw_result_is_a_copy_that_pins_nothing() -> None:
    buffer = bytearray(b'{"a":1}')
    raw = plain_object(buffer)
    buffer[2:3] = b"b"
    assert bytes(raw) == b'{"a":1}'


@pytest.mark.parametrize("info", [ServerInfo, ClientInfo])
class TestInfo:
    def test_identity(self, info: Any) -> None:
        assert info("n", "1").identity() == {"name": "n", "version": "1"}
        assert info("n", "1").capabilities == {}

    @pytest.mark.requirement("M-VN-07")
    def test_extensions_are_named_and_are_objects(self, info: Any) -> None:
        extensions = {"io.modelcontextprotocol/tasks": {}, "com.example/x": {"level": 2}}
        assert info("n", "1", {"extensions": extensions}).capabilities["extensions"] == extensions

    @pytest.mark.requirement("M-VN-07")
    @pytest.mark.parametrize(
        "extensions",
        [{"tasks": {}}, {"com.example/": {}}, {"com.example/x": True}, {"com.example/x": None}, ["a/b"], None],
    )
    def test_bad_extensions_are_refused_at_once(self, info: Any, extensions: Any) -> None:
        with pytest.raises(LocalProtocolError):
            info("n", "1", {"extensions": extensions})


def test_a_plain_envelope_adds_nothing() -> None:
    envelope = Envelope()
    assert envelope.result("m", {"a": 1}) == {"a": 1}
    assert not envelope.modern and envelope.revision == "" and envelope.trace == {}
    error = RpcError(-32002, "not found", {"uri": "u"})
    assert envelope.error(error) is error


@pytest.mark.parametrize("wanted", LOG_LEVELS)
def test_log_levels_are_ordered(wanted: str) -> None:
    envelope = Envelope()
    assert not any(envelope.wants_log(level) for level in LOG_LEVELS)
    envelope.log_level = wanted
    at = LOG_LEVELS.index(wanted)
    assert [envelope.wants_log(level) for level in LOG_LEVELS] == [False] * at + [True] * (len(LOG_LEVELS) - at)


@pytest.mark.parametrize("level", ["loud", "", "WARNING", None, 3, []])
def test_an_unknown_level_is_the_callers_mistake(level: Any) -> None:
    with pytest.raises(LocalProtocolError, match="log level"):
        Envelope().wants_log(level)
