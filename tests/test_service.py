"""`serve` as a whole: it drains, shuts down and is cancelled, and tells every connection's end once and last."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.served import Slow, served, settle
from tests.support import modern_request, serve_bytes, shake_hands
from trio_mcp_transport import (
    ConfigError,
    Handlers,
    Limits,
    LocalProtocolError,
    MessageContext,
    MessageHandler,
    ServerInfo,
    ServerTransport,
    Subscriptions,
    memory_transports,
    open_client,
    serve,
)
from trio_mcp_transport.errors import ConnectionFailed, FramingError, MessageError, TransportError
from trio_mcp_transport.exchange import CancelCause
from trio_mcp_transport.wire.newline import NewlineCodec

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
LISTEN = "subscriptions/listen"


async def test_at_the_end_of_input_everything_asked_is_answered() -> None:
    slow = Slow()
    async with served(slow, limits=Limits(max_running=2)) as one:
        await one.write(*(modern_request(number) for number in range(5)))
        await one.near.send_eof()
        await settle()
        slow.release.set()
        assert sorted(line["id"] for line in await one.wire.receive_rest()) == list(range(5))
        await one.ended.wait()
        assert (slow.errors, slow.closed) == ([], 1)


async def test_an_idle_connection_ends_at_once(autojump_clock: trio.testing.MockClock) -> None:
    slow = Slow()
    async with served(slow) as one:
        started = trio.current_time()
        await one.near.send_eof()
        await one.ended.wait()
        assert trio.current_time() == started


async def test_after_the_time_to_drain_the_rest_gets_an_error(autojump_clock: trio.testing.MockClock) -> None:
    slow = Slow()
    async with served(slow, drain=2.0, limits=Limits(max_running=1)) as one:
        await one.write(modern_request(1), modern_request(2))
        await one.near.send_eof()
        started = trio.current_time()
        rest = {line["id"]: line["error"] for line in await one.wire.receive_rest()}
        assert trio.current_time() - started == pytest.approx(2)
        assert {id_: (error["code"], error["data"]) for id_, error in rest.items()} == {
            id_: (-32603, {"reason": "shutdown"}) for id_ in (1, 2)
        }
        assert slow.causes == [CancelCause.DRAIN]
        assert slow.began == [1]


async def test_a_handler_that_resists_is_answered_for(autojump_clock: trio.testing.MockClock) -> None:
    slow = Slow()
    async with served(slow, drain=1.0, limits=Limits(grace=1.0)) as one:
        await one.write(modern_request(1, "stubborn"))
        await one.near.send_eof()
        (line,) = await one.wire.receive_rest()
        assert line["error"]["data"] == {"reason": "shutdown"}
        slow.release.set()
        await one.ended.wait()
        assert slow.closed == 1


async def test_listens_end_with_their_result_and_the_notice_as_soon_as_draining_begins() -> None:
    slow = Slow()
    async with served(slow, subscriptions=Subscriptions()) as one:
        for id_ in (1, "1"):
            await one.write(modern_request(id_, LISTEN, {"notifications": {"toolsListChanged": True}}))
            await one.wire.receive()
        await one.write(modern_request(2))
        one.shutdown.set()
        lines = [await one.wire.receive() for _ in range(4)]
        for id_ in (1, "1"):
            result, notice = (
                line for line in lines if id_ in (line.get("id"), line.get("params", {}).get("requestId"))
            )
            assert result["result"]["resultType"] == "complete"
            assert result["result"]["_meta"][SUBSCRIPTION] == id_
            assert notice["method"] == "notifications/cancelled"
            assert lines.index(result) < lines.index(notice)
        slow.release.set()
        assert [line["id"] for line in await one.wire.receive_rest()] == [2]


async def test_shutdown_stops_accepting_and_refuses_what_was_already_received() -> None:
    slow = Slow()
    async with served(slow, limits=Limits(max_running=1, max_queued=1)) as one:
        await one.write(*(modern_request(number) for number in range(4)))
        await settle()
        one.shutdown.set()
        refused = [await one.wire.receive() for _ in range(2)]
        assert [(line["id"], line["error"]["data"]) for line in refused] == [
            (number, {"reason": "shutdown"}) for number in (2, 3)
        ]
        slow.release.set()
        assert [line["id"] for line in await one.wire.receive_rest()] == [0, 1]


async def test_cancelled_a_service_ends_now_and_answers_nobody(autojump_clock: trio.testing.MockClock) -> None:
    slow = Slow()
    async with served(slow, limits=Limits(max_running=10)) as one:
        await one.write(*(modern_request(number) for number in range(500)))
        await settle()
        started = trio.current_time()
        one.scope.cancel()
        await one.ended.wait()
        assert trio.current_time() == started
        assert await one.wire.receive_rest() == []
        assert slow.causes == [CancelCause.SERVICE] * 10
        assert len(slow.began) == 10
        assert slow.closed == 1


@pytest.mark.parametrize("end", ["cancelled", "reset", "end of input"])
async def test_however_it_ends_a_legacy_session_leaves_the_publisher(end: str) -> None:
    subscriptions = Subscriptions()
    async with served(Slow(), subscriptions=subscriptions) as one:
        await shake_hands(one.wire)
        await settle()
        assert subscriptions.statistics().legacy == 1
        if end == "cancelled":
            one.scope.cancel()
        elif end == "reset":
            await one.near.aclose()
            subscriptions.publish("notifications/tools/list_changed")
        else:
            await one.near.send_eof()
        await one.ended.wait()
        assert subscriptions.statistics().legacy == 0


# The order of events of a connection.


class Recorder(MessageHandler):
    """Writes down what it is told, and fails in every hook."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def handle_message(self, message: Any, context: MessageContext) -> Any:
        self.events.append("begin")
        try:
            if message.method == "wait":
                await trio.sleep_forever()
            return {}
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.1)
            self.events.append("end")

    async def handle_error(self, error: TransportError, context: MessageContext) -> None:
        self.events.append(type(error))
        raise ValueError("a hook that fails")

    async def handle_close(self, context: MessageContext) -> None:
        self.events.append("close")
        raise SystemExit("a hook that fails")


