"""The rows on JSON-RPC messages, seen from the wire: raw lines to and from a real server or client."""

from __future__ import annotations

import json
import logging
import math
import sys
from functools import partial
from typing import Any

import attrs
import msgspec
import pytest
import trio
import trio.testing

from tests.support import (
    client_over_bytes,
    legacy_request,
    modern_params,
    modern_request,
    serve_bytes,
    shake_hands,
)
from trio_mcp_transport import (
    Client,
    EraPolicy,
    Handlers,
    LocalProtocolError,
    MessageContext,
    MessageError,
    Notification,
    RemoteProtocolError,
    Request,
    Response,
    RpcError,
    ServerInfo,
    TransportError,
    memory_transports,
    open_client,
    serve,
)

PARSE, INVALID = -32700, -32600
LEGACY_REVISIONS = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]


def frame(members: str) -> bytes:
    """A modern request with some of its members spelt by the test."""
    params = json.dumps(modern_params()).encode()
    return b'{"jsonrpc":"2.0","method":"echo","params":%b,%b}' % (params, members.encode())


IN_PARAMS = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"a":%s}}'
GOOD = json.dumps(modern_request("good")).encode()

# What comes in, the code of the answer, and the id it names ("absent" for none); None for silence.
BAD_LINES: dict[str, tuple[bytes, tuple[int, Any] | None]] = {
    "no JSON": (b"hello", (PARSE, "absent")),
    "torn object": (b"{oops", (PARSE, "absent")),
    "spaces": (b"   ", (PARSE, "absent")),
    "two values": (b"{}{}", (PARSE, "absent")),
    "NUL": (b"\x00", (PARSE, "absent")),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, (PARSE, "absent")),
    "invalid UTF-8 in a value": (IN_PARAMS % b'"\xff"', (PARSE, "absent")),
    "invalid UTF-8 in a key": (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"\xff":1}}', (PARSE, "absent")),
    "invalid UTF-8 in the id": (b'{"jsonrpc":"2.0","id":"\xff","method":"m"}', (PARSE, "absent")),
    "invalid UTF-8 in the method": (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', (PARSE, "absent")),
    "invalid UTF-8 in an unknown member": (b'{"jsonrpc":"2.0","id":1,"method":"m","x":"\xff"}', (PARSE, "absent")),
    "invalid UTF-8 behind the message": (GOOD + b"\xff", (PARSE, "absent")),
    "invalid UTF-8 before the message": (b"\xff" + GOOD, (PARSE, "absent")),
    "overlong UTF-8": (IN_PARAMS % b'"\xc0\xaf"', (PARSE, "absent")),
    "surrogate in UTF-8": (IN_PARAMS % b'"\xed\xa0\x80"', (PARSE, "absent")),
    "lone surrogate": (IN_PARAMS % b'"\\ud800"', (PARSE, "absent")),
    "1e400": (IN_PARAMS % b"1e400", (PARSE, "absent")),
    "-1e400": (IN_PARAMS % b"-1e400", (PARSE, "absent")),
    "NaN": (IN_PARAMS % b"NaN", (PARSE, "absent")),
    "5000 digits": (IN_PARAMS % (b"1" * 5000), (PARSE, "absent")),
    "control character": (IN_PARAMS % b'"\x01"', (PARSE, "absent")),
    "depth 129": (IN_PARAMS % (b"[" * 127 + b"]" * 127), (PARSE, "absent")),
    "depth 2,000": (IN_PARAMS % (b"[" * 2000 + b"]" * 2000), (PARSE, "absent")),
    "depth 100,000": (b"[" * 100_000 + b"]" * 100_000, (PARSE, "absent")),
    "depth 100,000 in params": (IN_PARAMS % (b"[" * 100_000 + b"]" * 100_000), (PARSE, "absent")),
    "100,000 open": (b'{"a":' * 100_000, (PARSE, "absent")),
    "number": (b"5", (INVALID, "absent")),
    "string": (b'"m"', (INVALID, "absent")),
    "null": (b"null", (INVALID, "absent")),
    "empty object": (b"{}", (INVALID, "absent")),
    "batch": (b"[" + GOOD + b"]", (INVALID, "absent")),
    "empty batch": (b"[]", (INVALID, "absent")),
    "no jsonrpc": (b'{"id":5,"method":"m"}', (INVALID, 5)),
    "jsonrpc 1.0": (b'{"jsonrpc":"1.0","id":"5","method":"m"}', (INVALID, "5")),
    "jsonrpc as a number": (b'{"jsonrpc":2.0,"id":5,"method":"m"}', (INVALID, 5)),
    "jsonrpc null": (b'{"jsonrpc":null,"id":5,"method":"m"}', (INVALID, 5)),
    "id null": (frame('"id":null'), (INVALID, "absent")),
    "id true": (frame('"id":true'), (INVALID, "absent")),
    "id 1.5": (frame('"id":1.5'), (INVALID, "absent")),
    "id 2.0": (frame('"id":2.0'), (INVALID, "absent")),
    "id 1e3": (frame('"id":1e3'), (INVALID, "absent")),
    "id array": (frame('"id":[]'), (INVALID, "absent")),
    "id object": (frame('"id":{}'), (INVALID, "absent")),
    "no method": (b'{"jsonrpc":"2.0","id":5}', (INVALID, 5)),
    "method as a number": (b'{"jsonrpc":"2.0","id":5,"method":5}', (INVALID, 5)),
    "params as an array": (b'{"jsonrpc":"2.0","id":5,"method":"m","params":[]}', (INVALID, 5)),
    "params null": (b'{"jsonrpc":"2.0","id":5,"method":"m","params":null}', (INVALID, 5)),
    "notification with wrong params": (b'{"jsonrpc":"2.0","method":"m","params":1}', (INVALID, "absent")),
    "response with an unknown id": (b'{"jsonrpc":"2.0","id":99,"result":{}}', None),
    "error with an unknown id": (b'{"jsonrpc":"2.0","id":99,"error":{"code":1,"message":""}}', None),
    "error without an id": (b'{"jsonrpc":"2.0","error":{"code":1,"message":""}}', None),
    "result and error": (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}', None),
    "result as an array": (b'{"jsonrpc":"2.0","id":1,"result":[]}', None),
    "result without an id": (b'{"jsonrpc":"2.0","result":{}}', None),
    "jsonrpc 1.0 response": (b'{"jsonrpc":"1.0","id":1,"result":{}}', None),
    "empty line": (b"", None),
    "carriage return": (b"\r", None),
}


