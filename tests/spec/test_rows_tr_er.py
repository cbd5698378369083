"""The rows on trace context and on error codes, seen from the wire, over memory, and through a process."""

from __future__ import annotations

import inspect
import logging
import sys
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import (
    client_over_bytes,
    legacy_request,
    modern_request,
    serve_bytes,
    shake_hands,
)
from trio_mcp_transport import (
    ConnectionClosed,
    DeadlineExceeded,
    Deadlines,
    Handlers,
    LegacyMessageContext,
    Limits,
    LocalProtocolError,
    MessageContext,
    Request,
    Response,
    RpcError,
    ServerInfo,
    StdioClientTransport,
    Subscriptions,
    TransportError,
    deadlines,
    errors,
    memory_transports,
    open_client,
    serve,
)
from trio_mcp_transport.wire import codes

TRACE = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "vendor=value,other=x",
    "baggage": "userId=alice,serverNode=DF%2028;isProduction=false",
}


def show_trace(request: Request, context: MessageContext) -> Any:
    return {"trace": dict(context.trace)}


async def over_memory(handler: Any, era: Any, call: Any, **options: Any) -> Any:
    """Serve a handler in memory and return what ``call(client)`` returns."""
    server, there = memory_transports()
    async with trio.open_nursery() as nursery:
        options = {"server_info": ServerInfo("s", "1"), **options}
        await nursery.start(partial(serve, Handlers(handler), server, **options))
        async with open_client(there, era=era) as client:
            result = await call(client)
        nursery.cancel_scope.cancel()
    return result


@pytest.mark.requirement("M-TR-01", "M-TR-02")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_the_three_trace_strings_arrive_verbatim(era: str) -> None:
    shown = await over_memory(show_trace, era, lambda client: client.request("m", {"_meta": TRACE}))
    assert shown["trace"] == TRACE
    async with serve_bytes(show_trace) as wire:
        if era == "legacy":
            await shake_hands(wire)
            request = legacy_request(1, "m", {"_meta": TRACE})
        else:
            request = modern_request(1, "m", **TRACE)
        assert (await wire.ask(request))["result"]["trace"] == TRACE


@pytest.mark.requirement("M-TR-01")
@pytest.mark.parametrize("bad", ["", "x", "00-zz-00-01", 5, None, {}, TRACE["traceparent"].upper()])
async def test_a_malformed_trace_is_ignored(bad: Any) -> None:
    async with serve_bytes(show_trace) as wire:
        answer = await wire.ask(modern_request(1, "m", **{**TRACE, "traceparent": bad}))
        assert answer["result"]["trace"] == {"baggage": TRACE["baggage"]}
        answer = await wire.ask(
            modern_request(2, "m", traceparent=TRACE["traceparent"], baggage=bad if bad != "x" else 7)
        )
        assert answer["result"]["trace"]["traceparent"] == TRACE["traceparent"]


@pytest.mark.requirement("M-TR-02")
async def test_the_trace_rides_in_the_body_over_stdio_as_over_memory() -> None:
    program = (
        "from trio_mcp_transport import *\n"
        "run(Handlers(lambda request, context: {'trace': dict(context.trace)}), StdioServerTransport(),\n"
        "    server_info=ServerInfo('s', '1'))"
    )
    with trio.fail_after(20):
        async with open_client(StdioClientTransport([sys.executable, "-c", program]), era="modern") as client:
            assert (await client.request("m", {"_meta": TRACE}))["trace"] == TRACE


# Error codes.


def fail_with(code: int, data: Any = None) -> Any:
    def fail(request: Request, context: MessageContext) -> Any:
        raise RpcError(code, "no", data)

    return fail


@pytest.mark.requirement("M-ER-01")
@pytest.mark.parametrize("legacy", [False, True])
async def test_the_standard_codes_from_the_wire(legacy: bool, caplog: pytest.LogCaptureFixture) -> None:
    def handle(request: Request, context: MessageContext) -> Any:
        if request.method == "bug":
            raise ZeroDivisionError
        if request.method == "typed":
            return {"n": request.decode(dict[str, int])}
        raise RpcError(codes.METHOD_NOT_FOUND, "unknown")

    make = legacy_request if legacy else modern_request
    async with serve_bytes(handle) as wire:
        if legacy:
            await shake_hands(wire)
        found = [
            (await wire.ask(b"{oops"))["error"]["code"],
            (await wire.ask({"jsonrpc": "2.0", "id": 1, "method": 5}))["error"]["code"],
            (await wire.ask(make(2, "unknown")))["error"]["code"],
            (await wire.ask(make(3, "typed", {"a": "x"})))["error"]["code"],
            (await wire.ask(make(4, "bug")))["error"]["code"],
        ]
    assert found == [-32700, -32600, -32601, -32602, -32603]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.requirement("M-ER-01")
