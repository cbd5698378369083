"""Real sockets under tests that were written for a stream of lines: TCP, Unix sockets, WebSocket with either engine.

A channel gives what `tests.support` gives, the test playing one side, but what lies between is a socket and one of our
transports.  On a WebSocket every line is a frame, made and read by hand.  Must never judge a message.
"""

from __future__ import annotations

import base64
import hashlib
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import attrs
import trio
import trio.testing

from tests.support import LARGEST, Wire, echo_params
from tests.websocket_peer import BINARY, CLOSE, PING, PONG, TEXT, RawPeer, frame
from trio_mcp_transport import (
    Client,
    ClientTransport,
    Handlers,
    Limits,
    MessageHandler,
    ServerInfo,
    ServerTransport,
    open_client,
    serve,
)
from trio_mcp_transport.transports.tcp import TcpClientTransport, TcpServerTransport
from trio_mcp_transport.transports.unix import UnixClientTransport, UnixServerTransport
from trio_mcp_transport.transports.websocket import WebSocketClientTransport, WebSocketServerTransport

Kind = Literal["tcp", "unix", "ws-trio-websocket", "ws-native"]
KINDS: tuple[Kind, ...] = ("tcp", "unix", "ws-trio-websocket", "ws-native")

QUIET = 2.0
"""Seconds, of a virtual clock, without a frame after which a peer that has nothing more to say has heard it all."""

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""


class FrameLines(trio.abc.HalfCloseableStream):
    """A WebSocket after its handshake as a stream of lines: one frame per line, either way.

    A line that is not UTF-8 leaves as a binary message: as text it would be refused by rules that are not MCP's.
    """

    def __init__(self, stream: trio.abc.Stream, *, masked: bool, buffer: bytes = b"") -> None:
        self._stream = stream
        self._masked = masked
        self._out = b""
        self._in = buffer
        self._closed = False
        self._quiet = math.inf

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        *lines, self._out = (self._out + bytes(data)).split(b"\n")
        for line in lines:
            await self._send_line(line.removesuffix(b"\r"))

    async def _send_line(self, line: bytes) -> None:
        try:
            line.decode()
        except UnicodeDecodeError:
            await self._send(BINARY, line)
        else:
            await self._send(TEXT, line)

    async def _send(self, opcode: int, payload: bytes) -> None:
        await self._stream.send_all(frame(opcode, payload, masked=self._masked))

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while not self._closed:
            found = self._take()
            if found is None:
                chunk = b""
                with trio.move_on_after(self._quiet):
                    chunk = bytes(await self._stream.receive_some())
                self._closed = not chunk
                self._in += chunk
                continue
            opcode, payload = found
            if opcode == PING:
                await self._send(PONG, payload)
            elif opcode == CLOSE:
                self._closed = True
                await self._send(CLOSE, payload)
            elif opcode != PONG:
                return payload + b"\n"
        return b""

    def _take(self) -> tuple[int, bytes] | None:
        """Take a whole frame, or nothing."""
        data = self._in
        if len(data) < 2:
            return None
        assert data[0] & 0xF0 == 0x80, "fragmented, or a reserved bit"
        masked, size, start = data[1] >> 7, data[1] & 0x7F, 2
        assert masked != self._masked, "a client masks, a server does not"
        if size > 125:
            more = 2 if size == 126 else 8
            size, start = int.from_bytes(data[2 : 2 + more], "big"), 2 + more
        key = data[start : start + 4] if masked else bytes(4)
        start += 4 * masked
        if len(data) < start + size:
            return None
        self._in = data[start + size :]
        payload = data[start : start + size]
        return data[0] & 0x0F, bytes(byte ^ key[at & 3] for at, byte in enumerate(payload)) if masked else payload

    async def send_eof(self) -> None:
        # A WebSocket knows no end of one direction: a client that has no more to say waits until all is answered.
        self._quiet = QUIET

    async def aclose(self) -> None:
        self._closed = True
        await self._stream.aclose()


async def answer_handshake(stream: trio.abc.Stream) -> FrameLines:
    """Play the server's part of a WebSocket handshake, after RFC 6455 section 4.2.2."""
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = await stream.receive_some()
        assert chunk, head
        head += bytes(chunk)
    head, _, rest = head.partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    key = {name.lower(): value for name, value in fields.items()}["sec-websocket-key"].encode()
    accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: mcp\r\n\r\n"
    )
    return FrameLines(stream, masked=False, buffer=rest)


class LateStream(trio.abc.HalfCloseableStream):
    """A stream that is opened by whoever uses it first."""

    def __init__(self, opened: Callable[[], Awaitable[trio.abc.HalfCloseableStream]]) -> None:
        self._open = opened
        self._lock = trio.Lock()
        self._stream: trio.abc.HalfCloseableStream | None = None

    async def open(self) -> trio.abc.HalfCloseableStream:
        """Return what it stands for."""
        async with self._lock:
            if self._stream is None:
                self._stream = await self._open()
        return self._stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await (await self.open()).send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await (await self.open()).wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await (await self.open()).receive_some(max_bytes))

    async def send_eof(self) -> None:
        await (await self.open()).send_eof()

    async def aclose(self) -> None:
        await (await self.open()).aclose()


