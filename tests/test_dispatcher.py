"""Workers that follow each other: what one exchange leaves behind never reaches the next."""

from __future__ import annotations

import contextvars
import logging
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import modern_request, serve_bytes
from trio_mcp_transport import Handlers, MessageContext, MessageHandler, blocking
from trio_mcp_transport.context import ConnectionInfo
from trio_mcp_transport.dispatcher import Dispatcher
from trio_mcp_transport.errors import ConnectionClosed, LocalProtocolError, MessageError, MessageTooLarge, RpcError
from trio_mcp_transport.exchange import CancelCause, Exchange, Fault
from trio_mcp_transport.wire.envelope import Envelope
from trio_mcp_transport.wire.messages import Message, Notification, Request, Response

INFO = ConnectionInfo(transport="t", connection_id="t-1")
Function = Callable[[Any, MessageContext], Awaitable[Any]]


class Outbox:
    """Keeps answers; has room, or none for as long as `room` is unset."""

    def __init__(self) -> None:
        self.answers: dict[Any, Response] = {}
        self.order: list[Any] = []
        self.finished: list[Any] = []
        self.room = trio.Event()
        self.room.set()

    def put_nowait(self, exchange: Exchange, message: Message, final: bool, *, last: bool = False) -> bool:
        if not self.room.is_set():
            return False
        self.put_urgent(exchange, message, final)
        return True

    async def put(self, exchange: Exchange, message: Message, final: bool) -> None:
        await self.room.wait()
        self.put_urgent(exchange, message, final)

    def put_urgent(self, exchange: Exchange, message: Message, final: bool) -> None:
        assert isinstance(message, Response)
        assert message.id not in self.answers, "answered twice"
        if message.error is not None and isinstance(message.error.data, set):
            raise LocalProtocolError("a set is no JSON")
        exchange.answered = final
        self.answers[message.id] = message
        self.order.append(message.id)

    def finish(self, exchange: Exchange) -> None:
        self.finished.append(getattr(exchange.message, "id", None))


class Rig:
    """A dispatcher that is fed as a transport feeds it."""

    def __init__(self, handler: MessageHandler | Function) -> None:
        self.outbox = Outbox()
        self.send, receive = trio.open_memory_channel[Exchange](1000)
        self.dispatcher = Dispatcher(handler if isinstance(handler, MessageHandler) else Handlers(handler), receive)
        self.scope = trio.CancelScope()
        self.ended = trio.Event()

    async def run(self) -> None:
        try:
            with self.scope:
                await self.dispatcher.run()
        finally:
            self.ended.set()

    def give(self, id_: Any, method: str = "m") -> Exchange:
        exchange = Exchange(Request(id_, method), MessageContext(INFO, Envelope()), self.outbox)
        if not self.dispatcher.offer(exchange):
            self.send.send_nowait(exchange)
        return exchange

    def error(self, id_: Any) -> RpcError:
        error = self.outbox.answers[id_].error
        assert error is not None
        return error


@asynccontextmanager
async def dispatching(handler: MessageHandler | Function) -> AsyncIterator[Rig]:
    rig = Rig(handler)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run)
        await trio.testing.wait_all_tasks_blocked()
        yield rig
        rig.send.close()
        with trio.fail_after(5):
            await rig.ended.wait()


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def ignore(request: Any, context: MessageContext) -> Any:
    return {}


async def test_a_thousand_exchanges_are_answered_by_workers_that_park() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        await trio.lowlevel.checkpoint()
        return {"id": request.id}

    async with dispatching(handle) as rig:
        for batch in range(10):
            for number in range(100):
                rig.give(batch * 100 + number)
            await settle()
        assert {id_: answer.result["id"] for id_, answer in rig.outbox.answers.items()} == {
            number: number for number in range(1000)
        }
        assert trio.lowlevel.current_statistics().tasks_living < 150, "workers are used again"


async def test_handlers_that_never_suspend_answer_in_order_within_one_step() -> None:
    async with dispatching(ignore) as rig:
        rig.give(-1)
        await settle()
        for number in range(50):
            rig.give(number)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert rig.outbox.order == [-1, *range(50)]