def expected(code: int, id_: Any) -> dict[str, Any]:
    return {} if id_ == "absent" else {"id": id_}


async def exchange_bad_line(wire: Any, line: bytes, answer: tuple[int, Any] | None, good: Any) -> None:
    """Send a bad line and a good request; see the one answer, if any, then the result."""
    await wire.send_line(line)
    await wire.send_line(good)
    if answer is not None:
        code, id_ = answer
        raw = await wire.receive_line()
        refusal = json.loads(raw)
        assert refusal["error"]["code"] == code
        assert {key: refusal[key] for key in refusal if key == "id"} == expected(code, id_)
        assert "result" not in refusal
    answered = await wire.receive()
    assert answered["id"] == good["id"] and "result" in answered


@pytest.mark.requirement("M-JR-01", "M-JR-02", "M-JR-03", "M-JR-04", "M-JR-12", "M-JR-15", "M-JR-19")
@pytest.mark.parametrize("name", BAD_LINES)
async def test_a_bad_line_is_answered_as_decided_and_the_next_is_served(name: str, autojump_clock: Any) -> None:
    line, answer = BAD_LINES[name]
    async with serve_bytes() as wire:
        await exchange_bad_line(wire, line, answer, modern_request("after"))
        await wire.assert_silent()


@pytest.mark.requirement("M-JR-19", "L25-JR-01", "L25-JR-02")
async def test_a_legacy_session_survives_every_bad_line_as_well(autojump_clock: Any) -> None:
    async with serve_bytes() as wire:
        await shake_hands(wire)
        for number, (line, answer) in enumerate(BAD_LINES.values()):
            await exchange_bad_line(wire, line, answer, legacy_request(1000 + number))
        await wire.assert_silent()