@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "unknown"])
async def test_what_a_modern_server_does_not_know_is_method_not_found(method: str) -> None:
    async with serve_bytes(Handlers()) as wire:
        answer = await wire.ask(modern_request(1, method))
        assert (answer["id"], answer["error"]["code"]) == (1, -32601)


async def provoke_everything(wire: Any) -> list[Any]:
    """Make a server refuse in every way it knows; return all frames it wrote."""
    frames = [
        await wire.ask(one)
        for one in (
            b"{oops",
            b"[]",
            b"x" * 3000,  # over the limit of a message
            modern_request(1, "bug"),
            modern_request(2, "closed"),
            modern_request(3, "slow"),
            modern_request(4, "large"),
            modern_request(5, "app"),
            modern_request(6, "nan"),
            modern_request(7, "echo", **{"io.modelcontextprotocol/protocolVersion": "1900-01-01"}),
        )
    ]
    await shake_hands(wire)
    await wire.send_line(legacy_request("asks", "asks"))
    frames.append(await wire.receive())
    for number in range(4):  # one runs, one is queued, the rest find no place
        await wire.send_line(legacy_request(100 + number, "wait"))
    frames += [await wire.receive() for _ in range(2)]
    listens = [modern_request(f"listen {n}", "subscriptions/listen", {"notifications": {}}) for n in range(2)]
    for listen in listens:
        frames.append(await wire.ask(listen))
    await wire.end()
    return frames + await wire.receive_rest()


@pytest.mark.requirement("M-ER-03", "M-ER-02", "M-ER-05")
async def test_no_code_without_meaning_is_ever_emitted(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:

    async def handle(request: Request, context: MessageContext) -> Any:
        match request.method:
            case "bug":
                raise ZeroDivisionError
            case "closed":
                raise ConnectionClosed("another connection")
            case "slow":
                with trio.fail_after(1):
                    await trio.sleep_forever()
            case "large":
                return {"a": "x" * 9000}
            case "app":
                raise RpcError(-32001, "timeout")
            case "nan":
                return {"a": float("nan")}
            case "asks":
                assert isinstance(context, LegacyMessageContext)
                await context.request("ping")
            case "wait":
                await trio.sleep_forever()
        return {}

    limits = Limits(max_running=1, max_queued=1, max_listens=1, max_outgoing_size=8000)
    async with serve_bytes(handle, largest=2000, limits=limits, subscriptions=Subscriptions(), drain=1) as wire:
        frames = await provoke_everything(wire)
    found = [one["error"] for one in frames if "error" in one]
    reasons = {error["data"]["reason"] for error in found if "reason" in (error.get("data") or {})}
    assert reasons == {"internal", "too_large", "busy", "shutdown"}
    assert {error["code"] for error in found} == {-32700, -32600, -32603, -32022}


@pytest.mark.requirement("M-ER-03", "M-ER-09")
async def test_a_client_that_gives_up_emits_no_error_at_all(autojump_clock: Any) -> None:
    async with client_over_bytes(deadlines=Deadlines(total=5)) as (client, wire):
        with pytest.raises(DeadlineExceeded):
            await client.request("m")
        with pytest.raises(trio.TooSlowError), trio.fail_after(1):
            await client.request("m")
        frames = [await wire.receive() for _ in range(4)]
        await wire.assert_silent()
    assert not [one for one in frames if "error" in one or "result" in one]
    assert [one["method"] for one in frames] == ["m", "notifications/cancelled"] * 2


@pytest.mark.requirement("M-ER-04")
@pytest.mark.parametrize("code", [-32000, -32001, -32003, -32019])
async def test_a_received_code_without_meaning_is_only_a_peers_error(code: int, autojump_clock: Any) -> None:
    caught: list[BaseException] = []
    async with client_over_bytes() as (client, wire), trio.open_nursery() as nursery:

        async def call() -> None:
            try:
                await client.request("m")
            except RpcError as error:
                caught.append(error)

        nursery.start_soon(call)
        request = await wire.receive()
        error = {"code": code, "message": "connection closed", "data": {"x": 1}}
        await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "error": error})
        await trio.testing.wait_all_tasks_blocked()
        (one,) = caught
        assert type(one) is RpcError and (one.code, one.data) == (code, {"x": 1})
        nursery.start_soon(call)
        assert (await wire.receive())["id"] != request["id"], "the connection goes on"
        nursery.cancel_scope.cancel()


