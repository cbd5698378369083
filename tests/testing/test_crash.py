"""The crash injector reaches every step of a handler, and a server survives each."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import trio

from trio_mcp_transport import Handlers, RpcError
from trio_mcp_transport.testing import CrashPlan, connect, crash_at_every_step

WAYS = pytest.mark.parametrize("way", ["objects", "bytes"])
ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])


def test_every_step_of_the_handler_is_a_point() -> None:
    reached: list[int] = []

    async def three(message: Any, context: Any) -> None:
        reached.append(0)
        for step in (1, 2):
            await trio.lowlevel.checkpoint()
            reached.append(step)

    async def scenario(plan: CrashPlan) -> None:
        reached.append(-1)
        async with connect(plan.handler(Handlers(three)), era="modern", discover=False) as client:
            if plan.reached:
                await client.request("go")
            else:
                with contextlib.suppress(RpcError):
                    await client.request("go")

    # Three steps of the call and one of the close hook.
    assert crash_at_every_step(scenario) == 4
    runs = "".join(map(str, reached)).split("-1")[1:]
    assert runs == ["", "0", "01", "012", "012"]


@WAYS
@ERAS
def test_a_crash_is_answered_once_and_the_next_request_is_served(way: str, era: Any) -> None:
    async def work(message: Any, context: Any) -> Any:
        await context.progress(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            await trio.lowlevel.checkpoint()
        await trio.sleep(1)
        return {"done": message.method}

    answers: list[Any] = []
    refusals: set[Any] = set()

    async def scenario(plan: CrashPlan) -> None:
        errors = []
        handler = plan.handler(Handlers(work, error=lambda error, context: errors.append(error)))
        async with connect(handler, era=era, bytes=way == "bytes") as client:
            for method in ("first", "second"):
                try:
                    answers.append((await client.request(method, on_progress=lambda params: None))["done"])
                except RpcError as error:
                    refusals.add((error.code, error.data["reason"]))
                    answers.append(None)
            assert client.statistics().pending == 0

    points = crash_at_every_step(scenario)
    assert points == 9  # four steps of each call, one of the close hook
    assert refusals == {(-32603, "internal")}
    assert len(answers) == 2 * (points + 1)
    assert answers[-2:] == ["first", "second"]
    assert answers[0::2].count(None) == 4
    assert [pair for pair in zip(answers[0::2], answers[1::2], strict=True) if pair == (None, None)] == []


def test_a_crash_in_the_close_hook_goes_no_further() -> None:
    async def close(context: Any) -> None:
        await trio.lowlevel.checkpoint()

    async def scenario(plan: CrashPlan) -> None:
        async with connect(plan.handler(Handlers(close=close)), era="modern"):
            pass

    assert crash_at_every_step(scenario) == 2


def test_a_crash_that_the_scenario_does_not_expect_leaves_it_with_its_place() -> None:
    async def echo(message: Any, context: Any) -> None:
        await trio.lowlevel.checkpoint()

    async def scenario(plan: CrashPlan) -> None:
        async with connect(plan.handler(Handlers(echo)), era="modern") as client:
            await client.request("go")

    with pytest.raises(RpcError) as caught:
        crash_at_every_step(scenario)
    assert "crashed at point 1: Handlers.handle_message" in caught.value.__notes__[0]


def test_cancellation_passes_through_a_driven_coroutine() -> None:
    seen: list[str] = []

    async def wait(message: Any, context: Any) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            seen.append("cancelled")
            raise

    async def scenario(plan: CrashPlan) -> None:
        async with connect(plan.handler(Handlers(wait)), era="modern") as client:
            with trio.move_on_after(1):
                with contextlib.suppress(RpcError):
                    await client.request("go")

    crash_at_every_step(scenario)
    assert "cancelled" in seen