@pytest.mark.requirement("M-JR-12")
@pytest.mark.parametrize("revision", LEGACY_REVISIONS)
async def test_an_error_without_id_says_null_to_revisions_before_2025_11_25(revision: str) -> None:
    async with serve_bytes() as wire:
        assert (await shake_hands(wire, revision))["protocolVersion"] == revision
        answer = await wire.ask(b"{oops")
        assert answer["error"]["code"] == PARSE
        assert ("id" in answer) is (revision != "2025-11-25")
        assert answer.get("id") is None


@pytest.mark.requirement("M-JR-12")
async def test_silence_instead_of_errors_where_configured(autojump_clock: Any) -> None:
    async with serve_bytes(eras=EraPolicy(unreadable="silent")) as wire:
        for line, _ in BAD_LINES.values():
            await wire.send_line(line)
        assert (await wire.ask(modern_request(1)))["id"] == 1
        await wire.assert_silent()


@pytest.mark.requirement("M-JR-12")
@pytest.mark.parametrize("id_", [b"", b'"id":null,'], ids=["missing", "null"])
async def test_a_client_accepts_both_forms_of_an_error_without_id(id_: bytes, autojump_clock: Any) -> None:
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:
        results: list[Any] = []

        async def call() -> None:
            results.append(await client.request("m"))

        nursery.start_soon(call)
        request = await wire.receive()
        await wire.send_line(b'{"jsonrpc":"2.0",%s"error":{"code":-32700,"message":"what"}}' % id_)
        await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "result": {"a": 1}})
        await trio.testing.wait_all_tasks_blocked()
        assert results == [{"a": 1}]


@pytest.mark.requirement("M-JR-19")
async def test_every_corpus_line_in_one_process_each_followed_by_a_good_request() -> None:
    command = [sys.executable, "-m", "trio_mcp_transport", "echo", "stdio"]
    lines = []
    for number, (line, _) in enumerate(BAD_LINES.values()):
        lines += [line, json.dumps(modern_request(f"good {number}", "echo", {"n": number})).encode()]
    with trio.fail_after(30):
        done = await trio.run_process(command, stdin=b"\n".join(lines) + b"\n", capture_stdout=True)
    assert done.returncode == 0
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    results = {answer["id"]: answer["result"]["n"] for answer in answers if "result" in answer}
    assert results == {f"good {number}": number for number in range(len(BAD_LINES))}
    refused = [(one["error"]["code"], one.get("id", "absent")) for one in answers if "error" in one]
    wanted = [answer for _, answer in BAD_LINES.values() if answer is not None]
    assert sorted(refused, key=repr) == sorted(wanted, key=repr)
    assert len(answers) == len(results) + len(refused)


async def test_the_error_hook_learns_of_every_bad_line_and_may_fail(autojump_clock: Any) -> None:
    errors: list[TransportError] = []

    def note(error: TransportError, context: MessageContext) -> None:
        errors.append(error)
        raise ValueError("the hook itself is broken")

    handler = Handlers(lambda request, context: {}, error=note)
    async with serve_bytes(handler) as wire:
        for line, _ in BAD_LINES.values():
            await wire.send_line(line)
        await wire.send_line(modern_request("last"))
        while (await wire.receive()).get("id") != "last":
            pass
        await trio.testing.wait_all_tasks_blocked()
    assert all(isinstance(error, MessageError) for error in errors)
    served = {
        "response with an unknown id",
        "error with an unknown id",
        "error without an id",
        "empty line",
        "carriage return",
    }
    assert len(errors) == len(BAD_LINES) - len(served)


async def test_the_outcome_of_a_bad_body_does_not_depend_on_who_looks_at_it(autojump_clock: Any) -> None:
    async def looks(request: Request, context: MessageContext) -> Any:
        return {"a": request.params.get("a")}

    async def looks_away(request: Request, context: MessageContext) -> Any:
        return {}

    outcomes = []
    for handler in (looks, looks_away):
        async with serve_bytes(handler) as wire:
            answers = [await wire.ask(line) for line, answer in BAD_LINES.values() if answer is not None]
            outcomes.append(answers)
    assert outcomes[0] == outcomes[1]