@pytest.mark.requirement("M-ER-05", "M-ER-06", "M-ER-08")
@pytest.mark.parametrize("code", [-32050, -32099, -32023, -32002, -32042, -32768, -32500])
@pytest.mark.parametrize("passed_on", [False, True])
async def test_a_modern_answer_has_no_undefined_code(
    code: int, passed_on: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: Request, context: MessageContext) -> Any:
        if passed_on:
            return Response("another", error=RpcError(code, "no"))
        raise RpcError(code, "no")

    async with serve_bytes(fail) as wire:
        answer = await wire.ask(modern_request(1))
    assert answer["error"]["code"] == -32603
    assert answer["error"]["data"] == {"reason": "internal", "refusedCode": code}
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and str(code) in warnings[0].getMessage()


@pytest.mark.requirement("M-ER-06", "M-ER-08", "L25-JR-06")
@pytest.mark.parametrize(("code", "warned"), [(-32002, False), (-32042, False), (-32050, True), (7, False)])
async def test_a_legacy_answer_keeps_its_code(code: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    async with serve_bytes(fail_with(code, {"elicitations": []})) as wire:
        await shake_hands(wire)
        answer = await wire.ask(legacy_request(1))
    assert answer["error"] == {"code": code, "message": "no", "data": {"elicitations": []}}
    assert bool([record for record in caplog.records if record.levelno == logging.WARNING]) is warned


@pytest.mark.requirement("M-ER-05")
@pytest.mark.parametrize("code", [-32020, -32021, -32022, -32602])
async def test_the_defined_codes_pass(code: int, caplog: pytest.LogCaptureFixture) -> None:
    async with serve_bytes(fail_with(code)) as wire:
        assert (await wire.ask(modern_request(1)))["error"] == {"code": code, "message": "no"}
    assert not caplog.records


@pytest.mark.requirement("M-ER-07")
async def test_a_legacy_server_can_say_resource_not_found() -> None:
    async def read(client: Any) -> RpcError:
        with pytest.raises(RpcError) as caught:
            await client.request("resources/read", {"uri": "file:///x"})
        return caught.value

    fail = fail_with(codes.LEGACY_RESOURCE_NOT_FOUND, {"uri": "file:///x"})
    error = await over_memory(fail, "legacy", read)
    assert (error.code, error.data) == (codes.LEGACY_RESOURCE_NOT_FOUND, {"uri": "file:///x"})


@pytest.mark.requirement("M-ER-08")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_an_application_is_warned_of_the_reserved_range(era: str, caplog: pytest.LogCaptureFixture) -> None:
    async def ask(client: Any) -> Any:
        with pytest.raises(RpcError):
            await client.request("my/method")

    await over_memory(fail_with(404), era, ask)
    assert not caplog.records
    await over_memory(fail_with(-32077), era, ask)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "my/method" in record.getMessage() and "-32768..-32000" in record.getMessage()


@pytest.mark.requirement("M-ER-09")
async def test_local_errors_are_of_another_kind_than_answers(autojump_clock: Any) -> None:
    local = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, TransportError)]
    local.append(deadlines.DeadlineExceeded)
    assert len(local) >= 16
    for kind in local:
        assert not hasattr(kind, "code") and not issubclass(kind, RpcError)
    caught: list[BaseException] = []

    async def call(client: Any, **kwargs: Any) -> None:
        try:
            await client.request("m", **kwargs)
        except (TransportError, RpcError) as error:
            caught.append(error)

    async with client_over_bytes() as (client, wire):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(call, client, deadlines=Deadlines(total=1)))
            await trio.sleep(2)
            nursery.start_soon(call, client)
            for _ in range(2):
                await wire.receive()
            await wire.send_line(
                {"jsonrpc": "2.0", "id": (await wire.receive())["id"], "error": {"code": 5, "message": ""}}
            )
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(call, client)
            await wire.receive()
            await wire.stream.aclose()
        await call(client)
    timed_out, refused, closed, late = caught
    assert isinstance(timed_out, DeadlineExceeded) and isinstance(timed_out, trio.TooSlowError)
    assert type(refused) is RpcError and refused.code == 5
    assert isinstance(closed, ConnectionClosed) and isinstance(late, TransportError)
    assert not any(hasattr(one, "code") for one in (timed_out, closed, late))
    with pytest.raises(LocalProtocolError):
        Request(1, "m", b"[]")