class Fussy(NewlineCodec):
    """Loses step at one line, for good."""

    lost = False

    def next_frame(self) -> Any:
        frame = super().next_frame()
        self.lost = self.lost or frame == b"out of step"
        if self.lost:
            raise FramingError("out of step")
        return frame


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("end of input", []),
        ("reset", [ConnectionFailed]),
        ("shutdown", []),
        ("cancelled", []),
        ("unreadable", [MessageError]),
        ("framing", [FramingError]),
    ],
)
async def test_whatever_ends_a_connection_its_close_hook_runs_once_and_last(
    end: str, expected: list[Any], autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    async with served(recorder, codec=Fussy, drain=1.0) as one:
        await one.write(modern_request(1, "wait"), modern_request(2))
        await settle()
        match end:
            case "reset":
                await one.near.aclose()
            case "shutdown":
                one.shutdown.set()
            case "cancelled":
                one.scope.cancel()
            case "unreadable":
                await one.near.send_all(b"{oops\n")
                await one.near.send_eof()
            case "framing":
                await one.near.send_all(b"out of step\n")
            case _:
                await one.near.send_eof()
        with trio.fail_after(20):
            await one.ended.wait()
    events = recorder.events
    assert [event for event in events if isinstance(event, type)] == expected
    assert events.count("close") == 1
    assert events[-1] == "close"
    assert events.count("begin") == events.count("end") == 2
    failed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(failed) == 1 + len(expected), "each hook that failed is logged, and contained"


async def test_a_close_hook_that_never_ends_is_left_after_the_grace(autojump_clock: trio.testing.MockClock) -> None:
    async def close(context: MessageContext) -> None:
        await trio.sleep_forever()

    async with served(Handlers(close=close), limits=Limits(grace=3.0)) as one:
        await one.near.send_eof()
        await one.ended.wait()
        assert trio.current_time() == pytest.approx(3.0, abs=0.01)


async def test_one_connection_that_ends_leaves_the_others_alone() -> None:
    closed: list[str] = []
    server, first = memory_transports()
    handler = Handlers(lambda request, context: {}, close=lambda context: closed.append(context.connection_id))
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, handler, server, server_info=ServerInfo("s", "1")))
        async with open_client(server.client()) as second:
            async with open_client(first) as client:
                await client.request("m")
            await settle()
            assert len(closed) == 1
            await second.request("m")
        await settle()
        assert len(set(closed)) == 2
        assert server.statistics().connection_count == 2
        nursery.cancel_scope.cancel()


