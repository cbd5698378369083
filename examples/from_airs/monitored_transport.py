"""AIRS' ``MonitoredTransport``: it counts messages, bytes and errors around any transport of that shape.

``MonitoredTransport`` and ``TransportMetrics`` are translations; the library has both ready-made, with the same names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import trio
from airs_errors import Closed
from custom_transport_template import CustomConfig, CustomTransport, echo

from trio_mcp_transport import Handlers, ServerInfo
from trio_mcp_transport.adapters import wrappers
from trio_mcp_transport.adapters.blocking import BytesTransport, open_bytes_client, serve_bytes


@dataclass
class TransportMetrics:
    messages_sent: int = 0
    messages_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    errors: int = 0
    connection_count: int = 0

    def record_send(self, byte_count: int) -> None:
        self.messages_sent += 1
        self.bytes_sent += byte_count

    def record_receive(self, byte_count: int) -> None:
        self.messages_received += 1
        self.bytes_received += byte_count

    def record_error(self) -> None:
        self.errors += 1


class MonitoredTransport:
    def __init__(self, inner: BytesTransport, metrics: TransportMetrics) -> None:
        self.inner = inner
        self.metrics = metrics

    async def send(self, message: bytes) -> None:
        try:
            await self.inner.send(message)
        except Exception:
            self.metrics.record_error()
            raise
        self.metrics.record_send(len(message))

    async def receive(self) -> bytes:
        try:
            message = await self.inner.receive()
        except Closed:
            raise  # the end is none
        except Exception:
            self.metrics.record_error()
            raise
        self.metrics.record_receive(len(message))
        return message

    async def close(self) -> None:
        await self.inner.close()


async def main() -> None:
    served = TransportMetrics()

    async def serve_one(stream: trio.abc.Stream) -> None:
        transport = MonitoredTransport(CustomTransport(CustomConfig(""), stream), served)
        await serve_bytes(Handlers(request=echo), transport, server_info=ServerInfo("monitored", "1.0"))

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        config = CustomConfig(f"127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        nursery.start_soon(partial(trio.serve_listeners, serve_one, listeners))

        monitored = wrappers.MonitoredTransport(CustomTransport(config))
        async with open_bytes_client(monitored, era="modern", discover=False) as client:
            for number in range(3):
                await client.request("echo", {"text": str(number)})
        nursery.cancel_scope.cancel()

    seen = monitored.metrics.snapshot()
    print(f"client: {seen.messages_sent} sent, {seen.messages_received} received, {seen.errors} errors")
    print(f"server: {served.messages_sent} sent, {served.messages_received} received, {served.errors} errors")
    print("the same bytes at both ends:", seen.bytes_sent == served.bytes_received)


if __name__ == "__main__":
    trio.run(main)
