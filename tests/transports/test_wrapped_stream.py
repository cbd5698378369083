"""A stream that only passes on."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.sockets import tcp_pair
from trio_mcp_transport.testing import byte_stream_pair
from trio_mcp_transport.transports.wrapped_stream import WrappedStream


async def test_it_keeps_the_half_closeable_contract_of_what_it_wraps() -> None:
    async def make() -> tuple[WrappedStream, WrappedStream]:
        near, far = byte_stream_pair()
        return WrappedStream(near), WrappedStream(far)

    await trio.testing.check_half_closeable_stream(make, None)


async def test_it_sends_without_waiting_where_the_wrapped_stream_can() -> None:
    near, far = tcp_pair()
    async with WrappedStream(near) as wrapped, far:
        assert wrapped.send_nowait(b"now") == 3
        assert await far.receive_some() == b"now"
    memory, other = trio.testing.memory_stream_pair()
    async with WrappedStream(memory) as wrapped, other:
        assert wrapped.send_nowait(b"now") == 0


async def test_it_says_so_where_the_writing_cannot_be_ended_alone() -> None:
    class Plain(trio.abc.Stream):
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            return b""

        async def send_all(self, data: bytes | bytearray | memoryview) -> None: ...

        async def wait_send_all_might_not_block(self) -> None: ...

        async def aclose(self) -> None: ...

    with pytest.raises(NotImplementedError, match="Plain"):
        await WrappedStream(Plain()).send_eof()
