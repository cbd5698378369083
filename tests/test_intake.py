"""Where transports hand over exchanges: past the channel or through it, and never in vain."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from trio_mcp_transport import Handlers, MessageContext, MessageHandler
from trio_mcp_transport.context import ConnectionInfo
from trio_mcp_transport.errors import MessageError, TransportError
from trio_mcp_transport.exchange import Exchange
from trio_mcp_transport.intake import Intake, wants_errors
from trio_mcp_transport.limits import Limits
from trio_mcp_transport.wire.envelope import Envelope
from trio_mcp_transport.wire.messages import Request

CONTEXT = MessageContext(ConnectionInfo(transport="t", connection_id="t-1"), Envelope())


class Target:
    """Stands for a dispatcher."""

    def __init__(self) -> None:
        self.ready: deque[Exchange] = deque()
        self.idle = False
        self.hooks: list[Any] = []

    def offer(self, exchange: Exchange) -> bool:
        if self.idle:
            self.ready.append(exchange)
        return self.idle

    async def contain(self, hook: Callable[..., Awaitable[object]], *args: object) -> None:
        self.hooks.append(hook.__name__)
        await hook(*args)


async def contained(run: Callable[[], Awaitable[object]]) -> TransportError | None:
    await run()
    return None


def exchange() -> Exchange:
    outbox: Any = None
    return Exchange(Request(1, "m"), MessageContext(CONTEXT.connection, Envelope()), outbox)


def make(handler: MessageHandler | None = None) -> tuple[Intake, Target, trio.MemoryReceiveChannel[Exchange]]:
    send, receive = trio.open_memory_channel[Exchange](float("inf"))
    target = Target()
    new_era: Any = None
    intake = Intake(
        send,
        handler or Handlers(),
        new_era,
        target,
        limits=Limits(),
        drain=1.0,
        shutdown=trio.Event(),
        contain=contained,
    )
    return intake, target, receive


async def test_a_parked_worker_is_given_the_exchange_and_otherwise_the_channel() -> None:
    intake, target, receive = make()
    first, second = exchange(), exchange()
    intake.send_nowait(first)
    assert receive.receive_nowait() is first
    target.idle = True
    intake.send_nowait(second)
    assert target.ready == deque([second])
    with pytest.raises(trio.WouldBlock):
        receive.receive_nowait()


async def test_send_is_a_checkpoint_that_hands_over_whole_or_not_at_all() -> None:
    intake, _, receive = make()
    with trio.CancelScope() as scope:
        scope.cancel()
        await intake.send(exchange())
    assert scope.cancelled_caught
    with pytest.raises(trio.WouldBlock):
        receive.receive_nowait()
    one = exchange()
    with trio.testing.assert_checkpoints():
        await intake.send(one)
    assert receive.receive_nowait() is one


async def test_the_hooks_run_where_what_they_raise_is_contained() -> None:
    seen: list[Any] = []
    error = MessageError("x")
    intake, target, _ = make(Handlers(error=lambda error, context: seen.append(error), close=seen.append))
    await intake.report_error(error, CONTEXT)
    await intake.report_close(CONTEXT)
    assert seen == [error, CONTEXT]
    assert target.hooks == ["handle_error", "handle_close"]


async def test_a_handler_without_an_error_hook_is_not_asked() -> None:
    class Plain(MessageHandler):
        async def handle_message(self, message: Any, context: MessageContext) -> Any:
            return None

    intake, target, _ = make(Plain())
    assert not intake.wants_errors
    await intake.report_error(MessageError("x"), CONTEXT)
    await intake.report_close(CONTEXT)
    assert target.hooks == ["handle_close"]


async def test_a_wrapper_and_functions_want_errors_only_where_somebody_does_something_with_them() -> None:
    class Own(MessageHandler):
        async def handle_message(self, message: Any, context: MessageContext) -> Any: ...

        async def handle_error(self, error: TransportError, context: MessageContext) -> None: ...

    assert wants_errors(Own())
    assert wants_errors(Handlers(error=lambda error, context: None))
    assert not wants_errors(Handlers())
