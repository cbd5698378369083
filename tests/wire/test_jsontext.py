"""JSON text: what is accepted, what is refused, and that nothing changes its meaning on the way."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mcp_transport.errors import LocalProtocolError, MessageError
from trio_mcp_transport.wire import jsontext
from trio_mcp_transport.wire.codes import PARSE_ERROR

NAN = math.nan
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)

REFUSED = {
    "nothing": b"",
    "spaces only": b"  ",
    "torn object": b"{oops",
    "two values": b"{} {}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": "{}".encode("utf-16"),
    "invalid UTF-8 in a string": b'{"a":"\xff"}',
    "invalid UTF-8 in a key": b'{"\xff":1}',
    "invalid UTF-8 between tokens": b'{"a":\xff1}',
    "invalid UTF-8 behind the value": b"{}\xff",
    "overlong UTF-8": b'"\xc0\xaf"',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "torn UTF-8": b'"\xe2\x82"',
    "lone high surrogate": b'"\\ud800"',
    "lone low surrogate": b'"\\udc00"',
    "lone surrogate in a key": b'{"\\ud800":1}',
    "high surrogate before a letter": b'"\\ud800a"',
    "too large a number": b"[1e400]",
    "too small a number": b"[-1e400]",
    "NaN": b"[NaN]",
    "Infinity": b"[-Infinity]",
    "5000 digits": b"1" * 5000,
    "raw control character": b'"\x01"',
    "raw line end in a string": b'"a\nb"',
    "raw tab in a string": b'"\t"',
    "single quotes": b"{'a':1}",
    "trailing comma": b"[1,]",
    "comment": b"{}//x",
    "leading zero": b"01",
    "plus sign": b"+1",
    "2,000 open arrays": b"[" * 2_000,
    "2,000 arrays": b"[" * 2_000 + b"]" * 2_000,
    "100,000 open arrays": b"[" * 100_000,
    "100,000 arrays": b"[" * 100_000 + b"]" * 100_000,
    "100,000 open objects": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_decode_refuses_what_is_no_json_text_with_one_error_type(text: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        jsontext.decode(text)
    assert caught.value.rpc_code == PARSE_ERROR
    assert caught.value.message_id is None
    assert caught.value.frame == text[:1024]


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused_with_the_one_error(text: bytes) -> None:
    try:
        value = jsontext.decode(text)
    except MessageError:
        return
    assert value == json.loads(text.decode("utf-8"))


@given(JSON, st.integers(0, 200), st.integers(1, 255))
def test_any_damage_to_a_text_ends_in_a_value_or_the_one_error(value: Any, at: int, change: int) -> None:
    text = bytearray(json.dumps(value, ensure_ascii=False).encode("utf-8"))
    text[at % len(text)] ^= change
    code = PARSE_ERROR
    try:
        jsontext.decode(bytes(text))
    except MessageError as error:
        code = error.rpc_code
    assert code == PARSE_ERROR


@given(JSON)
def test_any_json_value_round_trips_with_equal_value_on_one_line(value: Any) -> None:
    text = jsontext.encode(value)
    assert b"\n" not in text
    assert jsontext.decode(text) == value
    assert json.loads(text.decode("utf-8")) == value


@given(st.integers())
def test_integers_of_any_size_are_exact(value: int) -> None:
    wide = value * 2**4000 + value
    assert jsontext.encode(wide) == str(wide).encode()
    assert jsontext.decode(str(wide).encode()) == wide


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + closing * depth


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":[', b"]}")], ids=["arrays", "mixed"])
def test_depth_is_limited_exactly(opening: bytes, closing: bytes) -> None:
    levels = opening.count(b"[") + opening.count(b"{")
    fits = 128 // levels
    jsontext.decode(nested(fits, opening, closing))
    jsontext.decode(b"[" + nested((fits - 1), opening, closing) + b"]")
    with pytest.raises(MessageError, match="deeper than 128") as caught:
        jsontext.decode(b"[" + nested(fits, opening, closing) + b"]")
    assert caught.value.rpc_code == PARSE_ERROR


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_chosen_depth_is_limited_exactly(depth: int) -> None:
    filler = b"," + b"[0]," * 20 + b"0]"
    for extra, refused in ((-1, False), (0, False), (1, True)):
        # Wide enough that the length alone decides nothing; the [0] in the filler reach one level below the outermost.
        inner = nested(depth + extra - 1)
        text = b"[" + (inner or b"0") + (filler if depth > 1 else b"," + b"0," * 20 + b"0]")
        if refused:
            with pytest.raises(MessageError):
                jsontext.decode(text, max_depth=depth)
        else:
            jsontext.decode(text, max_depth=depth)


def test_brackets_inside_strings_do_not_count() -> None:
    many = "[{" * 500 + '\\"' + "[" * 500
    value = {many: [many, {"a": many}]}
    assert jsontext.decode(json.dumps(value).encode()) == value
    assert jsontext.decode(json.dumps(many).encode()) == many


def test_many_shallow_containers_are_no_depth() -> None:
    value = [[], {}] * 1000
    assert jsontext.decode(json.dumps(value).encode()) == value


def test_telling_the_depth_of_a_large_message_takes_no_multiple_of_its_size() -> None:
    text = b'["' + b"a" * 2_000_000 + b'",' + b"[]," * 200 + b"[]]"
    tracemalloc.start()
    try:
        jsontext.decode(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(text)


class Struct(msgspec.Struct):
    a: Any


@attrs.define
class Attrs:
    a: Any


@dataclass
class Data:
    a: Any


Pair = namedtuple("Pair", "a b")
NON_FINITE = {
    "dict": {"a": NAN},
    "list": [1, [NAN]],
    "tuple": (1, (NAN,)),
    "set": {NAN},
    "frozenset": frozenset([math.inf]),
    "ordered dict": OrderedDict(a=-math.inf),
    "named tuple": Pair(1, NAN),
    "struct": Struct(NAN),
    "attrs class": Attrs(math.inf),
    "dataclass": Data(NAN),
    "nested": {"a": [Struct((Attrs({"b": Data([{NAN}])}),))]},
    "beside a None": [None, NAN],
    "beside a Raw": Struct([msgspec.Raw(b"null"), NAN]),
}


@pytest.mark.parametrize("value", NON_FINITE.values(), ids=NON_FINITE.keys())
def test_nan_and_infinity_are_refused_wherever_they_hide(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match="NaN"):
        jsontext.encode(value)


@given(JSON, st.sampled_from([math.nan, math.inf, -math.inf]), st.randoms(use_true_random=False))
def test_a_non_finite_number_anywhere_is_refused(value: Any, bad: float, random: Any) -> None:
    hidden: Any = bad
    for _ in range(random.randrange(1, 5)):
        wrap = random.choice([Struct, Attrs, Data, lambda v: [value, v], lambda v: (v, value), lambda v: {"k": v}])
        hidden = wrap(hidden)
    with pytest.raises(LocalProtocolError):
        jsontext.encode(hidden)


@given(st.integers(0, 300), st.integers(0, 300), st.sampled_from([0, 4000, 4096, 4200, 20_000]), st.booleans())
def test_a_nan_is_found_in_texts_of_every_length(before: int, behind: int, padding: int, wrapped: bool) -> None:
    items: list[Any] = [
        "x" * padding,
        *range(before),
        Struct(NAN) if wrapped else NAN,
        *[None] * (behind % 3),
        *range(behind),
    ]
    with pytest.raises(LocalProtocolError, match="NaN"):
        jsontext.encode({"items": items})
    del items[before + 1]
    assert json.loads(jsontext.encode({"items": items})) == {"items": items}


@given(st.sampled_from([0, 1500, 1800, 2048, 5000]), st.sampled_from([126, 127, 128]))
def test_depth_is_limited_exactly_in_texts_of_every_length(padding: int, depth: int) -> None:
    text = b'{"p":"%s","a":%s}' % (b"[" * padding, nested(depth))
    if depth == 128:
        with pytest.raises(MessageError, match="deeper"):
            jsontext.decode(text)
    else:
        assert set(jsontext.decode(text)) == {"p", "a"}


def test_a_null_is_no_nan() -> None:
    raw = msgspec.Raw(b'{"b":null}')
    value = {"a": None, "b": [Struct(None), Attrs("null"), Data(raw)], "c": raw, "d": Struct(raw)}
    assert json.loads(jsontext.encode(value)) == {
        "a": None,
        "b": [{"a": None}, {"a": "null"}, {"a": {"b": None}}],
        "c": {"b": None},
        "d": {"a": {"b": None}},
    }


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize("value", [object(), {"a": "\ud800"}, {"\ud800": 1}, CYCLE, 1j, {(1, 2): 3}])
def test_encode_refuses_what_json_cannot_hold(value: Any) -> None:
    with pytest.raises(LocalProtocolError):
        jsontext.encode(value)


@pytest.mark.requirement("M-IO-21")
def test_raw_text_with_pretty_printing_leaves_as_one_line() -> None:
    pretty = json.dumps({"a": [1, {"b": "line\nend"}]}, indent=2).encode()
    text = jsontext.encode({"raw": msgspec.Raw(pretty), "crlf": msgspec.Raw(pretty.replace(b"\n", b"\r\n"))})
    assert b"\n" not in text
    assert json.loads(text) == {"raw": json.loads(pretty), "crlf": json.loads(pretty)}


@pytest.mark.parametrize("text", [b'{"a": 1}', b' {"a":[]}\n'])
def test_raw_object_keeps_the_text(text: bytes) -> None:
    assert bytes(jsontext.raw_object(text, "a body")) == text


@pytest.mark.parametrize("text", [b"{oops", b"[]", b"1", b"", b'{"a":"\xff"}', b'{"a":1e400}', b'{"a":NaN}', b"{}{}"])
def test_raw_object_refuses_what_could_break_the_wire(text: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="a body"):
        jsontext.raw_object(text, "a body")
