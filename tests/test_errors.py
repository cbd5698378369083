from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio.testing

from tests.support import client_over_bytes, serve_bytes
from trio_mcp_transport import errors
from trio_mcp_transport.deadlines import DeadlineExceeded, Deadlines
from trio_mcp_transport.errors import (
    ConnectionClosed,
    ConnectionFailed,
    FrameTooLarge,
    FramingError,
    MessageError,
    RemoteProtocolError,
    RpcError,
    TransportError,
    UnsupportedRevision,
)

TRANSPORT_ERRORS = [
    kind
    for name in errors.__all__
    if issubclass(kind := getattr(errors, name), TransportError) and kind is not TransportError
]

MADE: list[TransportError] = [
    ConnectionFailed("gone", exit_status=3, stderr_tail=("one", "two")),
    ConnectionClosed("gone", exit_status=-9),
    RemoteProtocolError("odd", rpc_code=-32602, status_hint=415),
    FramingError("torn"),
    FrameTooLarge("long", limit=7),
    MessageError("bad", rpc_code=-32700, message_id="x", frame=b"{", answerable=False),
    UnsupportedRevision("none", requested="a", supported=("b",)),
    DeadlineExceeded("idle", 2.0, "tools/call"),
]


@pytest.mark.requirement("M-ER-09")
def test_no_local_error_is_taken_for_an_answer() -> None:
    assert len(TRANSPORT_ERRORS) == len(errors.__all__) - 2
    for kind in [*TRANSPORT_ERRORS, DeadlineExceeded]:
        assert not issubclass(kind, RpcError)
        assert not hasattr(kind, "code")
    assert not issubclass(RpcError, TransportError)
    assert [error for error in MADE if hasattr(error, "code")] == []


@pytest.mark.requirement("M-ER-09")
async def test_closed_timed_out_and_refused_calls_differ(autojump_clock: trio.testing.MockClock) -> None:
    async with client_over_bytes() as (client, wire):
        outcomes: dict[str, BaseException] = {}

        async def call(name: str, method: Callable[[], Any]) -> None:
            try:
                await method()
            except (TransportError, RpcError) as error:
                outcomes[name] = error

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, "refused", partial(client.request, "a"))
            request = await wire.receive()
            error = {"code": -32001, "message": "request timed out", "data": {"x": 1}}
            await wire.send_line({"jsonrpc": "2.0", "id": request["id"], "error": error})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, "late", partial(client.request, "b", deadlines=Deadlines(total=1)))
            await wire.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, "closed", partial(client.request, "c"))
            await wire.receive()
            await wire.receive()
            await wire.stream.aclose()
    # -32001 was "request timed out" to an older SDK; here a received code has no meaning of its own.
    assert {name: type(error) for name, error in outcomes.items()} == {
        "refused": RpcError,
        "late": DeadlineExceeded,
        "closed": ConnectionClosed,
    }
    refused = outcomes["refused"]
    assert isinstance(refused, RpcError)
    assert (refused.code, refused.message, refused.data) == (-32001, "request timed out", {"x": 1})


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_twin_is_equal_and_has_a_traceback_of_its_own(error: TransportError) -> None:
    error.__cause__ = OSError("why")
    try:
        raise error
    except TransportError:
        twin = error.twin()
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)
    assert twin.__cause__ is error.__cause__
    assert error.__traceback__ is not None and twin.__traceback__ is None


def test_who_must_fix_it_is_the_base_class() -> None:
    assert issubclass(FrameTooLarge, FramingError)
    assert issubclass(FramingError, RemoteProtocolError)
    assert issubclass(MessageError, RemoteProtocolError)
    assert issubclass(UnsupportedRevision, RemoteProtocolError)
    assert issubclass(errors.MessageTooLarge, errors.LocalProtocolError)
    assert issubclass(ConnectionClosed, ConnectionFailed)
    assert not issubclass(errors.LocalProtocolError, RemoteProtocolError)


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (RemoteProtocolError("x"), -32600, 400),
        (FramingError("x"), -32700, 400),
        (FrameTooLarge("x", limit=1), -32600, 413),
        (MessageError("x"), -32600, 400),
        (UnsupportedRevision("x"), -32022, 400),
        (RemoteProtocolError("x", rpc_code=-32020, status_hint=406), -32020, 406),
    ],
)
def test_hints_for_an_answer(error: RemoteProtocolError, code: int, status: int) -> None:
    assert (error.rpc_code, error.status_hint) == (code, status)


def test_a_hint_of_one_error_is_not_that_of_all() -> None:
    RemoteProtocolError("x", rpc_code=-1, status_hint=599)
    assert (RemoteProtocolError.rpc_code, RemoteProtocolError.status_hint) == (-32600, 400)


def test_a_message_error_keeps_only_the_beginning_of_the_frame() -> None:
    assert MessageError("x", frame=b"a" * 1023).frame == b"a" * 1023
    assert MessageError("x", frame=b"a" * 1025).frame == b"a" * 1024


@pytest.mark.requirement("M-JR-11")
async def test_an_error_of_a_handler_has_an_integer_code_and_any_data() -> None:
    for data in ("text", 1, 1.5, True, [1, None], {"a": {}}):

        def refuse(request: Any, context: Any, data: Any = data) -> None:
            raise RpcError(7, "no", data)

        async with serve_bytes(refuse) as wire:
            meta = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            answer = await wire.ask({"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"_meta": meta}})
            assert answer == {"jsonrpc": "2.0", "id": 1, "error": {"code": 7, "message": "no", "data": data}}
    for code in (1.0, "1", True, None):
        with pytest.raises(TypeError, match="integer"):
            RpcError(code, "no")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(TypeError, match="string"):
        RpcError(1, b"no")  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize(
    ("data", "reason"),
    [({"reason": "busy"}, "busy"), ({"reason": 1}, None), ({}, None), ("busy", None), (None, None)],
)
def test_reason_is_read_from_data(data: Any, reason: str | None) -> None:
    assert RpcError(-32603, "x", data).reason() == reason


def test_text_of_an_rpc_error_shows_code_and_message() -> None:
    assert str(RpcError(-32602, "name is missing")) == "[-32602] name is missing"
