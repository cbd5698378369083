"""What a cancelled client leaves behind is seen."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing

from tests.testing.certify import Pairs, broken_for, see_exactly
from trio_mcp_transport.testing import CheckFailed
from trio_mcp_transport.testing.transport_checks import injection
from trio_mcp_transport.testing.transport_checks.bench import Bench, Channel


@broken_for(injection)
def test_a_broken_transport_fails_exactly(pairs: Pairs, names: tuple[str, ...]) -> None:
    see_exactly(pairs, names)


async def test_a_scenario_without_points_is_over(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        channel = Channel(make_pair=Pairs(), patience=5.0, connect_stream=None)
        bench = Bench("check", "modern", channel, nursery)

        async def scenario() -> None:
            await trio.lowlevel.checkpoint()

        assert await injection.cancelled_at(bench, 1, scenario)
        assert not await injection.cancelled_at(bench, 1000, scenario)

        async def swallow() -> None:
            with contextlib.suppress(trio.Cancelled):
                await trio.sleep_forever()

        with pytest.raises(CheckFailed, match="swallowed"):
            await injection.cancelled_at(bench, 1, swallow)