@pytest.mark.requirement("M-JR-19")
async def test_depth_is_limited_exactly_on_the_wire() -> None:
    async with serve_bytes(lambda request, context: {}) as wire:
        meta = json.dumps(modern_params()["_meta"]).encode()
        shape = b'{"jsonrpc":"2.0","id":%d,"method":"m","params":{"_meta":%s,"s":"%s","a":%s}}'
        for depth, fits in ((125, True), (126, True), (127, False)):
            # Two levels are the message and its params; brackets in a string are no level.
            answer = await wire.ask(shape % (depth, meta, b"[{" * 500, b"[" * depth + b"]" * depth))
            assert ("result" in answer) is fits, depth


@pytest.mark.requirement("M-JR-02")
async def test_text_of_every_script_goes_out_as_utf_8(autojump_clock: Any) -> None:
    text = "grüße 你好 \U0001f600 \u2028\u2029\x85 \x7f"
    async with serve_bytes() as wire:
        await wire.send_line(json.dumps(modern_request(text, "echo", {"t": text}), ensure_ascii=False).encode("utf-8"))
        line = await wire.receive_line()
        answer = json.loads(line.decode("utf-8"))
        assert (answer["id"], answer["result"]["t"]) == (text, text)


@pytest.mark.requirement("M-JR-05", "M-JR-03")
async def test_a_thousand_requests_in_flight_have_a_thousand_ids(autojump_clock: Any) -> None:
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(client.request, "m", {"n": number})
        requests = [await wire.receive() for _ in range(1000)]
        ids = [(type(request["id"]), request["id"]) for request in requests]
        assert len(set(ids)) == 1000
        assert all(kind is int or kind is str for kind, _ in ids)
        for request in reversed(requests):
            await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "result": {}})


@pytest.mark.requirement("M-JR-05")
async def test_a_duplicate_id_is_refused_while_the_first_runs_and_free_after_its_answer(autojump_clock: Any) -> None:
    release = trio.Event()

    async def wait(request: Request, context: MessageContext) -> Any:
        if request.method == "wait":
            await release.wait()
        return {"method": request.method}

    async with serve_bytes(wait) as wire:
        await wire.send_line(modern_request(1, "wait"))
        refusal = await wire.ask(modern_request(1, "other"))
        assert (refusal["id"], refusal["error"]["code"]) == (1, INVALID)
        assert (await wire.ask(modern_request("1", "other")))["result"]["method"] == "other", '"1" is not 1'
        release.set()
        first = await wire.receive()
        assert (first["id"], first["result"]["method"]) == (1, "wait")
        assert (await wire.ask(modern_request(1, "again")))["result"]["method"] == "again"


@pytest.mark.requirement("M-JR-06", "M-JR-20")
@pytest.mark.parametrize("legacy", [False, True])
async def test_ids_are_echoed_with_the_identical_token(legacy: bool) -> None:
    tokens = ["7", '"7"', '""', "0", "-1", "9007199254740993", str(2**70), str(-(2**70)), '"\\u00e4 \\n"']
    async with serve_bytes() as wire:
        if legacy:
            await shake_hands(wire)
        for token in tokens:
            params = json.dumps({} if legacy else modern_params()).encode()
            await wire.send_line(b'{"jsonrpc":"2.0","id":%b,"method":"m","params":%b}' % (token.encode(), params))
            line = await wire.receive_line()
            assert "result" in json.loads(line)
            assert json.loads(line)["id"] == json.loads(token)
            if "\\" not in token:  # an escape may be spelt in two ways
                assert b'"id":%s,' % token.encode() in line


@attrs.define
class Attrs:
    a: Any


class Struct(msgspec.Struct):
    a: Any


RESULTS: dict[str, Any] = {
    "dict": {"a": 1},
    "nothing": None,
    "text": b'{"a": 1}',
    "raw": msgspec.Raw(b'{"a":1}'),
    "struct": Struct(1),
    "attrs": Attrs(1),
    "complete": {"resultType": "complete"},
    "response": Response("another id", {"a": 1}),
}


@pytest.mark.requirement("M-JR-07", "M-JR-06")
@pytest.mark.parametrize("value", RESULTS.values(), ids=RESULTS.keys())
async def test_every_modern_result_has_its_type_and_the_id_of_its_request(value: Any) -> None:
    async with serve_bytes(lambda request, context: value) as wire:
        answer = await wire.ask(modern_request(1))
        assert answer["id"] == 1
        assert answer["result"]["resultType"] == "complete"