@attrs.define(eq=False)
class Channel:
    """What lies between the two sides of a test.

    Attributes:
        kind: Which transport, and the engine of a WebSocket.
        folder: For the files of Unix sockets.
        framing: For TCP and Unix sockets between our own sides; raw lines want ``newline``.
        connections: How many were made.
    """

    kind: Kind
    folder: Path
    framing: Any = "newline"
    connections: int = 0
    _sockets: int = 0
    _opened: ExitStack = attrs.field(factory=ExitStack)

    @property
    def _engine(self) -> Any:
        return self.kind.removeprefix("ws-")

    def server(self) -> ServerTransport:
        """Return a transport that listens on a free address."""
        if self.kind == "tcp":
            return TcpServerTransport(framing=self.framing)
        if self.kind == "unix":
            return UnixServerTransport(self._path(), framing=self.framing)
        return WebSocketServerTransport(engine=self._engine, accept_binary=True, ping_interval=None)

    def client(self, address: str) -> ClientTransport:
        """Return a transport that leads to an address."""
        if self.kind == "tcp":
            return TcpClientTransport.from_address(address)
        if self.kind == "unix":
            return UnixClientTransport.from_address(address)
        return WebSocketClientTransport(address, engine=self._engine, ping_interval=None, accept_binary=True)

    async def dial(self, address: str) -> trio.abc.HalfCloseableStream:
        """Connect to a server as a test that plays the client."""
        self.connections += 1
        if self.kind == "unix":
            return await trio.open_unix_socket(address.removeprefix("unix:"))
        stream = await trio.open_tcp_stream("127.0.0.1", int(address.split(":")[2].split("/")[0]))
        if self.kind == "tcp":
            return stream
        peer = RawPeer(stream)
        status, _ = await peer.shake_hands()
        assert status == 101
        return FrameLines(stream, masked=True, buffer=peer.buffer)

    def listen(self) -> tuple[str, Callable[[], Awaitable[trio.abc.HalfCloseableStream]]]:
        """Listen as a test that plays the server; return the address and what accepts, each time one connection."""
        if self.kind == "unix":
            path = self._path()
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            address = f"unix:{path}"
        else:
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
            scheme, end = ("tcp", "") if self.kind == "tcp" else ("ws", "/")
            address = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}{end}"
        self._opened.enter_context(listener)
        listener.listen()
        listener.setblocking(False)
        return address, partial(self._accept, listener)

    async def _accept(self, listener: socket.socket) -> trio.abc.HalfCloseableStream:
        while True:
            try:
                connection, _ = listener.accept()
                break
            except BlockingIOError:
                await trio.lowlevel.wait_readable(listener)
        self.connections += 1
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(connection))
        self._opened.enter_context(stream.socket)
        return await answer_handshake(stream) if self.kind.startswith("ws") else stream

    def _path(self) -> Path:
        self._sockets += 1
        return self.folder / f"{self._sockets}.sock"

    def close(self) -> None:
        """Close whatever listened here."""
        self._opened.close()

    @asynccontextmanager
    async def serve_bytes(
        self,
        handler: MessageHandler | Any = echo_params,
        *,
        largest: int = LARGEST,
        streams: tuple[Any, Any] | None = None,
        **options: Any,
    ) -> AsyncIterator[Wire]:
        """Do as `tests.support.serve_bytes`; a pair of streams is joined to the socket."""
        options.setdefault("server_info", ServerInfo("test", "1"))
        options["limits"] = attrs.evolve(options.get("limits", Limits()), max_message_size=largest)
        handler = handler if isinstance(handler, MessageHandler) else Handlers(handler)
        async with trio.open_nursery() as nursery:
            (address,) = await nursery.start(partial(serve, handler, self.server(), **options))
            async with await self.dial(address) as stream, joined(stream, streams) as near:
                yield Wire(near)
                nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def client_over_bytes(
        self, *, largest: int = LARGEST, streams: tuple[Any, Any] | None = None, **options: Any
    ) -> AsyncIterator[tuple[Client, Wire]]:
        """Do as `tests.support.client_over_bytes`."""
        options = {"era": "modern", "discover": False, **options}
        options["limits"] = attrs.evolve(options.get("limits", Limits()), max_message_size=largest)
        address, accept = self.listen()
        late = LateStream(accept)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(late.open)
            async with joined(late, streams) as near, open_client(self.client(address), **options) as client:
                yield client, Wire(near)

    def client_and_wire(self) -> tuple[ClientTransport, Wire]:
        """Do as `tests.support.client_and_wire`."""
        address, accept = self.listen()
        late = LateStream(accept)
        # Nobody may wait for the wire while the client shakes hands.
        trio.lowlevel.spawn_system_task(late.open)
        return self.client(address), Wire(late)


@asynccontextmanager
async def joined(
    stream: trio.abc.HalfCloseableStream, streams: tuple[Any, Any] | None
) -> AsyncIterator[trio.abc.HalfCloseableStream]:
    """Give the near one of two streams, whose far one is joined to ``stream``; without them ``stream`` itself."""
    if streams is None:
        yield stream
        return
    near, far = streams
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_carry, far, stream)
        nursery.start_soon(_carry, stream, far)
        yield near
        # What was written before the other side closed is on its way still.
        with trio.move_on_after(1):
            await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()


async def _carry(source: trio.abc.HalfCloseableStream, target: trio.abc.HalfCloseableStream) -> None:
    try:
        while chunk := await source.receive_some():
            await target.send_all(chunk)
        await target.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return
