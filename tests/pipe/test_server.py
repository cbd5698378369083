"""The server's end of a pipe: when its reader may wait, who holds a permit, and what a slow peer costs."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from tests.served import Slow, served, settle
from tests.support import legacy_request, modern_request, shake_hands
from trio_mcp_transport import Handlers, LegacyMessageContext, Limits, MessageContext, Request, RpcError
from trio_mcp_transport.deadlines import DeadlineExceeded
from trio_mcp_transport.errors import ConnectionFailed, FramingError
from trio_mcp_transport.exchange import CancelCause
from trio_mcp_transport.wire.newline import NewlineCodec

# Rule 2: the reader may wait while this side waits for no answer.


async def test_a_full_queue_makes_the_peer_wait_and_refuses_nothing() -> None:
    slow = Slow()
    async with served(slow, capacity=500, limits=Limits(max_running=1, max_queued=2)) as one:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.write, *(modern_request(number) for number in range(50)))
            await settle()
            statistics = one.transport.statistics()
            assert (statistics.in_flight, statistics.queued, statistics.refused) == (1, 2, 0)
            assert slow.began == [0]
            slow.release.set()
            answers = [await one.wire.receive() for _ in range(50)]
        assert [answer["id"] for answer in answers] == list(range(50))
        assert all("result" in answer for answer in answers)


async def test_a_peer_that_reads_nothing_is_read_no_further() -> None:
    slow = Slow()
    slow.reply = {"text": "x" * 900}
    limits = Limits(outbox_bytes=3000, max_running=5, max_queued=5)
    async with served(slow, capacity=1000, limits=limits) as one, trio.open_nursery() as nursery:
        nursery.start_soon(one.write, *(modern_request(number, "quick") for number in range(100)))
        await settle()
        statistics = one.transport.statistics()
        assert (statistics.in_flight, statistics.queued, statistics.refused) == (5, 5, 0)
        assert statistics.outbox_bytes < 4100
        nursery.cancel_scope.cancel()


async def test_with_a_question_open_the_reader_reads_on_and_refuses_what_exceeds_the_queue() -> None:
    slow = Slow()
    async with served(slow, limits=Limits(max_running=1, max_queued=2)) as one:
        await shake_hands(one.wire)
        question = await one.wire.ask(legacy_request("ask", "ask"))
        await one.write(*(legacy_request(number) for number in range(6)))
        refused = [await one.wire.receive() for _ in range(3)]
        assert [(line["id"], line["error"]["code"], line["error"]["data"]) for line in refused] == [
            (number, -32603, {"reason": "busy"}) for number in (3, 4, 5)
        ]
        assert one.transport.statistics().refused == 3
        await one.write({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}})
        assert await one.wire.receive() == {"jsonrpc": "2.0", "id": "ask", "result": {"roots": []}}
        slow.release.set()
        assert [(await one.wire.receive())["id"] for _ in range(3)] == [0, 1, 2]


async def test_a_reader_that_waits_goes_on_when_a_question_is_asked() -> None:
    start = trio.Event()

    async def handle(request: Request, context: MessageContext) -> Any:
        assert isinstance(context, LegacyMessageContext)
        if request.method == "ask":
            await start.wait()
            return await context.request("roots/list")
        await trio.sleep_forever()

    async with served(Handlers(handle), limits=Limits(max_running=1, max_queued=1)) as one:
        await shake_hands(one.wire)
        await one.write(legacy_request("ask", "ask"), *(legacy_request(number) for number in range(5)))
        await settle()
        assert one.transport.statistics().refused == 0
        start.set()
        question = await one.wire.receive()
        await one.write({"jsonrpc": "2.0", "id": question["id"], "result": {"found": True}})
        lines = {line["id"]: line for line in [await one.wire.receive() for _ in range(4)]}
        assert lines["ask"]["result"] == {"found": True}, "the answer was read, past requests that had no place"
        assert sorted(id_ for id_ in lines if id_ != "ask") == [2, 3, 4]


async def test_a_reader_that_waits_for_the_outbox_goes_on_when_a_question_waits_for_it_too() -> None:
    start = trio.Event()
    began: list[Any] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        began.append(request.id)
        if request.method == "ask":
            assert isinstance(context, LegacyMessageContext)
            await start.wait()
            return await context.request("roots/list")
        return {"text": "x" * 5000 if request.method == "large" else ""}

    async with served(Handlers(handle), capacity=1000, limits=Limits(outbox_bytes=500)) as one:
        await shake_hands(one.wire)
        await one.write(legacy_request("ask", "ask"), legacy_request("large", "large"))
        for id_ in ("taken", "left"):
            await settle()
            await one.write(legacy_request(id_))
        await settle()
        assert "left" not in began, "the reader waits until the peer reads"
        start.set()
        await settle()
        assert "left" in began, "the answer to the question might have been next"


async def test_a_peer_that_does_not_even_read_refusals_is_left() -> None:
    slow = Slow()
    limits = Limits(max_running=1, max_queued=1, outbox_bytes=2000)
    async with served(slow, capacity=1000, limits=limits) as one:
        await shake_hands(one.wire)
        await one.wire.ask(legacy_request("ask", "ask"))
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(5):
            await one.write(*(legacy_request(number) for number in range(1000)))
        with trio.fail_after(5):
            await one.ended.wait()
        (error,) = slow.errors
        assert type(error) is ConnectionFailed
        assert "not even refusals" in str(error)
        assert slow.closed == 1


async def test_a_large_error_of_a_handler_is_no_flood_of_refusals() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        if request.method == "ask":
            assert isinstance(context, LegacyMessageContext)
            return await context.request("roots/list")
        raise RpcError(1, "no", "x" * 5000)

    async with served(Handlers(handle), capacity=1000, limits=Limits(outbox_bytes=2000)) as one:
        await shake_hands(one.wire)
        question = await one.wire.ask(legacy_request("ask", "ask"))
        for id_ in range(3):
            # More comes in while the peer has not read the first of them yet.
            await one.write(legacy_request(id_))
            await settle()
        assert [(await one.wire.receive())["id"] for _ in range(3)] == [0, 1, 2]
        await one.write({"jsonrpc": "2.0", "id": question["id"], "result": {}})
        assert (await one.wire.receive())["id"] == "ask"


# Rule 4: one writer, permits that last until the reply was sent, the write deadline.


async def test_a_permit_is_released_when_the_reply_was_sent_and_no_worker_waits_for_that() -> None:
    slow = Slow()
    slow.reply = {"text": "x" * 5000}
    ended: list[Any] = []

    async def handle(request: Request, context: MessageContext) -> Any:
        ended.append(context.exchange)
        return await slow.handle_message(request, context)

    async with served(Handlers(handle), capacity=1000, limits=Limits(max_running=1)) as one:
        await one.write(modern_request(1, "quick"))
        await settle()
        await one.write(modern_request(2, "quick"))
        await settle()
        assert slow.began == [1], "the reply to 1 is still being written: its permit is out"
        assert ended[0].ended, "its worker has gone on"
        assert [(await one.wire.receive())["id"] for _ in range(2)] == [1, 2]


async def test_no_byte_accepted_for_thirty_seconds_ends_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow = Slow()
    slow.reply = {"text": "x" * 5000}
    async with served(slow, capacity=1000) as one:
        await one.write(modern_request(1), modern_request(2, "quick"))
        await trio.sleep(29)
        assert not one.ended.is_set()
        await trio.sleep(2)
        assert one.ended.is_set()
        (error,) = slow.errors
        assert isinstance(error, DeadlineExceeded)
        assert error.deadline == "write"
        assert (slow.causes, slow.closed) == ([CancelCause.CLOSED], 1)


async def test_frames_of_a_cancelled_request_that_were_not_begun_are_never_seen() -> None:
    async def handle(request: Request, context: MessageContext) -> Any:
        if request.method == "stream":
            for number in range(1000):
                await context.notify("notifications/custom", {"number": number, "text": "x" * 100})
            await trio.sleep_forever()
        return {}

    async with served(Handlers(handle), capacity=1000, limits=Limits(outbox_bytes=400_000)) as one:
        await one.write(modern_request(1, "stream"))
        await settle()
        await one.write(
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
            modern_request(2, "other"),
        )
        await settle()
        assert one.transport.statistics().outbox_bytes > 100_000
        lines = [await one.wire.receive()]
        while "id" not in lines[-1]:
            lines.append(await one.wire.receive())
        assert lines[-1]["id"] == 2
        numbers = [line["params"]["number"] for line in lines[:-1]]
        assert numbers == list(range(len(numbers))), "none torn, none out of order"
        assert len(numbers) < 10


# Rule 6: checkpoints.


async def test_one_huge_chunk_lets_other_tasks_run_every_64_messages() -> None:
    frames = 0

    class Counting(NewlineCodec):
        def next_frame(self) -> Any:
            nonlocal frames
            frame = super().next_frame()
            frames += isinstance(frame, bytes)
            return frame

    class Passes(trio.abc.Instrument):
        most = last = 0

        def before_io_wait(self, timeout: float) -> None:
            self.most, self.last = max(self.most, frames - self.last), frames

    async with served(Slow(), codec=Counting) as one:
        await settle()
        passes = Passes()
        trio.lowlevel.add_instrument(passes)
        await one.near.send_all(b'{"jsonrpc":"2.0","id":1,"result":{}}\n' * 1000)
        await settle()
        trio.lowlevel.remove_instrument(passes)
    assert frames == 1000
    assert 0 < passes.most <= 64


async def test_a_framing_error_is_answered_and_ends_the_connection() -> None:
    class Fussy(NewlineCodec):
        broken = False

        def next_frame(self) -> Any:
            frame = super().next_frame()
            self.broken = self.broken or frame == b"out of step"
            if self.broken:
                raise FramingError("out of step")
            return frame

    slow = Slow()
    async with served(slow, codec=Fussy) as one:
        await one.write(modern_request(1, "quick"))
        await one.near.send_all(b"out of step\n" + json.dumps(modern_request(2)).encode() + b"\n")
        lines = await one.wire.receive_rest()
        answers = {line.get("id"): line for line in lines}
        assert sorted(answers, key=str) == [1, None]
        assert answers[None]["error"]["code"] == -32700
        await one.ended.wait()
        assert [type(error) for error in slow.errors] == [FramingError]
        assert slow.closed == 1


async def test_a_write_error_ends_it_now() -> None:
    slow = Slow()
    async with served(slow, capacity=100) as one:
        await one.write(modern_request(1))
        await settle()
        await one.write(modern_request(2, "quick"))
        await one.near.aclose()
        await one.ended.wait()
        assert slow.causes == [CancelCause.CLOSED]
        assert (len(slow.errors), slow.closed) == (1, 1)


async def test_nothing_a_peer_sends_keeps_a_connection_from_being_served() -> None:
    async with served(Slow()) as one:
        wire = one.wire
        for line in (b"", b"\x00", b"{}", b"[]", b"null", b'"x"', b"\xff\xfe", b"{" * 1000):
            await wire.send_line(line)
        await wire.send_line(modern_request("last", "quick"))
        lines = [await wire.receive()]
        while lines[-1].get("id") != "last":
            lines.append(await wire.receive())
        assert "result" in lines[-1]
        assert all("error" in line for line in lines[:-1])


@pytest.mark.parametrize("end", ["torn", "shutdown"])
async def test_whenever_somebody_looks_every_message_has_been_counted(end: str) -> None:
    seen: list[int] = []
    release = trio.Event()

    async def look(request: Request, context: MessageContext) -> Any:
        seen.append(one.transport.statistics().messages_received)
        if request.method == "hold":
            await release.wait()
        return {}

    limits = Limits(max_running=3, max_queued=5)
    async with served(Handlers(look), limits=limits) as one:
        if end == "torn":
            await one.write(*(modern_request(number) for number in range(100)))
            await one.near.send_all(b'{"jsonrpc"')
            await one.wire.end()
            await one.ended.wait()
            assert one.transport.statistics().messages_received == 101
            assert seen == sorted(seen)
            assert all(count > number for number, count in enumerate(seen))
            return
        await one.write(*(modern_request(number, "hold") for number in range(20)))
        await settle()
        assert one.transport.statistics().messages_received == 8
        release.set()
        one.shutdown.set()
        await one.ended.wait()
        assert one.transport.statistics().messages_received == 20
