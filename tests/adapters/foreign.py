"""Transports as other people write them, in AIRS' two shapes and the TypeScript SDK's, connected in memory.

None of them knows this library, but for Trio.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio


class Closed(Exception):
    """AIRS' name for the end."""


class BytesEnd:
    """AIRS' first shape over memory channels; ``log`` shows what it was asked."""

    def __init__(self, outgoing: trio.MemorySendChannel[bytes], incoming: trio.MemoryReceiveChannel[bytes]) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self.closed = False
        self.log: list[str] = []
        self.busy = {"send": 0, "receive": 0}

    async def send(self, message: bytes) -> None:
        await self._once("send", lambda: self._outgoing.send(message))

    async def receive(self) -> bytes:
        return await self._once("receive", self._incoming.receive)

    async def _once(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        self.log.append(name)
        if self.closed:
            raise Closed
        assert not self.busy[name], f"two calls of {name} at once"
        self.busy[name] += 1
        try:
            return await call()
        except (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Closed from error
        finally:
            self.busy[name] -= 1

    async def close(self) -> None:
        self.log.append("close")
        self.closed = True
        self._outgoing.close()
        self._incoming.close()
        await trio.lowlevel.checkpoint()


def bytes_pair(capacity: int = 0) -> tuple[BytesEnd, BytesEnd]:
    there_send, there_receive = trio.open_memory_channel[bytes](capacity)
    back_send, back_receive = trio.open_memory_channel[bytes](capacity)
    return BytesEnd(there_send, back_receive), BytesEnd(back_send, there_receive)


class LockedEnd(BytesEnd):
    """One lock around everything, as the template of AIRS has it: nobody sends while it receives."""

    def __init__(self, *channels: Any) -> None:
        super().__init__(*channels)
        self.lock = trio.Lock()

    async def _once(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        async with self.lock:
            return await super()._once(name, call)


class FragileEnd(BytesEnd):
    """A cancelled receive breaks it."""

    broken = False

    async def receive(self) -> bytes:
        if self.broken:
            raise OSError("torn by a cancellation")
        try:
            return await super().receive()
        except trio.Cancelled:
            self.broken = True
            raise

    async def send(self, message: bytes) -> None:
        if self.broken:
            raise OSError("torn by a cancellation")
        await super().send(message)


class AirsCallbacks:
    """AIRS' event-driven shape around the first one; its loop runs in ``start``, as Trio has it."""

    def __init__(self, end: BytesEnd) -> None:
        self.end = end
        self.handler: Any = None
        self.connected = False

    def set_message_handler(self, handler: Any) -> None:
        self.handler = handler

    def session_id(self) -> str | None:
        return "session-7"

    def is_connected(self) -> bool:
        return self.connected

    async def start(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.connected = True
        task_status.started()
        while True:
            try:
                message = await self.end.receive()
            except Closed:
                self.connected = False
                await self.handler.handle_close()
                return
            await self.handler.handle_message(message, {"from": "airs"})

    async def send(self, message: Any) -> None:
        import json

        from trio_mcp_transport.wire import messages

        text = json.dumps(message).encode() if isinstance(message, dict) else messages.encode(message)
        await self.end.send(text)

    async def close(self) -> None:
        await self.end.close()


class TypeScriptCallbacks:
    """The TypeScript SDK's shape; its owner gives it a nursery."""

    def __init__(self, end: BytesEnd, nursery: trio.Nursery) -> None:
        self.end = end
        self.nursery = nursery
        self.onmessage: Any = None
        self.onclose: Any = None
        self.onerror: Any = None

    async def start(self) -> None:
        self.nursery.start_soon(self._run)
        await trio.lowlevel.checkpoint()

    async def _run(self) -> None:
        import json

        while True:
            try:
                self.onmessage(json.loads(await self.end.receive()))
            except Closed:
                self.onclose()
                return

    async def send(self, message: dict[str, Any]) -> None:
        import json

        assert type(message) is dict
        await self.end.send(json.dumps(message).encode())

    async def close(self) -> None:
        await self.end.close()
