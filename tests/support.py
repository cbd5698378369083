"""What tests share: a real server or client whose other end is a test that writes and reads raw lines.

Everything runs over memory streams, so that a virtual clock works; nothing here judges what a line means.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
import trio.testing

from trio_mcp_transport import (
    Client,
    ClientTransport,
    Handlers,
    MessageContext,
    MessageHandler,
    NewlineCodec,
    Request,
    ServerInfo,
    ServerTransport,
    open_client,
    serve,
)
from trio_mcp_transport.context import ConnectionInfo
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.pipe.client import PipeConnection
from trio_mcp_transport.pipe.framed import FramedLink
from trio_mcp_transport.pipe.server import serve_stream

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
LARGEST = 1024 * 1024
PATIENCE = 5.0
"""Seconds, of the virtual clock in most tests, after which a line that does not come is a failure."""


class Wire:
    """The test's end of a connection: raw lines out, raw lines in."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def send_bytes(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def send_line(self, message: Any) -> None:
        """Send bytes as they are, anything else as JSON, and the line end."""
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        await self.send_bytes(line + b"\n")

    async def receive_line(self) -> bytes:
        """Return the next line without its end.

        Raises:
            trio.EndOfChannel: There will be none.
            trio.TooSlowError: None came.
        """
        with trio.fail_after(PATIENCE):
            while b"\n" not in self._buffer:
                chunk = await self.stream.receive_some()
                if not chunk:
                    assert self._buffer == b"", "a torn line at the end"
                    raise trio.EndOfChannel
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    async def receive(self) -> Any:
        """Return the next line as JSON, read by another parser than the one under test."""
        return json.loads((await self.receive_line()).decode("utf-8"))

    async def ask(self, message: Any) -> Any:
        """Send one line and return the next one that comes back."""
        await self.send_line(message)
        return await self.receive()

    async def receive_rest(self) -> list[Any]:
        """Return every line up to the end of the stream."""
        rest = []
        while True:
            try:
                rest.append(await self.receive())
            except trio.EndOfChannel:
                return rest

    async def assert_silent(self, seconds: float = 1.0) -> None:
        """Let the virtual clock pass and see that nothing is sent."""
        with trio.move_on_after(seconds):
            line = await self._any_byte()
            raise AssertionError(f"nothing was expected, but {line!r} came")

    async def _any_byte(self) -> bytes:
        if not self._buffer:
            self._buffer += await self.stream.receive_some()
        return self._buffer

    async def end(self) -> None:
        """End the test's side of writing."""
        await self.stream.send_eof()


class StreamServer(ServerTransport):
    """A custom transport of one connection, over any stream."""

    def __init__(self, stream: trio.abc.Stream, largest: int = LARGEST) -> None:
        self._stream = stream
        self._largest = largest

    async def run(self, exchanges: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started(("test:",))
        await serve_stream(exchanges, self._stream, NewlineCodec(self._largest), transport="bytes")


class StreamClient(ClientTransport):
    """A custom client transport over any stream."""

    def __init__(self, stream: trio.abc.Stream, largest: int = LARGEST) -> None:
        self._stream = stream
        self._largest = largest

    async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        link = FramedLink(self._stream, NewlineCodec(self._largest), setup.limits)
        info = ConnectionInfo(transport="bytes", connection_id="bytes-1")
        await PipeConnection(setup, link, info, TransportMetrics()).run(task_status=task_status)


async def echo_params(request: Request, context: MessageContext) -> Any:
    """Answer with the params, without the envelope."""
    return {key: value for key, value in request.params.items() if key != "_meta"}


@asynccontextmanager
async def serve_bytes(
    handler: MessageHandler | Any = echo_params,
    *,
    largest: int = LARGEST,
    streams: tuple[Any, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Wire]:
    """Run `serve` on one end of a memory stream and give the other end to the test.

    Args:
        handler: A `MessageHandler`, or a function for requests.
        largest: Limit of the codec in bytes.
        streams: The test's end and the server's, such as a bounded pair; memory without a bound unless given.
        **options: As for `serve`; ``server_info`` has a default.
    """
    ours, theirs = streams or trio.testing.memory_stream_pair()
    options.setdefault("server_info", ServerInfo("test", "1"))
    handler = handler if isinstance(handler, MessageHandler) else Handlers(handler)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, handler, StreamServer(theirs, largest), **options))
        yield Wire(ours)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def client_over_bytes(
    *, largest: int = LARGEST, streams: tuple[Any, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[Client, Wire]]:
    """Open a client whose server is the test; modern and without a probe unless ``options`` say otherwise."""
    ours, theirs = streams or trio.testing.memory_stream_pair()
    options = {"era": "modern", "discover": False, **options}
    async with open_client(StreamClient(theirs, largest), **options) as client:
        yield client, Wire(ours)


def client_and_wire() -> tuple[StreamClient, Wire]:
    """Return a client transport that is not open yet, and the server's end of it for the test to play."""
    ours, theirs = trio.testing.memory_stream_pair()
    return StreamClient(theirs), Wire(ours)


def modern_params(params: Mapping[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    """Params with a full modern envelope; ``meta`` adds keys."""
    return {**(params or {}), "_meta": {VERSION_KEY: MODERN, CAPABILITIES_KEY: {}, **meta}}


def modern_request(id_: Any, method: str = "echo", params: Mapping[str, Any] | None = None, **meta: Any) -> Any:
    """A request as a modern client sends it."""
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": modern_params(params, **meta)}


def legacy_request(id_: Any, method: str = "echo", params: Mapping[str, Any] | None = None) -> Any:
    """A request as a legacy client sends it after ``initialize``."""
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": dict(params or {})}


async def shake_hands(wire: Wire, revision: str = LEGACY) -> Any:
    """Run a legacy handshake from the client's side; return the result of ``initialize``."""
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    answer = await wire.ask(legacy_request("handshake", "initialize", params))
    await wire.send_line({"jsonrpc": "2.0", "method": "notifications/initialized"})
    return answer["result"]
