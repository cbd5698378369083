"""A stream that passes everything on to another one: the base of those that change one thing.

Must never change anything itself.
"""

from __future__ import annotations

import trio

__all__ = ["WrappedStream"]


class WrappedStream(trio.abc.HalfCloseableStream):
    """Passes every call on to the stream it wraps.

    Attributes:
        inner: The wrapped stream.
    """

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner = inner
        self._send_nowait = getattr(inner, "send_nowait", None)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive as the wrapped stream does."""
        return await self.inner.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send as the wrapped stream does."""
        await self.inner.send_all(data)

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Send what goes out without waiting and return its size in bytes; 0 where the wrapped stream cannot."""
        return 0 if self._send_nowait is None else int(self._send_nowait(data))

    async def wait_send_all_might_not_block(self) -> None:
        """Wait as the wrapped stream does."""
        await self.inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End the writing where the wrapped stream can.

        Raises:
            NotImplementedError: It cannot.
        """
        if not isinstance(self.inner, trio.abc.HalfCloseableStream):
            raise NotImplementedError(f"{type(self.inner).__name__} cannot end its writing alone")
        await self.inner.send_eof()

    async def aclose(self) -> None:
        """Close the wrapped stream."""
        await self.inner.aclose()
