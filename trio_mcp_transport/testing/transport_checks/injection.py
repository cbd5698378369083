"""Checks that a client may be cancelled at every moment: the connection, and the next client, live on.

Must never cancel anything but what a client does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ...client import Client
from ..cancel import CancelRegion
from ..footprint import Footprint
from .bench import Bench
from .check import check

__all__ = ["a_request_is_cancelled_anywhere", "opening_is_cancelled_anywhere"]


@check()
async def a_request_is_cancelled_anywhere(bench: Bench) -> None:
    """A request that is cancelled at any checkpoint leaves a connection that works."""
    served = await bench.serve()
    async with bench.connect(served) as client:

        async def scenario(client: Client = client) -> None:
            await client.request("check/echo", {"key": "cancelled"})

        for point in range(1, bench.channel.injection_points + 1):
            reached = await cancelled_at(bench, point, scenario)
            await bench.assert_alive(client, f"a cancellation at point {point} of a request")
            if not reached:
                break


@check("several_clients")
async def opening_is_cancelled_anywhere(bench: Bench) -> None:
    """A client that is cancelled at any checkpoint while it opens leaves nothing, and the next one gets through."""
    served = await bench.serve()

    async def scenario() -> None:
        async with bench.connect(served) as client:
            await client.request("check/echo", {"key": "cancelled"})

    await scenario()  # whatever is made once is made before the first look
    for point in range(1, bench.channel.injection_points + 1):
        before = Footprint.take()
        reached = await cancelled_at(bench, point, scenario)
        async with bench.connect(served) as client:
            await bench.assert_alive(client, f"a cancellation at point {point} of opening a client")
        left = before.left_by(Footprint.take(), threads=False)
        with trio.move_on_after(bench.channel.patience / 5):
            while left:
                await trio.sleep(0.001)  # the server's side of those connections ends in its own time
                left = before.left_by(Footprint.take(), threads=False)
        bench.equal(left, [], f"what is left after a cancellation at point {point} of opening a client")
        if not reached:
            break


async def cancelled_at(bench: Bench, point: int, scenario: Callable[[], Awaitable[None]]) -> bool:
    """Run a scenario that is cancelled at a point; tell whether it had one."""
    region = CancelRegion(point, within=bench.channel.patience)
    trio.lowlevel.add_instrument(region)
    try:
        with bench.within(f"an end of what was cancelled at point {point}", 2 * bench.channel.patience), region:
            await scenario()
    finally:
        trio.lowlevel.remove_instrument(region)
    bench.equal(region.problems(), [], f"what is wrong with a cancellation at point {point}, {region.describe()}")
    return region.reached
