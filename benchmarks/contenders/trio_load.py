"""Runs callers side by side on Trio, for the client contenders that live there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


async def run_all(callers: list[Callable[[], Awaitable[None]]]) -> None:
    """Run all callers to their end."""
    async with trio.open_nursery() as nursery:
        for caller in callers:
            nursery.start_soon(caller)
