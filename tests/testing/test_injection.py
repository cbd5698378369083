"""The runner repeats a scenario point by point and leaves trio's scheduling as it found it."""

from __future__ import annotations

import pytest
import trio

from trio_mcp_transport.testing import CancelRegion, cancel_at_every_checkpoint
from trio_mcp_transport.testing.injection import InjectionOptions, inject, where


async def scenario(region: CancelRegion) -> None:
    with region:
        await trio.sleep(1)


def test_every_run_has_a_fresh_disturbance() -> None:
    made: list[CancelRegion] = []

    def make(point: int) -> CancelRegion:
        made.append(CancelRegion(point))
        return made[-1]

    assert inject(scenario, make, InjectionOptions(), "cancelled") == 2
    assert [region.reached for region in made] == [True, True, False]


def test_the_randomness_of_trio_is_given_back() -> None:
    core = trio._core._run  # type: ignore[attr-defined]
    before = core._r.getstate(), core._ALLOW_DETERMINISTIC_SCHEDULING
    cancel_at_every_checkpoint(scenario)
    assert (core._r.getstate(), core._ALLOW_DETERMINISTIC_SCHEDULING) == before


def test_the_virtual_clock_jumps_and_the_bound_is_one_of_that_clock() -> None:
    async def slow(region: CancelRegion) -> None:
        with region:
            pass
        await trio.sleep(100)

    with pytest.raises(AssertionError, match="not finished after 60 s"):
        cancel_at_every_checkpoint(slow)
    assert cancel_at_every_checkpoint(slow, seconds=200) == 1


async def test_where_names_the_innermost_place_outside_of_trio() -> None:
    async def inner() -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(inner)
        task = next(iter(nursery.child_tasks))
        assert where(task).endswith("inner")
        await trio.testing.wait_all_tasks_blocked()
        assert "test_injection.py" in where(task) and where(task).endswith("inner")
        nursery.cancel_scope.cancel()
