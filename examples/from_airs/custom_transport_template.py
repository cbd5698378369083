"""AIRS' template of a custom transport, over TCP with a 4-byte length in front of each message.

``CustomTransport`` is a translation of the template: a connection made on first use, a limit, and errors of its own.
It runs as a server and as a client through the adapters.  AIRS' template holds its lock while it receives, for Rust
allows one call at a time anyway; here the lock guards nothing but connecting, so that it can be sent on meanwhile.  One
that does hold its lock runs too, with ``exclusive=True``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import trio
from airs_errors import BufferOverflow, Closed, Io, Timeout

from trio_mcp_transport import Handlers, MessageContext, MessageTooLarge, Request, ServerInfo, TransportError
from trio_mcp_transport.adapters.blocking import open_bytes_client, serve_bytes


@dataclass
class CustomConfig:
    endpoint: str
    timeout_ms: int = 5000
    max_message_size: int = 1024 * 1024


class CustomTransport:
    def __init__(self, config: CustomConfig, stream: trio.abc.Stream | None = None) -> None:
        self.config = config
        self.connection: trio.abc.Stream | None = stream
        self.lock = trio.Lock()
        self.closed = False
        self._received = bytearray()

    async def send(self, message: bytes) -> None:
        if self.closed:
            raise Closed("the transport is closed")
        if len(message) > self.config.max_message_size:
            raise BufferOverflow(f"{len(message)} bytes exceed the limit {self.config.max_message_size}")
        connection = await self.ensure_connected()
        try:
            await connection.send_all(len(message).to_bytes(4, "big") + message)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Io(str(error)) from error

    async def receive(self) -> bytes:
        if self.closed:
            raise Closed("the transport is closed")
        connection = await self.ensure_connected()
        length = int.from_bytes((await self._first(connection, 4))[:4], "big")
        if length > self.config.max_message_size:
            raise BufferOverflow(f"{length} bytes exceed the limit {self.config.max_message_size}")
        message = bytes((await self._first(connection, 4 + length))[4 : 4 + length])
        del self._received[: 4 + length]
        return message

    async def close(self) -> None:
        self.closed = True
        if self.connection is not None:
            await trio.aclose_forcefully(self.connection)

    async def ensure_connected(self) -> trio.abc.Stream:
        async with self.lock:
            if self.connection is None:
                self.connection = await self.establish_connection()
            return self.connection

    async def establish_connection(self) -> trio.abc.Stream:
        host, _, port = self.config.endpoint.rpartition(":")
        try:
            with trio.fail_after(self.config.timeout_ms / 1000):
                return await trio.open_tcp_stream(host, int(port))
        except trio.TooSlowError as error:
            raise Timeout(f"no answer within {self.config.timeout_ms} ms") from error
        except OSError as error:
            raise Io(str(error)) from error

    async def _first(self, connection: trio.abc.Stream, count: int) -> bytearray:
        """Wait until this many bytes have come and not been taken; a cancelled wait loses none of them."""
        while len(self._received) < count:
            try:
                chunk = await connection.receive_some()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise (Closed if self.closed else Io)(str(error)) from error
            if not chunk:
                raise Closed("the peer closed the connection")
            self._received += chunk
        return self._received


async def echo(request: Request, context: MessageContext) -> Any:
    return {"text": request.params.get("text")}


async def serve_one(config: CustomConfig, stream: trio.abc.Stream) -> None:
    await serve_bytes(
        Handlers(request=echo),
        CustomTransport(config, stream),
        server_info=ServerInfo("custom", "1.0"),
    )


async def main() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        endpoint = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.start_soon(trio.serve_listeners, partial(serve_one, CustomConfig(endpoint)), listeners)

        config = CustomConfig(endpoint, max_message_size=64 * 1024)
        largest = config.max_message_size
        async with open_bytes_client(CustomTransport(config), max_message_size=largest) as client:
            print("answered:", (await client.request("echo", {"text": "over a transport of one's own"}))["text"])
            try:
                await client.request("echo", {"text": "x" * 100_000})
            except MessageTooLarge:
                print("refused, and nothing was sent")
            print("still connected:", (await client.request("echo", {"text": "small"}))["text"])

        # What the transport raises reaches the caller as an error of the library, with the original as its cause.
        with trio.socket.socket() as nobody:
            await nobody.bind(("127.0.0.1", 0))
            unreachable = CustomTransport(CustomConfig(f"127.0.0.1:{nobody.getsockname()[1]}"))
            try:
                async with open_bytes_client(unreachable):
                    print("not reached")
            except TransportError as error:
                print(f"failed: {type(error).__name__}, because of {type(error.__cause__).__name__}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