@pytest.mark.requirement("M-JR-07")
async def test_a_legacy_result_gets_no_type() -> None:
    async with serve_bytes(lambda request, context: {"a": 1}) as wire:
        await shake_hands(wire)
        assert (await wire.ask(legacy_request(1)))["result"] == {"a": 1}


NO_RESULTS: dict[str, Any] = {
    "list": [1],
    "text": "x",
    "torn text": b"{oops",
    "text with invalid UTF-8": b'{"a":"\xff"}',
    "text of an array": b"[]",
    "unknown type": {"resultType": "zzz"},
    "unhashable type": {"resultType": []},
    "object": object(),
    "response that is none": Response(1, [1]),
}


@pytest.mark.requirement("M-JR-07", "M-JR-13", "M-JR-20")
@pytest.mark.parametrize("value", NO_RESULTS.values(), ids=NO_RESULTS.keys())
async def test_what_is_no_result_becomes_an_internal_error(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with serve_bytes(lambda request, context: value if request.method == "bad" else {}) as wire:
        answer = await wire.ask(modern_request(1, "bad"))
        assert answer == {
            "jsonrpc": "2.0",
            "id": 1,
            "error": {"code": -32603, "message": "internal error", "data": {"reason": "internal"}},
        }
        assert "result" in await wire.ask(modern_request(2))
    assert "bad" in caplog.text


NAN = math.nan
NON_FINITE: dict[str, Any] = {
    "dict": {"a": NAN},
    "struct": Struct([NAN]),
    "attrs": Attrs({"b": math.inf}),
    "tuple": {"a": (1, (NAN,))},
    "set": {"a": {NAN}},
    "deep": {"a": [Struct(Attrs(({"b": -math.inf},)))]},
    "text": b'{"a":NaN}',
    "overflow": b'{"a":1e400}',
}


@pytest.mark.requirement("M-JR-20")
@pytest.mark.parametrize("value", NON_FINITE.values(), ids=NON_FINITE.keys())
@pytest.mark.parametrize("legacy", [False, True])
async def test_nan_and_infinity_never_become_null(value: Any, legacy: bool, caplog: pytest.LogCaptureFixture) -> None:
    async with serve_bytes(lambda request, context: value) as wire:
        if legacy:
            await shake_hands(wire)
        answer = await wire.ask(legacy_request(1) if legacy else modern_request(1))
        assert (answer["id"], answer["error"]["code"]) == (1, -32603)


@pytest.mark.requirement("M-JR-20")
async def test_numbers_in_a_result_are_exact() -> None:
    value = {"big": 2**70, "small": -(2**70), "float": 0.1, "edge": 9007199254740993}
    async with serve_bytes(lambda request, context: value) as wire:
        result = (await wire.ask(modern_request(1)))["result"]
        assert {key: result[key] for key in value} == value


async def answer_call(client: Client, wire: Any, result: Any, **kwargs: Any) -> Any:
    """Let the client make a call and answer it with ``result``; return what the caller got, or its exception."""
    outcome: list[Any] = []

    async def call() -> None:
        try:
            outcome.append(await client.request("tools/call", **kwargs))
        except (TransportError, RpcError) as error:
            outcome.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        request = await wire.receive()
        await wire.send_line({"jsonrpc": "2.0", "id": request["id"], **result})
    return outcome[0]


@pytest.mark.requirement("M-JR-08")
async def test_a_result_without_type_is_complete() -> None:
    async with client_over_bytes() as (client, wire):
        assert await answer_call(client, wire, {"result": {"a": 1}}) == {"a": 1}


@pytest.mark.requirement("M-JR-09", "M-JR-10")
@pytest.mark.parametrize("kind", ["zzz", "task", None, 1, [], {}])
async def test_an_unknown_result_type_makes_the_response_invalid(kind: Any) -> None:
    async with client_over_bytes() as (client, wire):
        error = await answer_call(client, wire, {"result": {"resultType": kind}})
        assert isinstance(error, RemoteProtocolError) and "resultType" in str(error)
        assert await answer_call(client, wire, {"result": {"a": 1}}) == {"a": 1}, "the connection goes on"


@pytest.mark.requirement("M-JR-09")
async def test_an_unknown_result_type_is_invalid_in_an_open_exchange_too(autojump_clock: Any) -> None:
    async with client_over_bytes() as (client, wire), client.open_exchange("m") as replies:
        request = await wire.receive()
        await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "result": {"resultType": "zzz"}})
        with pytest.raises(RemoteProtocolError, match="zzz"):
            await replies.receive()


