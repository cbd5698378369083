from __future__ import annotations

import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.processes import until
from trio_mcp_transport import (
    ConfigError,
    Handlers,
    MessageContext,
    MessageHandler,
    Notification,
    Request,
    ServerInfo,
    memory_transports,
    open_client,
    serve,
)
from trio_mcp_transport.watchdog import Stall, _Watch, log_stall, watch_stalls

THRESHOLD = 0.02
FOREVER = 5.0
"""Seconds after which something that waits for the watcher gives up, so that a failure is no hang."""


class Stuck:
    """Something that blocks until the watcher has reported it."""

    def __init__(self) -> None:
        self.stalls: list[Stall] = []
        self.reported = threading.Event()

    def block(self) -> None:
        self.reported.wait(FOREVER)

    def report(self, stall: Stall) -> None:
        self.stalls.append(stall)
        self.reported.set()


@asynccontextmanager
async def watched(stuck: Stuck, handler: MessageHandler) -> AsyncIterator[Any]:
    """Serve a handler under a watchdog and give a client of it."""
    server, transport = memory_transports()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(watch_stalls, THRESHOLD, report=stuck.report))
        await nursery.start(partial(serve, handler, server, server_info=ServerInfo("s", "1")))
        async with open_client(transport, era="modern", discover=False) as client:
            yield client
        nursery.cancel_scope.cancel()


async def the_stall(handler: Callable[[Stuck], MessageHandler]) -> Stall:
    stuck = Stuck()
    async with watched(stuck, handler(stuck)) as client:
        await client.request("anything")
    assert len(stuck.stalls) == 1
    return stuck.stalls[0]


async def test_plain_handler_is_named() -> None:
    def guilty(stuck: Stuck) -> MessageHandler:
        def careless(request: Request, context: MessageContext) -> None:
            stuck.block()

        return Handlers(careless)

    stall = await the_stall(guilty)
    assert stall.handler is not None and stall.handler.endswith("careless")
    assert stall.function == stall.handler
    assert stall.location.partition(":")[0] == __file__
    assert stall.seconds >= THRESHOLD
    assert "stuck.block()" in "".join(stall.stack)


async def test_coroutine_that_should_have_awaited_is_named_beside_its_handler() -> None:
    class Application(MessageHandler):
        def __init__(self, stuck: Stuck) -> None:
            self.stuck = stuck

        async def handle_message(self, message: Request | Notification, context: MessageContext) -> None:
            await trio.lowlevel.checkpoint()
            await self.load()

        async def load(self) -> None:
            self.stuck.block()

    stall = await the_stall(Application)
    assert stall.handler is not None and stall.handler.endswith("Application.handle_message")
    assert stall.function.endswith("Application.load")
    line = int(stall.location.rpartition(":")[2])
    assert line == Application.load.__code__.co_firstlineno + 1


async def test_router_is_not_blamed_for_what_it_called() -> None:
    def route(stuck: Stuck) -> MessageHandler:
        def guilty(request: Request, context: MessageContext) -> None:
            stuck.block()

        async def router(request: Request, context: MessageContext) -> Any:
            return await Handlers(guilty).handle_message(request, context)

        return Handlers(router)

    stall = await the_stall(route)
    assert stall.handler is not None and stall.handler.endswith("guilty")


async def test_task_that_is_no_handler_is_named() -> None:
    stuck = Stuck()

    async def busy() -> None:
        stuck.block()

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(watch_stalls, THRESHOLD, report=stuck.report))
        nursery.start_soon(busy)
        await trio.testing.wait_all_tasks_blocked(0.001)
        nursery.cancel_scope.cancel()
    (stall,) = stuck.stalls
    assert stall.handler is None
    assert stall.function.endswith("busy")


async def test_one_stall_is_reported_once_and_the_next_again() -> None:
    stuck = Stuck()
    gone_on = threading.Event()

    def careless(request: Request, context: MessageContext) -> None:
        stuck.block()
        gone_on.wait(4 * THRESHOLD)
        stuck.reported.clear()

    async with watched(stuck, Handlers(careless)) as client:
        await client.request("first")
        assert len(stuck.stalls) == 1
        await client.request("second")
    assert len(stuck.stalls) == 2


async def test_a_loop_that_turns_is_left_alone() -> None:
    stuck = Stuck()
    async with trio.open_nursery() as nursery:
        # The threshold is long for a busy machine; what is watched is a loop with nothing to do but wait.
        await nursery.start(partial(watch_stalls, 0.1, report=stuck.report))
        await trio.sleep(0.25)
        nursery.cancel_scope.cancel()
    assert stuck.stalls == []


def watchers() -> int:
    """Return how many threads are watching."""
    frames = list(sys._current_frames().values())
    found = 0
    for innermost in frames:
        frame = innermost
        while frame is not None:
            found += frame.f_code is _Watch.run.__code__
            frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
    return found


@pytest.mark.parametrize("threshold", [THRESHOLD, 1000.0])
async def test_thread_ends_with_the_nursery(threshold: float) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(watch_stalls, threshold)
        await until(watchers)
        nursery.cancel_scope.cancel()
    await until(lambda: not watchers())


async def test_full_default_limiter_keeps_nobody_from_watching() -> None:
    limiter = trio.to_thread.current_default_thread_limiter()
    borrowed = [object() for _ in range(int(limiter.available_tokens))]
    for borrower in borrowed:
        limiter.acquire_on_behalf_of_nowait(borrower)
    try:
        stall = await the_stall(lambda stuck: Handlers(lambda request, context: stuck.block()))
    finally:
        for borrower in borrowed:
            limiter.release_on_behalf_of(borrower)
    assert stall.handler is not None and stall.handler.endswith("<lambda>")


async def test_failure_of_the_report_leaves_the_watchdog() -> None:
    stuck = Stuck()

    def report(stall: Stall) -> None:
        stuck.reported.set()
        raise OSError("the disk is full")

    async def busy() -> None:
        stuck.block()

    with pytest.RaisesGroup(OSError):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(watch_stalls, THRESHOLD, report=report))
            nursery.start_soon(busy)


@pytest.mark.parametrize("threshold", [0, -1, float("inf"), float("nan")])
async def test_threshold_is_a_positive_number(threshold: float) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        await watch_stalls(threshold)


def test_log_names_handler_and_place(caplog: pytest.LogCaptureFixture) -> None:
    stall = Stall(handler="App.handle", function="App.load", location="app.py:7", seconds=1.5, stack=("  frames\n",))
    with caplog.at_level(logging.WARNING, "trio_mcp_transport"):
        log_stall(stall)
    assert "has not run for 1.50 s: the handler App.handle blocks it in App.load at app.py:7" in caplog.text
    assert "frames" in caplog.text


def test_log_names_a_task_that_is_no_handler(caplog: pytest.LogCaptureFixture) -> None:
    log_stall(Stall(handler=None, function="refresh", location="app.py:9", seconds=2.0, stack=()))
    assert "2.00 s: refresh blocks it at app.py:9" in caplog.text
