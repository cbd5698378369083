"""A WebSocket peer of the tests that writes and reads raw bytes: it can do everything a decent one never would.

Its frames are made and read by hand, after RFC 6455 section 5.2, so that no code under test judges itself.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
import trio.testing

from tests.support import echo_params
from trio_mcp_transport import Handlers, MessageHandler, ServerInfo, ServerTransport, serve
from trio_mcp_transport.transports.websocket import Engine, WebSocketServerTransport

PATIENCE = 5.0
"""Seconds after which something that does not come is a failure."""

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length: int | None = None,
) -> bytes:
    """Return one frame.

    Args:
        opcode: 0 to 15.
        payload: What it carries.
        fin: Whether it ends its message.
        reserved: The three reserved bits.
        masked: Whether it is masked, as a client's frames are.
        length: What the header says instead of the payload's length.
    """
    size = len(payload) if length is None else length
    head = bytearray([fin << 7 | reserved << 4 | opcode])
    bit = masked << 7
    if size < 126:
        head.append(bit | size)
    elif size < 1 << 16:
        head.append(bit | 126)
        head += size.to_bytes(2, "big")
    else:
        head.append(bit | 127)
        head += size.to_bytes(8, "big")
    if not masked:
        return bytes(head) + payload
    key = b"\x01\x02\x03\x04"
    return bytes(head) + key + bytes(byte ^ key[at & 3] for at, byte in enumerate(payload))


def handshake(
    path: str = "/",
    *,
    host: str = "localhost",
    leave_out: tuple[str, ...] = (),
    version: str = "HTTP/1.1",
    extra: tuple[tuple[str, str], ...] = (),
    **changed: str,
) -> bytes:
    """Return a client's request; ``changed`` replaces a header's value (``sec_websocket_version="8"``)."""
    headers = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "mcp",
    }
    lines = [f"GET {path} {version}"]
    for name, value in headers.items():
        if name not in leave_out:
            lines.append(f"{name}: {changed.get(name.lower().replace('-', '_'), value)}")
    lines += [f"{name}: {value}" for name, value in extra]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class RawPeer:
    """The test's end of a connection."""

    def __init__(self, stream: trio.abc.Stream, *, masked: bool = True) -> None:
        self.stream = stream
        self.buffer = b""
        self.server: Any = None
        self._masked = masked

    async def send(self, opcode: int, payload: bytes = b"", **how: Any) -> None:
        """Send a frame; see `frame`."""
        await self.stream.send_all(frame(opcode, payload, **{"masked": self._masked, **how}))

    async def send_json(self, message: Any) -> None:
        """Send a message as one text frame."""
        await self.send(TEXT, json.dumps(message).encode())

    async def receive(self) -> tuple[int, bytes]:
        """Return the opcode and the payload of the next frame, which has to be whole and unfragmented."""
        with trio.fail_after(PATIENCE):
            first, second = await self._take(2)
            assert first & 0xF0 == 0x80, "fragmented, or a reserved bit"
            size = second & 0x7F
            if size > 125:
                size = int.from_bytes(await self._take(2 if size == 126 else 8), "big")
            key = await self._take(4) if second & 0x80 else bytes(4)
            assert bool(second & 0x80) is not self._masked, "a client masks, a server does not"
            payload = await self._take(size)
        return first & 0x0F, bytes(byte ^ key[at & 3] for at, byte in enumerate(payload))

    async def receive_json(self) -> Any:
        """Return the next message."""
        opcode, payload = await self.receive()
        assert opcode == TEXT, (opcode, payload)
        return json.loads(payload)

    async def ask(self, message: Any) -> Any:
        """Send a message and return the next one that comes back."""
        await self.send_json(message)
        return await self.receive_json()

    async def receive_close(self) -> int:
        """Read up to the peer's Close, then to the end of the stream; return the code, 1005 for none.

        Messages and control frames before it are dropped.
        """
        while True:
            opcode, payload = await self.receive()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big") if payload else 1005

    async def receive_end(self) -> bytes:
        """Read to the end of the stream and return what came; a reset is an end too."""
        rest, self.buffer = self.buffer, b""
        with trio.fail_after(PATIENCE):
            while True:
                try:
                    chunk = await self.stream.receive_some()
                except trio.BrokenResourceError:
                    return rest
                if not chunk:
                    return rest
                rest += bytes(chunk)

    async def shake_hands(self, request: bytes | None = None) -> tuple[int, dict[str, str]]:
        """Send a request and return the status and the headers, lower-case names, of the answer."""
        await self.stream.send_all(handshake() if request is None else request)
        return await self.receive_head()

    async def receive_head(self) -> tuple[int, dict[str, str]]:
        """Return the status and the headers of an HTTP answer."""
        with trio.fail_after(PATIENCE):
            while b"\r\n\r\n" not in self.buffer:
                chunk = await self.stream.receive_some()
                assert chunk, f"the end, after {self.buffer!r}"
                self.buffer += bytes(chunk)
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        return int(first.split(" ")[1]), {name.strip().lower(): value.strip() for name, value in pairs}

    async def _take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            chunk = await self.stream.receive_some()
            if not chunk:
                raise trio.EndOfChannel(f"the end, after {self.buffer!r}")
            self.buffer += bytes(chunk)
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken


class StreamWebSocketServer(ServerTransport):
    """The WebSocket server behind its accept loop, on one stream: for tests with a virtual clock."""

    def __init__(self, stream: trio.abc.Stream, engine: Engine, **options: Any) -> None:
        self.transport = WebSocketServerTransport(engine=engine, **options)
        self._stream = stream

    async def run(self, exchanges: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started(("test:",))
        failure = await exchanges.contain(partial(self.transport._serve, exchanges, self._stream))
        if failure is not None:
            self.transport._metrics.record_error()


@asynccontextmanager
async def serve_websocket(
    engine: Engine,
    handler: Any = echo_params,
    *,
    streams: tuple[Any, Any] | None = None,
    options: dict[str, Any] | None = None,
    greet: bool = True,
    **service: Any,
) -> AsyncIterator[RawPeer]:
    """Run `serve` on one end of a memory stream and give the other end, after the handshake, to the test.

    Args:
        engine: Which one.
        handler: A `MessageHandler`, or a function for requests.
        streams: The test's end and the server's; memory without a bound unless given.
        options: For the transport.
        greet: Whether the handshake is done.
        **service: As for `serve`; ``server_info`` has a default.
    """
    ours, theirs = streams or trio.testing.memory_stream_pair()
    service.setdefault("server_info", ServerInfo("test", "1"))
    handler = handler if isinstance(handler, MessageHandler) else Handlers(handler)
    peer = RawPeer(ours)
    async with trio.open_nursery() as nursery:
        transport = StreamWebSocketServer(theirs, engine, **(options or {}))
        await nursery.start(partial(serve, handler, transport, **service))
        peer.server = transport.transport
        if greet:
            assert (await peer.shake_hands())[0] == 101
        yield peer
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def listen(engine: Engine, handler: Any = echo_params, **options: Any) -> AsyncIterator[tuple[str, int]]:
    """Serve on a port; give the URL and the port to the test."""
    service = {name: options.pop(name) for name in ("shutdown", "limits", "drain") if name in options}
    handler = handler if isinstance(handler, MessageHandler) else Handlers(handler)
    transport = options.pop("transport", None) or WebSocketServerTransport(engine=engine, **options)
    async with trio.open_nursery() as nursery:
        run = partial(serve, handler, transport, server_info=ServerInfo("test", "1"), **service)
        (url,) = await nursery.start(run)
        yield url, int(url.split(":")[2].split("/")[0])
        nursery.cancel_scope.cancel()


async def dial(port: int, request: bytes | None = None) -> RawPeer:
    """Connect to a port of this machine and shake hands, which has to succeed."""
    peer = RawPeer(await trio.open_tcp_stream("127.0.0.1", port))
    status, _ = await peer.shake_hands(request)
    assert status == 101, status
    return peer