async def test_a_late_cancel_never_reaches_the_next_exchange_of_the_worker() -> None:
    seen: list[tuple[Any, bool]] = []
    exchanges: list[Exchange] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        for before in exchanges:
            if before.ended:  # perhaps in the same task and in the same step
                before.cancel(CancelCause.PEER)
        assert context.exchange is not None
        exchanges.append(context.exchange)
        if request.method == "suspend":
            with trio.CancelScope() as scope:
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
            seen.append((request.id, scope.cancelled_caught))
        return {}

    async with dispatching(handle) as rig:
        for number in range(6):
            rig.give(number, "suspend" if number % 2 else "at once")
        await settle()
        assert seen == [(1, False), (3, False), (5, False)]
        assert sorted(rig.outbox.answers) == [0, 1, 2, 3, 4, 5]


async def test_a_worker_leaves_a_scope_that_was_cancelled() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        if request.method == "cancel":
            assert context.exchange is not None
            context.exchange.cancel(CancelCause.PEER)
            return {"discarded": True}
        await trio.lowlevel.checkpoint()
        return {}

    async with dispatching(handle) as rig:
        for number in range(6):
            rig.give(number, "cancel" if number % 2 else "plain")
        await settle()
        assert sorted(rig.outbox.answers) == [0, 2, 4]
        assert sorted(rig.outbox.finished) == [1, 3, 5]


async def test_a_deadline_set_inside_does_not_leak(autojump_clock: trio.testing.MockClock) -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        if request.method == "hurry":
            with trio.move_on_after(1):
                await trio.sleep(10)
            return {}
        assert trio.current_effective_deadline() == float("inf")
        await trio.sleep(100)
        return {}

    async with dispatching(handle) as rig:
        rig.give(1, "hurry")
        await trio.sleep(2)
        rig.give(2)
        rig.give(3)
        await trio.sleep(200)
        assert sorted(rig.outbox.order) == [1, 2, 3]


@pytest.mark.parametrize("suspends", [False, True], ids=["at once", "suspending"])
@pytest.mark.parametrize("fails", [False, True], ids=["answering", "failing"])
async def test_context_variables_of_one_exchange_are_never_seen_by_the_next(suspends: bool, fails: bool) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
    seen: list[str] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        seen.append(user.get())
        if request.id % 2:
            user.set(f"user {request.id}")
        if suspends:
            await trio.lowlevel.checkpoint()
            if request.id % 2:
                assert user.get() == f"user {request.id}"
        if fails:
            raise RpcError(1, "no")
        return {}

    async with dispatching(handle) as rig:
        for number in range(20):
            rig.give(number)
        await settle()
        for number in range(20, 40):
            rig.give(number)
            await settle()
        assert len(rig.outbox.answers) == 40
        assert seen == ["nobody"] * 40


async def test_exchanges_begin_in_the_context_serve_was_called_in() -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
    seen: list[str] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        seen.append(user.get())
        user.set("changed")
        return {}

    user.set("the service")
    async with dispatching(handle) as rig:
        user.set("the transport, later")
        for number in range(3):
            rig.give(number)
        await settle()
    assert seen == ["the service"] * 3


class Odd:
    """A value that refuses to be compared, as arrays do, or claims to be equal to anything."""

    def __init__(self, answer: bool | None) -> None:
        self.answer = answer

    def __eq__(self, other: object) -> bool:
        if self.answer is None:
            raise ValueError("ambiguous")
        return self.answer

    __hash__ = None  # type: ignore[assignment]  # a value with its own comparison


@pytest.mark.parametrize("equal", [None, True], ids=["raises", "claims to be equal"])
async def test_values_that_compare_oddly_neither_end_the_service_nor_leak(equal: bool | None) -> None:
    variable: contextvars.ContextVar[Odd] = contextvars.ContextVar("odd")
    original = Odd(equal)
    variable.set(original)
    strangers: list[Any] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        if variable.get() is not original:
            strangers.append(request.id)
        variable.set(Odd(equal))
        if request.method == "fail":
            raise RpcError(1, "no")
        return {}

    async with dispatching(handle) as rig:
        for number in range(6):
            rig.give(number, "fail" if number % 2 else "m")
        await settle()
        rig.give(6)
        await settle()
        assert sorted(rig.outbox.answers) == list(range(7))
        assert strangers == []


