from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import legacy_request, modern_request, serve_bytes, shake_hands
from trio_mcp_transport import (
    ConfigError,
    Handlers,
    MessageContext,
    MessageError,
    Notification,
    Request,
    RpcError,
    TransportError,
    blocking,
)

FOREVER = 5.0
"""Real seconds after which a thread gives up, so that a failure is no hang."""


def result_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what the handler gave, without what the era adds."""
    return {key: value for key, value in answer["result"].items() if key not in ("resultType", "_meta")}


async def test_each_kind_of_function_answers() -> None:
    async def coroutine(request: Request, context: MessageContext) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"by": "coroutine"}

    def plain(request: Request, context: MessageContext) -> dict[str, Any]:
        return {"by": "plain"}

    @blocking
    def threaded(request: Request, context: MessageContext) -> dict[str, Any]:
        assert threading.current_thread() is not threading.main_thread()
        return {"by": "threaded"}

    for function in (coroutine, plain, threaded):
        async with serve_bytes(Handlers(function)) as wire:
            assert result_of(await wire.ask(modern_request(1))) == {"by": function.__name__}


async def test_a_method_of_an_object_may_block() -> None:
    class Application:
        name = "app"

        @blocking
        def answer(self, request: Request, context: MessageContext) -> dict[str, Any]:
            return {"name": self.name, "main": threading.current_thread() is threading.main_thread()}

    async with serve_bytes(Handlers(Application().answer)) as wire:
        assert result_of(await wire.ask(modern_request(1))) == {"name": "app", "main": False}


async def test_without_functions_requests_are_unknown_and_notifications_are_taken() -> None:
    async with serve_bytes(Handlers()) as wire:
        await wire.send_line({"jsonrpc": "2.0", "method": "notifications/whatever"})
        answer = await wire.ask(modern_request(1, "tools/list"))
    assert answer["error"]["code"] == -32601
    assert "tools/list" in answer["error"]["message"]


async def test_what_a_notification_returns_or_raises_is_no_answer(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def notified(notification: Notification, context: MessageContext) -> Any:
        seen.append(notification.method)
        if notification.method.endswith("bad"):
            raise RpcError(1, "no")
        return {"dropped": True}

    async with serve_bytes(Handlers(notification=notified)) as wire:
        await shake_hands(wire)
        for name in ("good", "bad"):
            await wire.send_line({"jsonrpc": "2.0", "method": f"notifications/{name}"})
        await wire.assert_silent()
    assert sorted(seen) == ["notifications/bad", "notifications/good"]


async def test_error_and_close_are_called_in_this_order(autojump_clock: trio.testing.MockClock) -> None:
    calls: list[Any] = []

    def failed(error: TransportError, context: MessageContext) -> None:
        calls.append(type(error))

    async def closed(context: MessageContext) -> None:
        await trio.lowlevel.checkpoint()
        calls.append(context.transport)

    async with serve_bytes(Handlers(error=failed, close=closed)) as wire:
        await wire.ask(b"{")
        await wire.end()
        assert await wire.receive_rest() == []
        await trio.testing.wait_all_tasks_blocked()
        assert calls == [MessageError, "bytes"]


async def test_blocking_error_and_close_functions_run_in_threads() -> None:
    threads: list[bool] = []

    @blocking
    def hook(*_: Any) -> None:
        threads.append(threading.current_thread() is threading.main_thread())

    async with serve_bytes(Handlers(error=hook, close=hook)) as wire:
        await wire.ask(b"{")
        await wire.end()
        assert await wire.receive_rest() == []
        with trio.fail_after(FOREVER):
            while len(threads) < 2:
                await trio.lowlevel.checkpoint()
    assert threads == [False, False]


async def test_a_blocking_handler_raises_like_any_other() -> None:
    @blocking
    def refuse(request: Request, context: MessageContext) -> None:
        raise RpcError(42, "no", {"why": "because"})

    async with serve_bytes(Handlers(refuse)) as wire:
        error = (await wire.ask(modern_request(1)))["error"]
    assert error == {"code": 42, "message": "no", "data": {"why": "because"}}


async def test_others_are_served_while_a_handler_blocks() -> None:
    release = threading.Event()

    @blocking
    def wait(request: Request, context: MessageContext) -> dict[str, Any]:
        return {"released": release.wait(FOREVER)}

    handlers = Handlers(wait)

    async def route(request: Request, context: MessageContext) -> Any:
        return await handlers.handle_message(request, context) if request.method == "wait" else {}

    async with serve_bytes(route) as wire:
        await shake_hands(wire)
        await wire.send_line(legacy_request("slow", "wait"))
        for number in range(20):
            assert (await wire.ask(legacy_request(number, "ping")))["id"] == number
            assert (await wire.ask(legacy_request(-number, "other")))["id"] == -number
        release.set()
        assert await wire.receive() == {"jsonrpc": "2.0", "id": "slow", "result": {"released": True}}


async def test_a_cancelled_message_abandons_its_thread() -> None:
    entered, release, left = (threading.Event() for _ in range(3))

    @blocking
    def wait(request: Request, context: MessageContext) -> dict[str, Any]:
        entered.set()
        release.wait(FOREVER)
        left.set()
        return {"too": "late"}

    handlers = Handlers(wait)

    async def route(request: Request, context: MessageContext) -> Any:
        return await handlers.handle_message(request, context) if request.method == "wait" else {}

    async with serve_bytes(route) as wire:
        await wire.send_line(modern_request(1, "wait"))
        assert await trio.to_thread.run_sync(entered.wait, FOREVER)
        await wire.send_line({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        await trio.testing.wait_all_tasks_blocked()
        # The id is free again while the thread still runs: its worker did not wait for it.
        assert "result" in await wire.ask(modern_request(1, "other"))
        assert not left.is_set()
        release.set()
        assert await trio.to_thread.run_sync(left.wait, FOREVER)
        # What the thread returned is nobody's answer.
        assert (await wire.ask(modern_request(2, "other")))["id"] == 2


@pytest.mark.parametrize("threads", [1, 2])
async def test_threads_bounds_how_many_block_at_once(threads: int) -> None:
    lock, running, most = threading.Lock(), [0], [0]
    turn = threading.Semaphore(0)

    @blocking
    def count(request: Request, context: MessageContext) -> dict[str, Any]:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        turn.acquire(timeout=FOREVER)
        with lock:
            running[0] -= 1
        return {}

    async with serve_bytes(Handlers(count, threads=threads)) as wire:
        for number in range(6):
            await wire.send_line(modern_request(number))
        with trio.fail_after(FOREVER):
            while running[0] < threads:
                await trio.lowlevel.checkpoint()
        for _ in range(6):
            turn.release()
        assert sorted([(await wire.receive())["id"] for _ in range(6)]) == list(range(6))
    assert most[0] == threads


async def test_blocked_threads_are_not_the_hosts() -> None:
    release = threading.Event()

    @blocking
    def wait(request: Request, context: MessageContext) -> dict[str, Any]:
        release.wait(FOREVER)
        return {}

    limiter = trio.to_thread.current_default_thread_limiter()
    async with serve_bytes(Handlers(wait)) as wire:
        for number in range(60):
            await wire.send_line(modern_request(number))
        with trio.fail_after(FOREVER):
            assert await trio.to_thread.run_sync(lambda: limiter.borrowed_tokens) == 1
        release.set()
        assert sorted([(await wire.receive())["id"] for _ in range(60)]) == list(range(60))


async def test_a_plain_function_that_blocks_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def quick(request: Request, context: MessageContext) -> dict[str, Any]:
        return {}

    def slow(request: Request, context: MessageContext) -> dict[str, Any]:
        threading.Event().wait(0.11)
        return {}

    with caplog.at_level(logging.WARNING, "trio_mcp_transport"):
        for function in (quick, slow):
            async with serve_bytes(Handlers(function)) as wire:
                await wire.ask(modern_request(1))
    (record,) = caplog.records
    assert "slow" in record.getMessage() and "@blocking" in record.getMessage()


def test_a_coroutine_function_needs_no_thread() -> None:
    async def handler(request: Request, context: MessageContext) -> None:
        raise AssertionError

    with pytest.raises(ConfigError, match="async"):
        blocking(handler)