@pytest.mark.requirement("M-JR-10", "M-JR-09")
async def test_an_extension_makes_its_result_type_known_on_both_sides() -> None:
    result = {"resultType": "task", "taskId": "1"}
    async with client_over_bytes(extensions=frozenset({"task"})) as (client, wire):
        assert await answer_call(client, wire, {"result": result}) == result
    async with serve_bytes(lambda request, context: result, eras=EraPolicy(extensions=frozenset({"task"}))) as wire:
        assert (await wire.ask(modern_request(1)))["result"]["resultType"] == "task"
    async with serve_bytes(lambda request, context: result) as wire:
        assert (await wire.ask(modern_request(1)))["error"]["code"] == -32603


@pytest.mark.requirement("M-JR-10", "M-JR-09")
async def test_an_extension_over_the_memory_transport() -> None:
    for declared in (frozenset({"task"}), frozenset[str]()):
        server, there = memory_transports()
        async with trio.open_nursery() as nursery:
            handler = Handlers(lambda request, context: {"resultType": "task"})
            eras = EraPolicy(extensions=frozenset({"task"}))
            await nursery.start(partial(serve, handler, server, server_info=ServerInfo("s", "1"), eras=eras))
            async with open_client(there, era="modern", extensions=declared) as client:
                if declared:
                    assert (await client.request("m"))["resultType"] == "task"
                else:
                    with pytest.raises(RemoteProtocolError, match="task"):
                        await client.request("m")
            nursery.cancel_scope.cancel()


DATA: list[Any] = [{}, {"a": [None]}, [], [1, "2"], "text", "", 0, 5, 1.5, 2**70, True, False]


@pytest.mark.requirement("M-JR-11")
@pytest.mark.parametrize("data", DATA, ids=repr)
@pytest.mark.parametrize("legacy", [False, True])
async def test_error_data_of_every_type_arrives_at_the_client(data: Any, legacy: bool) -> None:
    def fail(request: Request, context: MessageContext) -> Any:
        raise RpcError(77, "no", data)

    async with serve_bytes(fail) as wire:
        if legacy:
            await shake_hands(wire)
        answer = await wire.ask(legacy_request(1) if legacy else modern_request(1))
        assert answer == {"jsonrpc": "2.0", "id": 1, "error": {"code": 77, "message": "no", "data": data}}
        assert type(answer["error"]["data"]) is type(data)
    async with client_over_bytes() as (client, wire):
        error = await answer_call(client, wire, {"error": answer["error"]})
        assert isinstance(error, RpcError)
        assert (error.code, error.message, error.data) == (77, "no", data)
        assert type(error.data) is type(data)


@pytest.mark.requirement("M-JR-11")
async def test_an_error_without_data_has_none() -> None:
    def fail(request: Request, context: MessageContext) -> Any:
        raise RpcError(77, "no")

    async with serve_bytes(fail) as wire:
        assert (await wire.ask(modern_request(1)))["error"] == {"code": 77, "message": "no"}


@pytest.mark.requirement("M-JR-11")
@pytest.mark.parametrize("code", [1.5, 1.0, "1", None, True])
async def test_a_code_that_is_no_integer_is_refused_where_it_is_raised(
    code: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: Request, context: MessageContext) -> Any:
        raise RpcError(code, "no")

    async with serve_bytes(fail) as wire:
        assert (await wire.ask(modern_request(1)))["error"]["code"] == -32603
    assert "an error code is an integer" in caplog.text


@pytest.mark.requirement("M-JR-11")
@pytest.mark.parametrize("data", [NAN, object(), {"a": {NAN}}, "\ud800"], ids=repr)
async def test_error_data_that_json_cannot_hold_still_gets_an_answer(
    data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: Request, context: MessageContext) -> Any:
        raise RpcError(77, "no", data)

    async with serve_bytes(fail) as wire:
        answer = await wire.ask(modern_request(1))
        assert (answer["id"], answer["error"]["code"]) == (1, -32603)


