"""Streams that misbehave: in single bytes, stalled, cut off, or wrong at exactly one call.

Must never buffer or reorder: what passes, passes as the inner stream had it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import trio

from .injection import InjectionOptions, inject
from .streams import CAPACITY, byte_stream_pair

__all__ = ["CallFaultStream", "CutStream", "Fault", "FaultPlan", "SplitStream", "StallStream", "fail_every_stream_call"]

Fault = Literal["broken", "one_byte", "torn"]
"""What happens at one stream call: it raises `trio.BrokenResourceError`; it moves a single byte, which is no error, and
a sender then goes on; or it moves a single byte and then raises."""


class _Around(trio.abc.HalfCloseableStream):
    """Passes everything on to an inner stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``; a checkpoint."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room; a checkpoint."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive; a checkpoint."""
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_eof(self) -> None:
        """End the writing side, where the inner stream can; a checkpoint."""
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()
        else:
            await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close the inner stream; a checkpoint."""
        await self._stream.aclose()


class SplitStream(_Around):
    """Moves at most ``size`` bytes per call in either direction."""

    def __init__(self, stream: trio.abc.Stream, size: int = 1) -> None:
        super().__init__(stream)
        self._size = size

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data`` piece by piece; a checkpoint per piece."""
        view = memoryview(data)
        for start in range(0, max(len(view), 1), self._size):
            await self._stream.send_all(view[start : start + self._size])

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at most ``size`` bytes; a checkpoint."""
        wanted = self._size if max_bytes is None else min(self._size, max_bytes)
        return bytes(await self._stream.receive_some(wanted))


class _Counted(_Around):
    """Lets a number of bytes through in each direction, then does what `_over` does."""

    def __init__(self, stream: trio.abc.Stream, *, send: int | None = None, receive: int | None = None) -> None:
        """Take a stream and the bytes that pass before the fault; None for a direction without one."""
        super().__init__(stream)
        self._send_left = send
        self._receive_left = receive

    async def _over(self) -> None:
        raise NotImplementedError

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send what still passes, then run into the fault; a checkpoint."""
        if self._send_left is None:
            await self._stream.send_all(data)
            return
        view = memoryview(data)
        passing = view[: self._send_left]
        self._send_left -= len(passing)
        await self._stream.send_all(passing)
        if len(passing) < len(view):
            await self._over()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what still passes, then run into the fault; a checkpoint."""
        if self._receive_left is None:
            return bytes(await self._stream.receive_some(max_bytes))
        if self._receive_left == 0:
            await self._over()
        wanted = self._receive_left if max_bytes is None else min(self._receive_left, max_bytes)
        data = bytes(await self._stream.receive_some(wanted))
        self._receive_left -= len(data)
        return data


class StallStream(_Counted):
    """Stops moving after a number of bytes: the call waits until it is cancelled."""

    async def _over(self) -> None:
        await trio.sleep_forever()


class CutStream(_Counted):
    """Breaks after a number of bytes, in the middle of a frame if need be, and is closed then."""

    async def _over(self) -> None:
        await trio.aclose_forcefully(self._stream)
        raise trio.BrokenResourceError("cut off")


class FaultPlan:
    """Which stream call of a scenario goes wrong.

    Every call of `send_all`, `receive_some`, `send_eof` and `wait_send_all_might_not_block` on any stream of the plan
    is a point; `aclose` is none, for closing has no way to fail that a caller could act on.

    Attributes:
        reached: Whether the fault came.
    """

    def __init__(self, point: int, fault: Fault = "broken") -> None:
        self.reached: bool = False
        self.fault = fault
        self._point = point
        self._count = 0
        self._place = "not reached"

    def wrap(self, stream: trio.abc.Stream) -> CallFaultStream:
        """Return a stream whose calls count."""
        return CallFaultStream(stream, self)

    def streams(self, capacity: int = CAPACITY) -> tuple[CallFaultStream, CallFaultStream]:
        """Return a bounded pair in memory whose calls count on both sides; fits `testing.connect`."""
        left, right = byte_stream_pair(capacity)
        return self.wrap(left), self.wrap(right)

    def strikes(self, call: str) -> bool:
        """Count a call and tell whether it is the one."""
        self._count += 1
        if self._count != self._point:
            return False
        self.reached = True
        self._place = call
        return True

    def describe(self) -> str:
        """Say which call it was."""
        return f"{self.fault} in {self._place}"

    def problems(self) -> list[str]:
        """Find nothing by itself: how a fault ends is for the scenario to check."""
        return []

    def instruments(self) -> list[trio.abc.Instrument]:
        """Need none."""
        return []


class CallFaultStream(_Around):
    """A stream of a `FaultPlan`; the call that goes wrong breaks it for good, unless it only moves a single byte."""

    def __init__(self, stream: trio.abc.Stream, plan: FaultPlan) -> None:
        super().__init__(stream)
        self._plan = plan
        self._broken = False

    async def _break(self) -> None:
        self._broken = True
        # The other side learns of it, as it does when a socket is reset.
        await trio.aclose_forcefully(self._stream)
        raise trio.BrokenResourceError("broken by the plan")

    async def _enter(self, call: str) -> bool:
        if self._broken:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError("broken by the plan")
        if not self._plan.strikes(call):
            return False
        if self._plan.fault == "broken":
            await self._break()
        return True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send; at the point by the plan.  A checkpoint."""
        if not await self._enter("send_all"):
            await self._stream.send_all(data)
            return
        view = memoryview(data)
        await self._stream.send_all(view[:1])
        if self._plan.fault == "torn":
            await self._break()
        await self._stream.send_all(view[1:])

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive; at the point by the plan.  A checkpoint."""
        if not await self._enter("receive_some"):
            return bytes(await self._stream.receive_some(max_bytes))
        data = bytes(await self._stream.receive_some(1))
        if self._plan.fault == "torn":
            await self._break()
        return data

    async def send_eof(self) -> None:
        """End the writing side; at the point by the plan.  A checkpoint."""
        if await self._enter("send_eof") and self._plan.fault == "torn":
            await self._break()
        await super().send_eof()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room; at the point by the plan.  A checkpoint."""
        if await self._enter("wait_send_all_might_not_block") and self._plan.fault == "torn":
            await self._break()
        await super().wait_send_all_might_not_block()


def fail_every_stream_call(
    scenario: Callable[[FaultPlan], Awaitable[object]],
    *,
    fault: Fault = "broken",
    limit: int = 300,
    seconds: float = 60.0,
    allowed: tuple[type[BaseException], ...] = (),
    seed: int = 0,
) -> int:
    """Run a scenario whose k-th stream call goes wrong, for k = 1, 2, 3 ... until one run is untouched.

    The scenario takes its streams from `FaultPlan.streams`.  With ``one_byte`` nothing may be noticed at all; otherwise
    every request has to end, with a result or a `TransportError`.  No task, descriptor or child may be left and
    every run ends within ``seconds`` of a virtual clock.  A plain function, as `cancel_at_every_checkpoint`.

    Args:
        scenario: Gets the plan.
        fault: What goes wrong.
        limit: Most points.
        seconds: Longest run, of the virtual clock.
        allowed: Exceptions that may leave the scenario, such as `TransportError`.
        seed: Chooses the order of tasks that are ready at once.

    Returns:
        The number of runs with a fault.

    Raises:
        AssertionError: Something was left, or a run took too long.
        BaseException: What left the scenario and is not allowed, with a note that names the point.
    """
    options = InjectionOptions(limit=limit, dense=limit, seconds=seconds, allowed=allowed, seed=seed)
    return inject(scenario, lambda point: FaultPlan(point, fault), options, "failed")