async def test_a_handler_that_suspends_does_not_hold_up_those_behind_it() -> None:
    gate = trio.Event()

    async def handle(request: Request, context: MessageContext) -> Any:
        if request.method == "wait":
            await gate.wait()
        return {}

    async with dispatching(handle) as rig:
        for number in range(10):
            rig.give(number, "wait" if number in (0, 3, 4) else "m")
        await settle()
        assert rig.outbox.order == [1, 2, 5, 6, 7, 8, 9]
        gate.set()
        await settle()
        assert sorted(rig.outbox.order) == list(range(10))


async def test_a_reply_that_waits_for_room_does_not_hold_up_those_behind_it() -> None:
    started: list[Any] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        started.append(request.id)
        return {}

    async with dispatching(handle) as rig:
        rig.outbox.room = trio.Event()
        for number in range(5):
            rig.give(number)
        await settle()
        assert started == [0, 1, 2, 3, 4]
        assert rig.outbox.order == []
        rig.outbox.room.set()
        await settle()
        assert sorted(rig.outbox.order) == [0, 1, 2, 3, 4]


class Passes(trio.abc.Instrument):
    """Notes a number at every pass of the scheduler, in which each task that can run has one turn."""

    def __init__(self, number: Callable[[], int]) -> None:
        self._number = number
        self._last = number()
        self.most = 0

    def before_io_wait(self, timeout: float) -> None:
        number = self._number()
        self.most = max(self.most, number - self._last)
        self._last = number


@pytest.mark.parametrize("kind", ["answering", "failing", "cancelled", "unanswered"])
async def test_handlers_that_never_suspend_let_other_tasks_run_every_64(kind: str) -> None:
    served = 0

    async def handle(request: Request, context: MessageContext) -> Any:
        nonlocal served
        served += 1
        if kind == "failing":
            raise RpcError(1, "no")
        if kind == "cancelled":
            assert context.exchange is not None
            context.exchange.cancel(CancelCause.PEER)
        return {}

    async with dispatching(handle) as rig:
        rig.give(-1)
        await settle()
        passes = Passes(lambda: served)
        trio.lowlevel.add_instrument(passes)
        for number in range(1000):
            rig.give(number).answered = kind == "unanswered"
        await settle()
        trio.lowlevel.remove_instrument(passes)
        assert served == 1001
        assert 0 < passes.most <= 64


async def test_a_group_of_one_error_is_that_error() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        async def fail() -> None:
            raise RpcError(42, "no", {"why": "so"})

        async with trio.open_nursery() as outer:

            async def inner() -> None:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(fail)

            outer.start_soon(inner)

    async with dispatching(handle) as rig:
        rig.give(1)
        await settle()
        error = rig.error(1)
        assert (error.code, error.message, error.data) == (42, "no", {"why": "so"})


