"""The cancel injector finds what it exists to find, and every point of a scenario."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import trio

from trio_mcp_transport.testing import CancelRegion, cancel_at_every_checkpoint


@pytest.fixture
def opened() -> Iterator[list[int]]:
    fds: list[int] = []
    yield fds
    for fd in fds:
        os.close(fd)


def test_every_checkpoint_is_a_point_and_the_untouched_run_is_the_last() -> None:
    ends: list[int] = []

    async def scenario(region: CancelRegion) -> None:
        passed = 0
        try:
            with region:
                for _ in range(5):
                    await trio.lowlevel.checkpoint()
                    passed += 1
        finally:
            ends.append(passed)

    # The entry, and the step after each of the five: trio looks for a cancellation when a checkpoint is over.
    assert cancel_at_every_checkpoint(scenario) == 6
    assert ends == [0, 0, 1, 2, 3, 4, 5]


def test_a_wait_is_cancelled_in_its_middle_by_the_step_of_another_task() -> None:
    waited: list[bool] = []

    async def scenario(region: CancelRegion) -> None:
        with region:
            async with trio.open_nursery() as nursery:
                event = trio.Event()

                async def wait() -> None:
                    try:
                        await event.wait()
                    except trio.Cancelled:
                        waited.append(True)
                        raise

                nursery.start_soon(wait)
                await trio.sleep(1)
                event.set()

    cancel_at_every_checkpoint(scenario)
    assert waited


def test_what_lies_outside_of_the_region_is_never_cancelled() -> None:
    outcomes: list[bool] = []

    async def scenario(region: CancelRegion) -> None:
        await trio.sleep(1)
        with region:
            await trio.lowlevel.cancel_shielded_checkpoint()
            await trio.sleep(1)
            await trio.lowlevel.cancel_shielded_checkpoint()
        await trio.sleep(1)
        outcomes.append(region.cancelled)

    assert cancel_at_every_checkpoint(scenario) == 4
    # The last cancellation comes when only the shielded end is left: the region ends as if nothing had happened.
    assert outcomes == [True, True, True, False, False]


def test_equal_seeds_repeat_the_order_of_tasks() -> None:
    orders: list[list[int]] = []

    async def scenario(region: CancelRegion) -> None:
        order: list[int] = []

        async def note(number: int) -> None:
            await trio.lowlevel.checkpoint()
            order.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(note, number)
        orders.append(order)
        with region:
            pass

    for seed in (1, 1, 2):
        cancel_at_every_checkpoint(scenario, seed=seed)
    first, second, third = orders[0], orders[2], orders[4]
    assert first == second
    assert first != third


def test_a_left_task_is_caught() -> None:
    async def scenario(region: CancelRegion) -> None:
        with region:
            trio.lowlevel.spawn_system_task(trio.sleep_forever)
            await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match=r"task trio\.sleep_forever was left"):
        cancel_at_every_checkpoint(scenario)


def test_a_descriptor_left_by_a_cancellation_is_caught(opened: list[int]) -> None:
    async def scenario(region: CancelRegion) -> None:
        with region:
            fd = os.open(os.devnull, os.O_RDONLY)
            opened.append(fd)
            await trio.lowlevel.checkpoint()
            opened.remove(fd)
            os.close(fd)

    with pytest.raises(AssertionError, match=r"cancelled at point 1: before a step of .*\n.*/dev/null\) was left"):
        cancel_at_every_checkpoint(scenario)


def test_a_left_child_is_caught() -> None:
    children: list[subprocess.Popen[bytes]] = []

    async def scenario(region: CancelRegion) -> None:
        with region:
            children.append(
                subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)  # noqa: ASYNC220
            )
            await trio.lowlevel.checkpoint()

    try:
        with pytest.raises(AssertionError, match=r"child process [0-9]+ was left"):
            cancel_at_every_checkpoint(scenario, real_clock=True)
    finally:
        for child in children:
            child.communicate()


def test_a_swallowed_cancellation_is_caught() -> None:
    async def scenario(region: CancelRegion) -> None:
        with region:
            with contextlib.suppress(trio.Cancelled):
                await trio.sleep(1)

    with pytest.raises(AssertionError, match="swallowed"):
        cancel_at_every_checkpoint(scenario)


def test_a_wrong_exception_is_caught_and_says_where() -> None:
    async def scenario(region: CancelRegion) -> None:
        with region:
            try:
                await trio.sleep(1)
            except trio.Cancelled:
                raise KeyError("lost") from None

    with pytest.raises(KeyError, match="lost") as caught:
        cancel_at_every_checkpoint(scenario)
    assert "cancelled at point 1" in caught.value.__notes__[0]
    assert cancel_at_every_checkpoint(scenario, allowed=(KeyError,)) == 2


def test_an_error_beside_the_cancellation_is_caught() -> None:
    async def scenario(region: CancelRegion) -> None:
        async def fail() -> None:
            try:
                await trio.sleep(1)
            finally:
                if region.reached:
                    raise KeyError("lost")

        with region:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                await trio.sleep(1)

    with pytest.raises(ExceptionGroup) as caught:
        cancel_at_every_checkpoint(scenario)
    assert caught.group_contains(KeyError)


def test_an_endless_scenario_is_caught_even_behind_a_shield() -> None:
    async def scenario(region: CancelRegion) -> None:
        with region:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()

    with pytest.raises(AssertionError, match="not finished after 60 s") as caught:
        cancel_at_every_checkpoint(scenario)
    assert "test_cancel.py" in str(caught.value)


def test_a_cancellation_that_is_obeyed_late_is_caught() -> None:
    async def scenario(region: CancelRegion) -> None:
        with region:
            try:
                await trio.sleep(1)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(3)

    with pytest.raises(AssertionError, match=r"left 3 s after the cancellation, not within 2\.5 s"):
        cancel_at_every_checkpoint(scenario, within=2.5)
    assert cancel_at_every_checkpoint(scenario, within=4) > 2


def test_too_many_points_are_an_error_not_a_sample() -> None:
    async def scenario(region: CancelRegion) -> None:
        with region:
            for _ in range(20):
                await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match="more than 10 points"):
        cancel_at_every_checkpoint(scenario, limit=10)
    assert cancel_at_every_checkpoint(scenario, limit=10, dense=5, stride=8) == 7  # 1-5, 13, 21


def test_a_region_that_is_never_opened_is_an_error() -> None:
    async def scenario(region: CancelRegion) -> None:
        await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match="no point"):
        cancel_at_every_checkpoint(scenario)


def test_a_region_is_opened_once() -> None:
    async def scenario(region: CancelRegion) -> None:
        with region:
            pass
        with region:
            pass

    with pytest.raises(RuntimeError, match="once"):
        cancel_at_every_checkpoint(scenario)
