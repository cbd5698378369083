"""A WebSocket peer of the tests that writes and reads raw bytes: it can do everything a decent one never would.

Its frames are made and read by hand, after RFC 6455 section 5.2, so that no code under test judges itself.
"""

from __future__ import annotations

import json
from typing import Any

import trio

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