# What `serve` itself does.


async def test_serve_returns_when_the_input_ended_and_after_a_shutdown() -> None:
    for end in ("input", "shutdown"):
        async with served(Slow()) as one:
            assert not one.ended.is_set()
            if end == "input":
                await one.near.send_eof()
            else:
                one.shutdown.set()
            with trio.fail_after(1):
                await one.ended.wait()


@pytest.mark.parametrize("drain", [-0.1, float("inf"), float("nan")])
async def test_the_time_to_drain_is_a_finite_number(drain: float) -> None:
    server, _ = memory_transports()
    with pytest.raises(ConfigError, match="drain"):
        await serve(Handlers(), server, drain=drain)


async def test_no_time_to_drain_is_a_choice(autojump_clock: trio.testing.MockClock) -> None:
    slow = Slow()
    async with served(slow, drain=0) as one:
        await one.write(modern_request(1))
        await settle()
        one.shutdown.set()
        (line,) = await one.wire.receive_rest()
        assert line["error"]["data"] == {"reason": "shutdown"}
        assert trio.current_time() == 0


async def test_what_a_transport_raises_is_one_transport_error() -> None:
    class Broken(ServerTransport):
        def __init__(self, error: Exception) -> None:
            self._error = error

        async def run(self, exchanges: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            await trio.lowlevel.checkpoint()
            raise self._error

    for raised in (ValueError("x"), ExceptionGroup("g", [ValueError("x")]), ConnectionFailed("x")):
        with pytest.raises(ConnectionFailed, match="x") as caught:
            await serve(Handlers(), Broken(raised))
        if not isinstance(raised, ConnectionFailed):
            assert isinstance(caught.value.__cause__, ValueError)


async def test_a_transport_object_is_served_once() -> None:
    server, _ = memory_transports()
    shutdown = trio.Event()
    shutdown.set()
    await serve(Handlers(), server, shutdown=shutdown)
    with pytest.raises(LocalProtocolError, match="once"):
        await serve(Handlers(), server)


async def test_its_statistics_are_a_snapshot_of_what_happened() -> None:
    slow = Slow()
    async with served(slow, limits=Limits(max_running=2, max_queued=2)) as one:
        await one.write(*(modern_request(number) for number in range(3)), modern_request(9, LISTEN))
        await one.near.send_all(b"{oops\n")
        await one.wire.receive()
        await settle()
        before = one.transport.statistics()
        assert (before.in_flight, before.queued, before.connection_count, before.errors) == (3, 2, 1, 1)
        slow.release.set()
        for _ in range(4):
            await one.wire.receive()
        await one.near.send_eof()
        await one.ended.wait()
        after = one.transport.statistics()
        assert (after.in_flight, after.queued, after.pending, after.outbox_bytes) == (0, 0, 0, 0)
        assert (after.messages_received, after.messages_sent) == (5, 6), "the listen ended with a result and a notice"
        assert before.in_flight == 3, "a snapshot does not change"


async def test_a_handler_of_functions_and_a_publisher_work_together() -> None:
    subscriptions = Subscriptions()
    async with serve_bytes(lambda request, context: {"m": request.method}, subscriptions=subscriptions) as wire:
        acknowledged = await wire.ask(modern_request(1, LISTEN, {"notifications": {"toolsListChanged": True}}))
        assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
        assert (await wire.ask(modern_request(2, "other")))["result"]["m"] == "other"
        subscriptions.publish("notifications/tools/list_changed")
        assert (await wire.receive())["method"] == "notifications/tools/list_changed"