@pytest.mark.parametrize(
    ("raised", "message", "reason"),
    [
        (ValueError("secret"), "internal error", "internal"),
        (SystemExit(3), "internal error", "internal"),
        (LocalProtocolError("no object"), "internal error", "internal"),
        (ExceptionGroup("two", [RpcError(1, "a"), RpcError(2, "b")]), "internal error", "internal"),
        (MessageTooLarge("65 bytes are over the limit"), "65 bytes are over the limit", "too_large"),
        (ConnectionClosed("the peer left"), "internal error", "internal"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
async def test_whatever_a_handler_raises_is_one_answer(
    raised: BaseException, message: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        raise raised

    async with dispatching(handle) as rig:
        rig.give(1)
        await settle()
        rig.give(2)
        await settle()
        for id_ in (1, 2):
            error = rig.error(id_)
            assert (error.code, error.message, error.data) == (-32603, message, {"reason": reason})
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    expected = 0 if isinstance(raised, (MessageTooLarge, ConnectionClosed)) else 2
    assert len(logged) == expected
    assert all(record.exc_info for record in logged)


async def test_a_method_cannot_forge_a_line_of_the_log_nor_fill_it(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        if request.id == 1:
            raise ValueError
        raise RpcError(-32050, "reserved") if request.id == 2 else RpcError(1, "no", {1, 2})

    async with dispatching(handle) as rig:
        for id_ in (1, 2, 3):
            rig.give(id_, "tools/call\nERROR forged " + "x" * 10_000)
        await settle()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3
    assert all("tools/call" in message and "\n" not in message and len(message) < 300 for message in messages)


async def test_an_error_that_cannot_be_written_becomes_one_that_can() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        raise RpcError(1, "no", {1, 2})

    async with dispatching(handle) as rig:
        rig.give(1)
        await settle()
        assert rig.error(1).code == -32603


async def test_an_error_whose_data_raises_ends_nobody_else() -> None:
    class Treacherous(dict[str, Any]):
        def values(self) -> Any:
            raise KeyError("treason")

    async def handle(request: Request, context: MessageContext) -> Any:
        if request.id == 1:
            raise RpcError(1, "no", [None, Treacherous(a=None)])
        return {}

    async with serve_bytes(handle) as wire:
        assert (await wire.ask(modern_request(1)))["error"]["code"] == -32603
        assert (await wire.ask(modern_request(2)))["result"]["resultType"] == "complete"


async def test_keyboard_interrupt_passes_and_the_rest_is_ended() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        if request.method == "interrupt":
            raise KeyboardInterrupt
        await trio.sleep_forever()

    rig = Rig(handle)
    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.run)
            waiting, interrupted = rig.give(1), rig.give(2, "interrupt")
            await trio.sleep_forever()
    assert (waiting.ended, interrupted.ended) == (True, True)
    assert rig.outbox.answers == {}


@pytest.mark.parametrize("cause", [CancelCause.PEER, CancelCause.DRAIN])
async def test_a_nursery_that_mixes_cancelled_and_errors_does_not_kill_the_service(cause: CancelCause) -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        async def fail_when_cancelled() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("while cancelled")

        if request.method != "mix":
            return {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_when_cancelled)
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()

    async with dispatching(handle) as rig:
        exchange = rig.give(1, "mix")
        await settle()
        exchange.cancel(cause)
        await settle()
        rig.give(2)
        await settle()
        answered = [2] if cause is CancelCause.PEER else [1, 2]
        assert rig.outbox.order == answered
        if cause is CancelCause.DRAIN:
            assert rig.error(1).data == {"reason": "shutdown"}


async def test_cancelled_before_dispatch_a_handler_is_never_called() -> None:
    called: list[Any] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        called.append(request.id)
        return {}

    async with dispatching(handle) as rig:
        first, _, third = (rig.give(number) for number in range(3))
        first.cancel(CancelCause.PEER)
        third.cancel(CancelCause.DRAIN)
        await settle()
        assert called == [1]
        assert rig.outbox.finished == [0]
        assert rig.error(2).reason() == "shutdown"


async def test_a_result_returned_after_a_cancel_is_discarded(autojump_clock: trio.testing.MockClock) -> None:
    causes: list[CancelCause | None] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        try:
            await trio.sleep(1 if request.id == 2 else math.inf)
        except trio.Cancelled:
            causes.append(context.cancel_cause)
        return {"too": "late"}

    async with dispatching(handle) as rig:
        exchange = rig.give(1)
        await settle()
        exchange.cancel(CancelCause.PEER)
        await settle()
        rig.give(2)
        await trio.sleep(2)
        assert causes == [CancelCause.PEER]
        assert rig.outbox.order == [2]
        assert not exchange.answered


async def test_a_blocking_handler_is_left_at_its_cancel() -> None:
    started, release = threading.Event(), threading.Event()

    @blocking
    def handle(request: Request, context: MessageContext) -> Any:
        started.set()
        release.wait(5)
        return {}

    async with dispatching(Handlers(handle)) as rig:
        exchange = rig.give(1)
        with trio.fail_after(5):
            await trio.to_thread.run_sync(started.wait)
            exchange.cancel(CancelCause.PEER)
            while not exchange.ended:
                await trio.lowlevel.checkpoint()
        assert rig.outbox.answers == {}
        release.set()


async def test_unreadable_messages_go_to_the_error_hook_and_are_not_answered() -> None:
    seen: list[Any] = []

    class Handler(MessageHandler):
        async def handle_message(self, message: Any, context: MessageContext) -> Any:
            raise AssertionError("not a message")

        async def handle_error(self, error: Any, context: MessageContext) -> None:
            seen.append(error)
            raise RpcError(1, "for nobody")

    async with dispatching(Handler()) as rig:
        error = MessageError("what is this")
        exchange = Exchange(Fault(error), MessageContext(INFO, Envelope()), rig.outbox)
        rig.send.send_nowait(exchange)
        await settle()
        assert seen == [error]
        assert rig.outbox.answers == {}
        assert exchange.ended


async def test_notifications_are_handled_and_what_they_return_is_dropped() -> None:
    seen: list[str] = []

    async def note(notification: Notification, context: MessageContext) -> Any:
        seen.append(notification.method)
        return {"dropped": True}

    async with dispatching(Handlers(notification=note)) as rig:
        exchange = Exchange(Notification("n"), MessageContext(INFO, Envelope()), rig.outbox)
        rig.send.send_nowait(exchange)
        await settle()
        assert (seen, rig.outbox.answers, rig.outbox.finished) == (["n"], {}, [None])


async def test_the_end_of_the_channel_waits_for_every_exchange() -> None:
    gate = trio.Event()

    async def handle(request: Request, context: MessageContext) -> Any:
        await gate.wait()
        return {}

    rig = Rig(handle)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run)
        for number in range(3):
            rig.give(number)
        rig.send.close()
        await settle()
        assert not rig.ended.is_set()
        gate.set()
        with trio.fail_after(1):
            await rig.ended.wait()
    assert sorted(rig.outbox.answers) == [0, 1, 2]


async def test_cancelled_it_ends_what_runs_and_what_nobody_took() -> None:
    causes: list[Any] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        try:
            await trio.sleep_forever()
        finally:
            causes.append(context.cancel_cause)

    rig = Rig(handle)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run)
        running = [rig.give(number) for number in range(3)]
        await settle()
        waiting = [rig.give(number) for number in range(3, 6)]
        rig.scope.cancel()
        await rig.ended.wait()
    assert all(exchange.ended and exchange.cause is CancelCause.SERVICE for exchange in [*running, *waiting])
    assert rig.outbox.answers == {}
    assert causes[:3] == [CancelCause.SERVICE] * 3


async def test_cancelled_it_also_ends_what_its_own_end_lets_in() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        await trio.sleep_forever()

    rig = Rig(handle)
    waiting = 50
    followers: list[Exchange] = []

    def follow(exchange: Exchange) -> None:
        # What an admission queue does: an end lets the next one run.
        nonlocal waiting
        if waiting:
            waiting -= 1
            followers.append(rig.give(waiting))

    rig.outbox.finish = follow  # type: ignore[method-assign]  # the queue of a connection
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run)
        rig.give("a")
        rig.give("b")
        await settle()
        rig.scope.cancel()
        await rig.ended.wait()
    assert len(followers) == 50
    assert all(exchange.ended for exchange in followers)


async def test_hooks_are_contained(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(kind: BaseException) -> None:
        raise kind

    rig = Rig(ignore)
    for raised in (ValueError("x"), SystemExit(1), ExceptionGroup("g", [ValueError("y"), KeyError("z")])):
        await rig.dispatcher.contain(fail, raised)
    assert len(caplog.records) == 3
    assert "fail failed" in caplog.text
    with pytest.RaisesGroup(KeyboardInterrupt, allow_unwrapped=True):
        await rig.dispatcher.contain(fail, KeyboardInterrupt())
    with trio.CancelScope() as scope:
        scope.cancel()
        await rig.dispatcher.contain(trio.sleep, 1)
    assert scope.cancelled_caught