@pytest.mark.requirement("M-JR-13")
@pytest.mark.parametrize(
    "members",
    [
        {"result": {}, "error": {"code": 1, "message": ""}},
        {"result": {}, "error": None},
        {"result": []},
        {"error": {"code": 1.0, "message": ""}},
        {"error": {"code": 1}},
    ],
)
async def test_a_broken_response_fails_its_call_and_no_other(members: Any, autojump_clock: Any) -> None:
    async with client_over_bytes() as (client, wire):
        assert isinstance(await answer_call(client, wire, members), RemoteProtocolError)
        assert await answer_call(client, wire, {"result": {"a": 1}}) == {"a": 1}


@pytest.mark.requirement("M-JR-14")
@pytest.mark.parametrize("legacy", [False, True])
async def test_a_notification_is_never_answered(
    legacy: bool, autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def fail(notification: Notification, context: MessageContext) -> None:
        seen.append(notification.method)
        raise RpcError(5, "no") if notification.method == "rpc" else ValueError("no")

    handler = Handlers(lambda request, context: {}, notification=fail)
    async with serve_bytes(handler) as wire:
        if legacy:
            await shake_hands(wire)
        for method in ("unknown", "rpc", "tools/call", "initialize", "ping", "server/discover", "subscriptions/listen"):
            await wire.send_line({"jsonrpc": "2.0", "method": method})
            await wire.send_line({"jsonrpc": "2.0", "method": method, "params": modern_params()})
        await wire.send_line(
            {
                "jsonrpc": "2.0",
                "method": "bad envelope",
                "params": {"_meta": {"io.modelcontextprotocol/protocolVersion": 5}},
            }
        )
        await wire.assert_silent()
        assert "result" in await wire.ask(legacy_request(1) if legacy else modern_request(1))
    assert seen.count("unknown") == 2


@pytest.mark.requirement("M-JR-15")
async def test_an_array_yields_no_result_in_either_direction(autojump_clock: Any) -> None:
    async with serve_bytes() as wire:
        answer = await wire.ask([modern_request(1), modern_request(2)])
        assert answer["error"]["code"] == INVALID and "id" not in answer and "result" not in answer
        await wire.assert_silent()
        assert (await wire.ask(modern_request(3)))["id"] == 3
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:
        results: list[Any] = []

        async def call() -> None:
            results.append(await client.request("m"))

        nursery.start_soon(call)
        id_ = (await wire.receive())["id"]
        await wire.send_line([{"jsonrpc": "2.0", "id": id_, "result": {"a": "batched"}}])
        await wire.assert_silent()
        assert results == []
        await wire.send_line({"jsonrpc": "2.0", "id": id_, "result": {"a": 1}})
        await trio.testing.wait_all_tasks_blocked()
        assert results == [{"a": 1}]


@pytest.mark.requirement("M-JR-16", "M-IO-10")
async def test_a_modern_server_sends_no_request(autojump_clock: Any) -> None:
    seen: list[bool] = []

    async def work(request: Request, context: MessageContext) -> Any:
        seen.append(hasattr(context, "request"))
        await context.progress(1)
        await context.log("error", "x")
        await context.notify("notifications/x")
        # The nearest thing to a raw attempt: nothing of a context takes an id, so what leaves is a notification.
        await context.notify("sampling/createMessage", {"id": 5})
        if request.method == "fail":
            raise RpcError(5, "no")
        return Response(5, {})

    async with serve_bytes(work) as wire:
        await wire.send_line(
            modern_request(1, "work", progressToken=1, **{"io.modelcontextprotocol/logLevel": "debug"})
        )
        await wire.send_line(modern_request(2, "fail"))
        await wire.send_line(modern_request(3, "server/discover"))
        await wire.send_line(b"{oops")
        await wire.end()
        frames = await wire.receive_rest()
    assert seen == [False, False]
    assert len(frames) == 5 + 3 + 1 + 1
    assert not [one for one in frames if "method" in one and "id" in one]


@pytest.mark.requirement("M-JR-16", "M-JR-17", "M-IO-09")
async def test_a_modern_client_answers_no_request_of_its_server(autojump_clock: Any) -> None:
    async with client_over_bytes() as (client, wire):
        for method in ("ping", "sampling/createMessage", "roots/list", "unknown"):
            await wire.send_line({"jsonrpc": "2.0", "id": 1, "method": method})
        await wire.send_line({"jsonrpc": "2.0", "id": None, "method": "ping"})
        await wire.send_line({"jsonrpc": "2.0", "id": 1, "method": 5})
        await wire.send_line(b"{oops")
        await wire.send_line({"jsonrpc": "2.0", "id": 99, "result": {}})
        await wire.assert_silent()
        assert await answer_call(client, wire, {"result": {"a": 1}}) == {"a": 1}


@pytest.mark.requirement("M-JR-17")
async def test_a_server_drops_a_response_nobody_asked_for(autojump_clock: Any) -> None:
    async with serve_bytes() as wire:
        await wire.send_line({"jsonrpc": "2.0", "id": 1, "result": {}})
        await wire.send_line({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": ""}})
        await wire.assert_silent()
        assert "result" in await wire.ask(modern_request(1))
    assert not any("respond" in name or "reply" in name for name in dir(Client) if not name.startswith("_"))


@pytest.mark.requirement("M-JR-18")
async def test_unknown_members_reach_the_handler_and_the_caller() -> None:
    seen: list[Any] = []

    def note(request: Request, context: MessageContext) -> Any:
        seen.append((request.params, request.extra))
        return {"x-unknown": {"a": None}, "_meta": {"com.example/k": [1.5]}}

    async with serve_bytes(note) as wire:
        request = {
            **modern_request(1, "m", {"p-unknown": [None]}, **{"com.example/m": {"b": 2}}),
            "t-unknown": {"c": 3},
        }
        answer = await wire.ask(request)
        assert seen == [(request["params"], {"t-unknown": {"c": 3}})]
        assert answer["result"]["x-unknown"] == {"a": None}
        assert answer["result"]["_meta"]["com.example/k"] == [1.5]
    async with client_over_bytes() as (client, wire):
        result = {
            "resultType": "complete",
            "x": {"y": None},
            "_meta": {"com.example/k": 1, "io.modelcontextprotocol/new": 2},
        }
        assert await answer_call(client, wire, {"result": result, "top": 1}) == result


@pytest.mark.requirement("M-IO-21")
async def test_a_pretty_printed_body_crosses_as_one_line() -> None:
    pretty = json.dumps({"a": {"b": "line\nend"}}, indent=4).encode()
    async with serve_bytes(lambda request, context: pretty) as wire:
        await wire.send_line(modern_request(1))
        line = await wire.receive_line()
        assert json.loads(line)["result"]["a"] == {"b": "line\nend"}
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:
        nursery.start_soon(partial(client.request, "m", pretty))
        request = json.loads(await wire.receive_line())
        assert request["params"]["a"] == {"b": "line\nend"}
        await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "result": {}})


@pytest.mark.requirement("M-JR-04", "M-JR-20")
async def test_a_client_sends_nothing_that_json_cannot_hold(autojump_clock: Any) -> None:
    async with client_over_bytes() as (client, wire):
        for params in ({"a": NAN}, {"a": object()}, b'{"a":"\xff"}', b'{"a":1e400}', b"[]", {"a": Struct((math.inf,))}):
            with pytest.raises(LocalProtocolError):
                await client.request("m", params)
            with pytest.raises(LocalProtocolError):
                await client.notify("m", params)
        await wire.assert_silent()
        assert await answer_call(client, wire, {"result": {"a": 1}}) == {"a": 1}
    for id_ in (None, 1.5, True):
        with pytest.raises(LocalProtocolError):
            Request(id_, "m")  # type: ignore[arg-type]  # what the type forbids


async def test_a_raised_log_level_tells_of_unreadable_lines(caplog: pytest.LogCaptureFixture) -> None:
    async with serve_bytes() as wire:
        with caplog.at_level(logging.DEBUG, "trio_mcp_transport"):
            await wire.ask(b"{oops")
    assert "not a JSON text" in caplog.text
