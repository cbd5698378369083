"""AIRS' ``BufferedTransport``: it copies each message into a buffer of a bounded pool and sends it from there.

The class is a translation, around any transport of that shape.  The library has one that also writes behind and reads
ahead, ``trio_mcp_transport.adapters.wrappers.BufferedTransport``; both run here, in both roles.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio
from airs_errors import BufferOverflow, Timeout
from custom_transport_template import CustomConfig, CustomTransport, echo

from trio_mcp_transport import Handlers, ServerInfo
from trio_mcp_transport.adapters import wrappers
from trio_mcp_transport.adapters.blocking import BytesTransport, open_bytes_client, serve_bytes


class BufferManager:
    def __init__(self, pool_size: int, max_message_size: int, acquire_timeout_ms: int = 100) -> None:
        self.max_message_size = max_message_size
        self.attempts = self.successes = 0
        self._free = [bytearray() for _ in range(pool_size)]
        self._permits = trio.Semaphore(pool_size)
        self._timeout = acquire_timeout_ms / 1000

    @asynccontextmanager
    async def acquire(self, content: bytes) -> AsyncIterator[bytearray]:
        self.attempts += 1
        with trio.move_on_after(self._timeout) as waiting:
            await self._permits.acquire()
        if waiting.cancelled_caught:
            raise Timeout("no buffer became free")
        self.successes += 1
        buffer = self._free.pop()
        try:
            if len(content) > self.max_message_size:
                raise BufferOverflow(f"{len(content)} bytes exceed the limit {self.max_message_size}")
            buffer += content
            yield buffer
        finally:
            buffer.clear()
            self._free.append(buffer)
            self._permits.release()

    def acquisition_success_rate(self) -> float:
        return self.successes / self.attempts if self.attempts else 1.0


class BufferedTransport:
    def __init__(self, inner: BytesTransport, buffers: BufferManager) -> None:
        self.inner = inner
        self.buffers = buffers

    async def send(self, message: bytes) -> None:
        async with self.buffers.acquire(message) as buffer:
            await self.inner.send(bytes(buffer))

    async def receive(self) -> bytes:
        message = await self.inner.receive()
        async with self.buffers.acquire(message) as buffer:
            return bytes(buffer)

    async def close(self) -> None:
        await self.inner.close()


async def main() -> None:
    buffers = BufferManager(pool_size=10, max_message_size=1024 * 1024)

    async def serve_one(stream: trio.abc.Stream) -> None:
        transport = BufferedTransport(CustomTransport(CustomConfig(""), stream), buffers)
        await serve_bytes(Handlers(request=echo), transport, server_info=ServerInfo("buffered", "1.0"))

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        config = CustomConfig(f"127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        nursery.start_soon(partial(trio.serve_listeners, serve_one, listeners))

        async with open_bytes_client(BufferedTransport(CustomTransport(config), buffers)) as client:
            print("AIRS' own:", (await client.request("echo", {"text": "buffered"}))["text"])
        print(f"buffer efficiency: {buffers.acquisition_success_rate() * 100:.2f}%")

        async with open_bytes_client(wrappers.BufferedTransport(CustomTransport(config))) as client:
            print("the library's:", (await client.request("echo", {"text": "buffered"}))["text"])
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
