"""One end of a pipe: who runs, who waits, and what acts at once inside the reader."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import LEGACY, Wire, legacy_request, modern_request, serve_bytes, shake_hands
from trio_mcp_transport import (
    ClientTransport,
    Handlers,
    LegacyMessageContext,
    Limits,
    MessageContext,
    MessageHandler,
    Request,
    RpcError,
    ServerInfo,
    ServerTransport,
    Subscriptions,
    open_client,
    serve,
)
from trio_mcp_transport.context import ConnectionInfo
from trio_mcp_transport.errors import ConnectionClosed, ConnectionFailed, LocalProtocolError, TransportError
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.pipe.client import PipeConnection
from trio_mcp_transport.pipe.framed import FramedLink
from trio_mcp_transport.pipe.server import serve_link
from trio_mcp_transport.testing import StallStream
from trio_mcp_transport.wire.newline import NewlineCodec

BUSY = {"reason": "busy"}


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


def cancel(id_: Any, **params: Any) -> Any:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id_, **params}}


class Gate:
    """A handler whose requests wait for their own event; tells what began and what was cancelled."""

    def __init__(self) -> None:
        self.began: list[Any] = []
        self.cancelled: list[Any] = []
        self.open: dict[Any, trio.Event] = {}

    async def __call__(self, request: Request, context: MessageContext) -> Any:
        self.began.append(request.id)
        self.open[request.id] = trio.Event()
        try:
            await self.open[request.id].wait()
        except trio.Cancelled:
            self.cancelled.append(request.id)
            raise
        return {}


async def ask_first(request: Request, context: MessageContext) -> Any:
    """Ask the client before answering."""
    assert isinstance(context, LegacyMessageContext)
    return {"answer": await context.request("sampling/createMessage", {"for": request.id})}


# Rule 1: permits and the queue.


async def test_a_hundred_run_and_the_rest_waits_its_turn() -> None:
    gate = Gate()
    async with serve_bytes(gate) as wire:
        for number in range(150):
            await wire.send_line(modern_request(number))
        await settle()
        assert sorted(gate.began) == list(range(100))
        gate.open[7].set()
        assert (await wire.receive())["id"] == 7
        await settle()
        assert gate.began[100:] == [100]


async def test_cancels_act_at_once_on_running_and_on_queued_requests() -> None:
    gate = Gate()
    async with serve_bytes(gate, limits=Limits(max_running=2)) as wire:
        for number in range(5):
            await wire.send_line(modern_request(number))
        await wire.send_line(cancel(3, reason="changed my mind"))
        await settle()
        await wire.send_line(modern_request(3))
        await settle()
        for number in (0, 1, 2, 4, 3):
            await settle()
            gate.open[number].set()
            assert (await wire.receive())["id"] == number
        assert gate.began == [0, 1, 2, 4, 3] or sorted(gate.began[:2]) == [0, 1]
        assert gate.began.count(3) == 1, "the queued one never began; its id was free at once"
        assert gate.cancelled == []


async def test_ping_is_answered_while_every_permit_is_out_and_the_queue_is_long() -> None:
    gate = Gate()
    async with serve_bytes(gate, limits=Limits(max_running=1, max_queued=5)) as wire:
        await shake_hands(wire)
        for number in range(4):
            await wire.send_line(legacy_request(number))
        assert await wire.ask(legacy_request("p", "ping")) == {"jsonrpc": "2.0", "id": "p", "result": {}}
        assert gate.began == [0]


async def test_a_listen_needs_no_permit() -> None:
    gate = Gate()
    subscriptions = Subscriptions()
    limits = Limits(max_running=1, max_listens=1)
    async with serve_bytes(gate, limits=limits, subscriptions=subscriptions) as wire:
        for number in range(3):
            await wire.send_line(modern_request(number))
        params = {"notifications": {"toolsListChanged": True}}
        first = await wire.ask(modern_request("l", "subscriptions/listen", params))
        assert first["method"] == "notifications/subscriptions/acknowledged"
        second = await wire.ask(modern_request("m", "subscriptions/listen", params))
        assert (second["id"], second["error"]["data"]) == ("m", BUSY)
        await wire.send_line(cancel("l"))
        third = await wire.ask(modern_request("n", "subscriptions/listen", params))
        assert third["method"] == "notifications/subscriptions/acknowledged"
        assert gate.began == [0]


async def test_a_permit_is_lent_while_the_handler_waits_for_the_peer() -> None:
    async with serve_bytes(ask_first) as wire:
        await shake_hands(wire)
        for number in range(200):
            await wire.send_line(legacy_request(number))
        # Nothing is answered before all two hundred have asked: a hundred of them waited in the queue.
        asked = [await wire.receive() for _ in range(200)]
        for question in asked:
            await wire.send_line({"jsonrpc": "2.0", "id": question["id"], "result": question["params"]})
        answers = [await wire.receive() for _ in range(200)]
        assert {answer["id"]: answer["result"]["answer"]["for"] for answer in answers} == {n: n for n in range(200)}


async def test_a_lent_permit_is_taken_back_without_waiting() -> None:
    gate = Gate()

    async def handle(request: Request, context: MessageContext) -> Any:
        return await (ask_first if request.method == "ask" else gate)(request, context)

    async with serve_bytes(handle, limits=Limits(max_running=1)) as wire:
        await shake_hands(wire)
        question = await wire.ask(legacy_request("a", "ask"))
        for id_ in ("b", "c", "d"):
            await wire.send_line(legacy_request(id_))
        await settle()
        assert gate.began == ["b"]
        answer = await wire.ask({"jsonrpc": "2.0", "id": question["id"], "result": {}})
        assert answer["id"] == "a", "it came back although the only permit was out"
        await settle()
        assert gate.began == ["b"], "and took no second one with it"
        gate.open["b"].set()
        assert (await wire.receive())["id"] == "b"
        await settle()
        assert gate.began == ["b", "c"]


async def test_a_permit_that_was_taken_back_counts_until_its_own_end() -> None:
    gate = Gate()

    async def handle(request: Request, context: MessageContext) -> Any:
        if request.method == "ask":
            await ask_first(request, context)
        return await gate(request, context)

    async with serve_bytes(handle, limits=Limits(max_running=1)) as wire:
        await shake_hands(wire)
        question = await wire.ask(legacy_request("a", "ask"))
        for id_ in ("b", "c"):
            await wire.send_line(legacy_request(id_))
        await settle()
        await wire.send_line({"jsonrpc": "2.0", "id": question["id"], "result": {}})
        await settle()
        assert gate.began == ["b", "a"], "both run: one came back while the other had the permit"
        for ended, began in (("b", ["b", "a"]), ("a", ["b", "a", "c"])):
            gate.open[ended].set()
            assert (await wire.receive())["id"] == ended
            await settle()
            assert gate.began == began


@pytest.mark.parametrize("cancelled", [False, True], ids=["answered", "cancelled"])
async def test_a_permit_lent_for_longer_than_the_exchange_lives_is_not_lost(cancelled: bool) -> None:
    async with trio.open_nursery() as background:

        async def ask(context: LegacyMessageContext, outcomes: list[Any]) -> None:
            try:
                outcomes.append(await context.request("roots/list"))
            except LocalProtocolError as error:
                outcomes.append(error)

        outcomes: list[Any] = []

        async def handle(request: Request, context: MessageContext) -> Any:
            assert isinstance(context, LegacyMessageContext)
            if request.method == "leak":
                background.start_soon(ask, context, outcomes)
                await settle()
                if cancelled:
                    await trio.sleep_forever()
            return {}

        async with serve_bytes(handle, limits=Limits(max_running=1)) as wire:
            await shake_hands(wire)
            question = await wire.ask(legacy_request(1, "leak"))
            if cancelled:
                await wire.send_line(cancel(1))
            else:
                assert (await wire.receive())["id"] == 1
            await settle()
            await wire.send_line({"jsonrpc": "2.0", "id": question["id"], "result": {}})
            for number in range(2, 5):
                assert (await wire.ask(legacy_request(number)))["id"] == number
        assert outcomes == [{}]


async def test_too_many_questions_to_one_peer_are_refused_here() -> None:
    async with serve_bytes(ask_first, limits=Limits(max_pending=2)) as wire:
        await shake_hands(wire)
        for number in range(3):
            await wire.send_line(legacy_request(number))
        lines = [await wire.receive() for _ in range(3)]
        refused = [line for line in lines if "error" in line]
        assert [(line["error"]["code"], line["error"]["data"]) for line in refused] == [
            (-32603, {"reason": "internal"})
        ]
        assert sum(line.get("method") == "sampling/createMessage" for line in lines) == 2


# Rule 5: what needs order acts in the reader; the frames of one exchange keep theirs.


async def test_notifications_come_before_the_response_in_the_order_sent() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        for number in range(50):
            await context.notify("notifications/custom", {"number": number})
        return {}

    async with serve_bytes(handle) as wire:
        await wire.send_line(modern_request(1))
        lines = [await wire.receive() for _ in range(51)]
        assert [line["params"]["number"] for line in lines[:50]] == list(range(50))
        assert lines[50]["id"] == 1


async def test_nothing_follows_the_response() -> None:
    errors: list[type[BaseException]] = []
    release = trio.Event()

    async def leak(context: MessageContext) -> None:
        await release.wait()
        for late in (context.notify("notifications/custom"), context.progress(2), context.log("error", "late")):
            try:
                await late
            except LocalProtocolError as error:
                errors.append(type(error))

    async with trio.open_nursery() as background:

        async def handle(request: Request, context: MessageContext) -> Any:
            background.start_soon(leak, context)
            return {}

        async with serve_bytes(handle) as wire:
            logging_and_progress = {"io.modelcontextprotocol/logLevel": "debug", "progressToken": 1}
            assert (await wire.ask(modern_request(1, **logging_and_progress)))["id"] == 1
            release.set()
            await wire.assert_silent(0.01)
    assert errors == [LocalProtocolError] * 3


async def test_responses_act_inside_the_reader_while_every_permit_is_out() -> None:
    gate = Gate()

    async def handle(request: Request, context: MessageContext) -> Any:
        if request.method != "ask":
            return await gate(request, context)
        assert isinstance(context, LegacyMessageContext)
        with pytest.raises(RpcError, match="no"):
            await context.request("roots/list")
        return {}

    async with serve_bytes(handle, limits=Limits(max_running=2)) as wire:
        await shake_hands(wire)
        question = await wire.ask(legacy_request("a", "ask"))
        for id_ in range(3):
            await wire.send_line(legacy_request(id_))
        await settle()
        error = {"code": 1, "message": "no"}
        assert (await wire.ask({"jsonrpc": "2.0", "id": question["id"], "error": error}))["id"] == "a"


async def test_an_id_still_in_use_is_refused_and_its_owner_goes_on() -> None:
    gate = Gate()
    async with serve_bytes(gate, limits=Limits(max_running=1)) as wire:
        await wire.send_line(modern_request(1))
        await wire.send_line(modern_request(2))
        for id_ in (1, 2):
            refused = await wire.ask(modern_request(id_))
            assert (refused["id"], refused["error"]["code"]) == (id_, -32600)
        await wire.send_line(modern_request("1"))
        await settle()
        for id_ in (1, 2, "1"):
            gate.open[id_].set()
            answer = await wire.receive()
            assert (answer["id"], "result" in answer) == (id_, True)
            await settle()


async def test_a_late_cancel_of_the_peer_never_ends_a_call_of_this_side_with_the_same_id() -> None:
    async with serve_bytes(ask_first) as wire:
        await shake_hands(wire)
        question = await wire.ask(legacy_request(77))
        # The peer's own request with this id is unknown here, or over; this side's call has it by chance.
        await wire.send_line(cancel(question["id"]))
        answer = await wire.ask({"jsonrpc": "2.0", "id": question["id"], "result": {"still": "wanted"}})
        assert answer == {"jsonrpc": "2.0", "id": 77, "result": {"answer": {"still": "wanted"}}}


async def test_the_reason_of_a_cancel_is_logged_on_one_bounded_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_mcp_transport")
    gate = Gate()
    async with serve_bytes(gate) as wire:
        await wire.send_line(modern_request(1))
        await wire.send_line(cancel(1, reason="user\nERROR forged " + "x" * 5000))
        await settle()
        assert gate.cancelled == [1]
    (message,) = [record.getMessage() for record in caplog.records if "cancelled" in record.getMessage()]
    assert "user" in message
    assert "\n" not in message
    assert len(message) < 1000


async def test_a_message_for_nobody_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_mcp_transport")
    async with serve_bytes(Gate()) as wire:
        await wire.send_line({"jsonrpc": "2.0", "id": 5, "result": {}})
        await wire.assert_silent(0.01)
    assert "for nobody" in caplog.text


async def test_a_result_that_cannot_be_written_is_one_internal_error() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        return {"x": float("nan")}

    async with serve_bytes(handle) as wire:
        answer = await wire.ask(modern_request(1))
        assert (answer["id"], answer["error"]["data"]) == (1, {"reason": "internal"})


async def test_errors_of_unreadable_lines_run_as_any_handler_and_hold_a_permit() -> None:
    began: list[str] = []

    class Slow(MessageHandler):
        async def handle_message(self, message: Any, context: MessageContext) -> Any:
            began.append("message")
            return {}

        async def handle_error(self, error: Any, context: MessageContext) -> None:
            began.append("error")
            await trio.sleep_forever()

    async with serve_bytes(Slow(), limits=Limits(max_running=1)) as wire:
        assert (await wire.ask(b"{oops"))["error"]["code"] == -32700
        await wire.send_line(modern_request(1))
        await settle()
        assert began == ["error"]


async def test_questions_end_at_once_when_input_ends() -> None:
    outcomes: list[BaseException] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        assert isinstance(context, LegacyMessageContext)
        for _ in range(3):
            try:
                await context.request("roots/list")
            except ConnectionClosed as error:
                outcomes.append(error)
        return {"asked": len(outcomes)}

    async with serve_bytes(handle) as wire:
        await shake_hands(wire)
        assert (await wire.ask(legacy_request(1)))["method"] == "roots/list"
        await wire.end()
        rest = await wire.receive_rest()
        # The first was on its way; those asked while draining can never be answered and are not even sent.
        assert rest == [{"jsonrpc": "2.0", "id": 1, "result": {"asked": 3}}]


async def test_a_handler_made_of_functions_learns_what_was_negotiated() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        return {"revision": context.revision, "legacy": isinstance(context, LegacyMessageContext)}

    async with serve_bytes(Handlers(handle)) as wire:
        await shake_hands(wire)
        assert (await wire.ask(legacy_request(1)))["result"] == {"revision": LEGACY, "legacy": True}
        modern = (await wire.ask(modern_request(2)))["result"]
        assert (modern["revision"], modern["legacy"]) == ("2026-07-28", False)


class TalkingCodec(NewlineCodec):
    """Owes the peer one word per chunk, as a codec with pongs does, and whatever a keep-alive asks of it."""

    def __init__(self) -> None:
        super().__init__(1000)
        self.owed = b""

    def feed(self, data: bytes) -> None:
        super().feed(data)
        self.owed += b"pong\n" if data else b""

    def bytes_to_send(self) -> bytes:
        owed, self.owed = self.owed, b""
        return owed


class UrgedLink(FramedLink):
    """Keeps what it is to call when its codec owes something."""

    urge: Callable[[], None]

    def attach(self, answer_control: Callable[[], None]) -> None:
        self.urge = answer_control


async def test_what_a_codec_owes_is_written_after_each_chunk_and_when_a_keep_alive_asks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    codec = TalkingCodec()
    ours, theirs = trio.testing.memory_stream_pair()
    link = UrgedLink(ours, codec, Limits())
    wire = Wire(theirs)

    class OneLink(ServerTransport):
        async def run(self, exchanges: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            task_status.started(("test:",))
            info = ConnectionInfo(transport="test", connection_id="test-1")
            await serve_link(exchanges, link, info, TransportMetrics())

    async with trio.open_nursery() as nursery:
        await nursery.start(serve, Handlers(), OneLink())
        await wire.send_bytes(b'{"jsonrpc"')
        assert await wire.receive_line() == b"pong"
        codec.owed = b"ping\n"
        await wire.assert_silent()
        link.urge()
        assert await wire.receive_line() == b"ping"
        nursery.cancel_scope.cancel()


async def test_a_peer_that_asks_the_codec_for_more_than_it_reads_is_given_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    errors: list[TransportError] = []
    ours, theirs = trio.testing.memory_stream_pair()
    stuck = StallStream(ours, send=0)

    class OneLink(ServerTransport):
        async def run(self, exchanges: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            task_status.started(("test:",))
            link = FramedLink(stuck, TalkingCodec(), exchanges.limits)
            info = ConnectionInfo(transport="test", connection_id="test-1")
            await serve_link(exchanges, link, info, TransportMetrics())

    async with trio.open_nursery() as nursery:
        handler = Handlers(error=lambda error, context: errors.append(error))
        nursery.start_soon(partial(serve, handler, OneLink(), limits=Limits(outbox_bytes=20)))
        for _ in range(4):
            await theirs.send_all(b'{"jsonrpc"')
            await settle()
        assert errors == []
        await theirs.send_all(b'{"jsonrpc"')
        await settle()
        nursery.cancel_scope.cancel()
    assert [type(error) for error in errors] == [ConnectionFailed]


class UnclosableLink(FramedLink):
    """Fails when it is closed, as somebody's stream may."""

    async def aclose(self) -> None:
        await super().aclose()
        raise OSError("the disk is full")


@pytest.mark.parametrize("side", ["server", "client"])
async def test_what_closing_raises_is_told_to_the_log_and_ends_nothing_else(
    side: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    info = ConnectionInfo(transport="test", connection_id="test-1")

    class OneServer(ServerTransport):
        async def run(self, exchanges: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            task_status.started(("test:",))
            kind = UnclosableLink if side == "server" else FramedLink
            await serve_link(exchanges, kind(theirs, NewlineCodec(), exchanges.limits), info, TransportMetrics())

    class OneClient(ClientTransport):
        async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            kind = UnclosableLink if side == "client" else FramedLink
            link = kind(ours, NewlineCodec(), setup.limits)
            await PipeConnection(setup, link, info, TransportMetrics()).run(task_status=task_status)

    async with trio.open_nursery() as nursery:
        handler = Handlers(lambda request, context: {})
        await nursery.start(partial(serve, handler, OneServer(), server_info=ServerInfo("s", "1")))
        async with open_client(OneClient()) as client:
            await client.request("m")
    assert [record.message for record in caplog.records if "closing failed" in record.message] == [
        "test-1: closing failed: the transport failed: OSError('the disk is full')"
    ]
