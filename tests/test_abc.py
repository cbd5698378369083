"""The contracts a third party implements, tried with the smallest implementation of each."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import Wire, modern_request
from trio_mcp_transport import (
    Handlers,
    MessageContext,
    MessageHandler,
    ServerInfo,
    ServerTransport,
    TransportStatistics,
    serve,
)
from trio_mcp_transport.abc import ClientTransport, FrameCodec, MessageLink
from trio_mcp_transport.errors import MessageError
from trio_mcp_transport.pipe import FramedLink, serve_stream
from trio_mcp_transport.testing import byte_stream_pair
from trio_mcp_transport.transports.memory import MemoryLink
from trio_mcp_transport.wire.newline import NewlineCodec
from trio_mcp_transport.wire.signals import Signal


class Minimal(MessageHandler):
    """Implements what must be implemented, and nothing else."""

    async def handle_message(self, message: Any, context: MessageContext) -> Any:
        return {"method": message.method}


class LengthCodec:
    """One byte of length, then the payload: a third party's framing."""

    def __init__(self) -> None:
        self._buffer = b""
        self._ended = False

    def feed(self, data: bytes) -> None:
        self._buffer += data
        self._ended = self._ended or not data

    def next_frame(self) -> bytes | Signal:
        if not self._buffer or len(self._buffer) <= self._buffer[0]:
            return Signal.END_OF_STREAM if self._ended else Signal.NEED_DATA
        size = self._buffer[0]
        frame, self._buffer = self._buffer[1 : 1 + size], self._buffer[1 + size :]
        return frame

    def encode(self, payload: bytes) -> bytes:
        return bytes([len(payload)]) + payload

    def bytes_to_send(self) -> bytes:
        return b""


class OneMethod(ServerTransport):
    """A custom transport is one method."""

    def __init__(self, stream: trio.abc.Stream, codec: FrameCodec) -> None:
        self._stream, self._codec = stream, codec

    async def run(
        self, exchanges: Any, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started(("custom:",))
        await serve_stream(exchanges, self._stream, self._codec)


async def test_a_custom_transport_is_one_method() -> None:
    near, far = byte_stream_pair()
    async with trio.open_nursery() as nursery:
        transport = OneMethod(far, NewlineCodec())
        addresses = await nursery.start(partial(serve, Minimal(), transport, server_info=ServerInfo("s", "1")))
        assert addresses == ("custom:",)
        assert (await Wire(near).ask(modern_request(1, "hello")))["result"]["method"] == "hello"
        await near.send_eof()
    assert transport.statistics() == TransportStatistics(), "zeros unless it counts"


async def test_a_framing_of_ones_own_needs_no_change_anywhere() -> None:
    near, far = byte_stream_pair()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, Minimal(), OneMethod(far, LengthCodec())))
        request = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{}}}'
        await near.send_all(bytes([len(request)]) + request)
        answer = await near.receive_some()
        assert answer[0] == len(answer) - 1
        assert b'"code":-32602' in answer
        await near.send_eof()


async def test_the_hooks_of_a_handler_do_nothing_unless_they_are_written() -> None:
    handler = Minimal()
    context: Any = None
    await handler.handle_error(MessageError("x"), context)
    await handler.handle_close(context)
    assert handler.parameter_headers(Any) == {}  # type: ignore[arg-type]  # any request has none


@pytest.mark.parametrize("contract", [MessageHandler, ServerTransport, ClientTransport])
def test_what_must_be_written_is_abstract(contract: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        contract()


def test_a_client_transport_has_an_address_for_messages() -> None:
    class Named(ClientTransport):
        async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            raise NotImplementedError

    assert Named().address == "Named"


@pytest.mark.parametrize(
    ("contract", "implementation"),
    [(FrameCodec, NewlineCodec), (MessageLink, FramedLink), (MessageLink, MemoryLink)],
    ids=lambda one: one.__name__,
)
def test_the_implementations_of_this_package_have_the_shape_of_the_contract(
    contract: type, implementation: type
) -> None:
    for name, function in inspect.getmembers(contract, inspect.isfunction):
        if name.startswith("_"):
            continue
        own = getattr(implementation, name)
        assert inspect.iscoroutinefunction(own) == inspect.iscoroutinefunction(function), name
        assert list(inspect.signature(own).parameters) == list(inspect.signature(function).parameters), name


async def test_handlers_of_functions_are_a_handler() -> None:
    assert isinstance(Handlers(), MessageHandler)
