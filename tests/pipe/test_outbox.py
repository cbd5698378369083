"""The way back of one connection: one writer, a bound, and frames that leave when their exchange is cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport.context import ConnectionInfo, MessageContext
from trio_mcp_transport.errors import ConnectionClosed, ConnectionFailed
from trio_mcp_transport.exchange import CancelCause, Exchange
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.pipe.outbox import PipeOutbox
from trio_mcp_transport.wire.envelope import Envelope
from trio_mcp_transport.wire.messages import Message, Notification, Request

INFO = ConnectionInfo(transport="t", connection_id="t-1")


class Link:
    """Writes into a list, one gate per write; a message's method is its frame."""

    def __init__(self, *, open_: bool) -> None:
        self.written: list[list[bytes]] = []
        self.gate = trio.CapacityLimiter(1) if open_ else None
        self.allowed = trio.Semaphore(0)
        self.busy = False
        self.failure: ConnectionFailed | None = None

    def encode(self, message: Message) -> tuple[bytes, int]:
        frame = str(getattr(message, "method", "")).encode()
        return frame, len(frame)

    async def write(self, items: list[bytes]) -> None:
        assert not self.busy, "two tasks write"
        self.busy = True
        try:
            if self.gate is None:
                await self.allowed.acquire()
            await trio.lowlevel.checkpoint()
            if self.failure is not None:
                raise self.failure
            self.written.append([bytes(item) for item in items])
        finally:
            self.busy = False


class NowaitLink(Link):
    """A link that takes some bytes without waiting."""

    def __init__(self, takes: int, *, open_: bool = True) -> None:
        super().__init__(open_=open_)
        self.takes = takes
        self.stream = b""

    def write_nowait(self, items: list[Any]) -> list[Any]:
        assert not self.busy, "a frame of the writer is not finished"
        data = b"".join(items)
        sent = min(self.takes, len(data))
        self.takes -= sent
        self.stream += data[:sent]
        return [data[sent:]] if sent < len(data) else []

    async def write(self, items: list[bytes]) -> None:
        await super().write(items)
        self.stream += b"".join(items)


class Box:
    """An outbox with everything it reports kept in lists."""

    def __init__(self, link: Link, bound: int = 100) -> None:
        self.link = link
        self.answered: list[Exchange] = []
        self.done: list[Exchange] = []
        self.writes = 0
        self.metrics = TransportMetrics()
        any_link: Any = link
        self.outbox = PipeOutbox(
            any_link,
            bound,
            self.metrics,
            answered=lambda exchange, _: self.answered.append(exchange),
            done=self.done.append,
            written=self._written,
        )

    def _written(self) -> None:
        self.writes += 1

    def exchange(self) -> Exchange:
        return Exchange(Request(1, "m"), MessageContext(INFO, Envelope()), self.outbox)

    def put(self, text: str, exchange: Exchange | None = None, *, final: bool = False, last: bool = False) -> bool:
        return self.outbox.put_nowait(exchange, Notification(text), final, last=last)

    def urgent(self, text: str, exchange: Exchange | None = None, *, final: bool = False) -> None:
        self.outbox.put_urgent(exchange, Notification(text), final)


@asynccontextmanager
async def running(box: Box) -> AsyncIterator[Box]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(box.outbox.run)
        await trio.testing.wait_all_tasks_blocked()
        yield box
        nursery.cancel_scope.cancel()


async def test_everything_pending_leaves_in_one_write_in_the_order_put() -> None:
    async with running(Box(Link(open_=True))) as box:
        for number in range(10):
            box.put(f"{number}")
        assert box.outbox.pending_bytes == 10
        await trio.testing.wait_all_tasks_blocked()
        assert box.link.written == [[f"{number}".encode() for number in range(10)]]
        assert box.outbox.pending_bytes == 0
        assert (box.metrics.messages_sent, box.metrics.bytes_sent) == (10, 10)


async def test_the_bound_counts_bytes_and_is_exact() -> None:
    box = Box(Link(open_=False), bound=10)
    assert box.put("a" * 9)
    assert not box.put("bb")
    assert box.put("b")
    assert not box.outbox.over
    assert not box.put("c")
    assert box.outbox.pending_bytes == 10


async def test_one_oversized_frame_passes_an_empty_outbox_and_no_other_one() -> None:
    box = Box(Link(open_=False), bound=10)
    assert box.put("a" * 50)
    assert box.outbox.over
    assert not box.put("b")
    other = Box(Link(open_=False), bound=10)
    assert other.put("a")
    assert not other.put("b" * 50)


async def test_whoever_waits_for_room_goes_on_after_a_write() -> None:
    async with running(Box(Link(open_=False), bound=10)) as box:
        box.put("a" * 10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.outbox.put, None, Notification("b"), False)
            await trio.testing.wait_all_tasks_blocked()
            assert box.outbox.pending_bytes == 10
            box.link.allowed.release()
        box.link.allowed.release()
        await trio.testing.wait_all_tasks_blocked()
        assert box.link.written == [[b"a" * 10], [b"b"]]


async def test_cancelled_while_it_waits_for_room_nothing_was_put() -> None:
    async with running(Box(Link(open_=False), bound=10)) as box:
        box.put("a" * 10)
        with trio.CancelScope() as scope:
            scope.cancel()
            await box.outbox.put(None, Notification("early"), False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.outbox.put, None, Notification("b"), False)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        for _ in range(3):
            box.link.allowed.release()
        await trio.testing.wait_all_tasks_blocked()
        assert box.link.written == [[b"a" * 10]]


async def test_urgent_messages_pass_the_bound_and_their_flood_is_seen() -> None:
    async with running(Box(Link(open_=False), bound=10)) as box:
        box.put("a" * 10)
        await trio.testing.wait_all_tasks_blocked()
        box.urgent("b" * 10)
        assert box.outbox.over
        assert not box.outbox.flooded
        box.urgent("c")
        assert box.outbox.flooded
        for _ in range(2):
            box.link.allowed.release()
        await trio.testing.wait_all_tasks_blocked()
        assert box.link.written == [[b"a" * 10], [b"b" * 10, b"c"]]
        assert (box.outbox.urgent_bytes, box.outbox.pending_bytes) == (0, 0)


async def test_urgent_messages_that_were_written_do_not_count_as_a_flood_for_ever() -> None:
    async with running(Box(Link(open_=False), bound=10)) as box:
        box.put("aaa")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(20):
            # Something is pending all the time, as under steady load; one urgent byte is among it.
            box.put("aaa")
            box.urgent("u")
            assert box.outbox.urgent_bytes <= 2, "one that waits, one that is being written"
            box.link.allowed.release()
            await trio.testing.wait_all_tasks_blocked()
            assert box.outbox.urgent_bytes == 1
        box.urgent("u" * 9)
        assert not box.outbox.flooded


async def test_frames_of_a_cancelled_exchange_leave_unless_they_were_begun() -> None:
    async with running(Box(Link(open_=False))) as box:
        cancelled, other = box.exchange(), box.exchange()
        box.put("begun", cancelled)
        await trio.testing.wait_all_tasks_blocked()
        box.put("note", cancelled)
        box.put("kept", other)
        box.put("answer", cancelled, final=True)
        cancelled.cancel(CancelCause.PEER)
        for _ in range(2):
            box.link.allowed.release()
        await trio.testing.wait_all_tasks_blocked()
        assert box.link.written == [[b"begun"], [b"kept"]]
        assert box.done == [cancelled], "its permit is free all the same"
        assert box.outbox.pending_bytes == 0
        assert box.metrics.messages_sent == 2


async def test_frames_of_a_drained_exchange_stay() -> None:
    box = Box(Link(open_=True))
    exchange = box.exchange()
    box.put("note", exchange)
    exchange.cancel(CancelCause.DRAIN)
    box.urgent("error", exchange, final=True)
    async with running(box):
        assert box.link.written == [[b"note", b"error"]]


async def test_an_outbox_of_cancelled_frames_only_lets_waiters_go_on() -> None:
    async with running(Box(Link(open_=False), bound=10)) as box:
        box.put("a" * 5)
        await trio.testing.wait_all_tasks_blocked()
        cancelled = box.exchange()
        box.put("b" * 5, cancelled)
        cancelled.cancel(CancelCause.PEER)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.outbox.put, None, Notification("c" * 6), False)
            await trio.testing.wait_all_tasks_blocked()
            box.link.allowed.release()
            box.link.allowed.release()
        await trio.testing.wait_all_tasks_blocked()
        assert box.link.written == [[b"a" * 5], [b"c" * 6]]


async def test_the_id_is_free_when_the_answer_was_put_and_the_permit_when_it_was_sent() -> None:
    async with running(Box(Link(open_=False))) as box:
        exchange = box.exchange()
        box.put("note", exchange)
        box.put("answer", exchange, final=True)
        assert (box.answered, exchange.answered, box.done) == ([exchange], True, [])
        await trio.testing.wait_all_tasks_blocked()
        assert box.done == []
        box.link.allowed.release()
        await trio.testing.wait_all_tasks_blocked()
        assert box.done == [exchange]


async def test_an_exchange_without_an_answer_is_done_at_once() -> None:
    box = Box(Link(open_=False))
    exchange = box.exchange()
    box.outbox.finish(exchange)
    assert box.done == [exchange]


async def test_what_waits_for_room_never_follows_the_answer() -> None:
    async with running(Box(Link(open_=False), bound=10)) as box:
        exchange = box.exchange()
        box.put("a" * 10, exchange)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.outbox.put, exchange, Notification("late"), False)
            await trio.testing.wait_all_tasks_blocked()
            exchange.cancel(CancelCause.DRAIN)
            box.urgent("error", exchange, final=True)
            for _ in range(3):
                box.link.allowed.release()
        await trio.testing.wait_all_tasks_blocked()
        assert box.link.written == [[b"a" * 10], [b"error"]]


async def test_a_broken_link_ends_the_writer_with_its_error() -> None:
    box = Box(Link(open_=True))
    box.link.failure = ConnectionFailed("gone")
    box.put("a")
    with pytest.raises(ConnectionFailed, match="gone"):
        await box.outbox.run()


async def test_broken_off_everything_is_dropped_and_everybody_learns_of_it() -> None:
    box = Box(Link(open_=False), bound=10)
    torn, queued = box.exchange(), box.exchange()
    outcomes: list[str] = []

    async def wait_for_room() -> None:
        try:
            await box.outbox.put(None, Notification("c"), False)
        except ConnectionClosed:
            outcomes.append("closed")

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as writing:
            writing.start_soon(box.outbox.run)
            box.put("a" * 5, torn, final=True)
            await trio.testing.wait_all_tasks_blocked()
            box.put("b" * 5, queued, final=True)
            nursery.start_soon(wait_for_room)
            await trio.testing.wait_all_tasks_blocked()
            writing.cancel_scope.cancel()
        assert box.done == []
        box.outbox.break_off()
    assert outcomes == ["closed"]
    assert box.done == [torn, queued]
    assert (box.outbox.pending_bytes, box.outbox.urgent_bytes, box.writes) == (0, 0, 1)


async def test_a_closed_outbox_refuses_and_lets_urgent_messages_vanish() -> None:
    box = Box(Link(open_=True))
    box.outbox.break_off()
    with pytest.raises(ConnectionClosed):
        box.put("a")
    with pytest.raises(ConnectionClosed):
        await box.outbox.put(None, Notification("a"), False)
    exchange = box.exchange()
    box.urgent("note", exchange)
    assert (box.answered, box.done) == ([], [])
    box.urgent("error", exchange, final=True)
    assert (box.answered, box.done, exchange.answered) == ([exchange], [exchange], True)
    assert box.outbox.pending_bytes == 0


async def test_a_lone_reply_is_written_in_the_step_of_its_worker() -> None:
    link = NowaitLink(takes=1000)
    async with running(Box(link)) as box:
        exchange = box.exchange()
        box.put("note", exchange)
        box.put("answer", exchange, final=True, last=True)
        assert link.stream == b"", "the writer is awake already and takes both"
        await trio.testing.wait_all_tasks_blocked()
        box.put("more", last=True)
        assert link.stream == b"noteanswermore"
        assert box.done == [exchange]
        assert box.outbox.pending_bytes == 0
        assert box.metrics.messages_sent == 3


async def test_a_partial_write_is_finished_by_the_writer_and_nobody_cuts_in() -> None:
    link = NowaitLink(takes=4, open_=False)
    async with running(Box(link)) as box:
        first, second = box.exchange(), box.exchange()
        assert box.put("abcdef", first, final=True, last=True)
        assert link.stream == b"abcd"
        assert box.done == []
        link.takes = 1000
        assert box.put("XYZ", second, final=True, last=True)
        box.urgent("!")
        assert link.stream == b"abcd", "half a frame is on the wire: only the writer may go on"
        await trio.testing.wait_all_tasks_blocked()
        assert box.put("more", last=True)
        for _ in range(3):
            link.allowed.release()
            await trio.testing.wait_all_tasks_blocked()
        assert link.stream == b"abcdefXYZ!more"
        assert box.done == [first, second]
        assert (box.metrics.messages_sent, box.outbox.pending_bytes) == (4, 0)


async def test_a_pipe_that_takes_nothing_leaves_the_whole_frame_to_the_writer() -> None:
    link = NowaitLink(takes=0)
    async with running(Box(link)) as box:
        box.put("abc", last=True)
        assert (link.stream, box.outbox.pending_bytes) == (b"", 3)
        await trio.testing.wait_all_tasks_blocked()
        assert (link.stream, box.outbox.pending_bytes) == (b"abc", 0)


async def test_a_torn_frame_ends_its_exchange_when_the_connection_breaks_off() -> None:
    link = NowaitLink(takes=2, open_=False)
    box = Box(link)
    exchange = box.exchange()
    async with running(box):
        box.put("abcdef", exchange, final=True, last=True)
    box.outbox.break_off()
    assert box.done == [exchange]


async def test_a_large_backlog_leaves_in_pieces_so_that_the_rest_can_still_be_dropped() -> None:
    box = Box(Link(open_=False), bound=10**7)
    late = box.exchange()
    for _ in range(3):
        box.put("a" * 200_000)
    box.put("late", late)
    async with running(box):
        late.cancel(CancelCause.PEER)
        for _ in range(3):
            box.link.allowed.release()
        await trio.testing.wait_all_tasks_blocked()
        assert [len(write) for write in box.link.written] == [2, 1]


async def test_a_large_message_that_waits_for_an_empty_outbox_is_not_passed_by_small_ones() -> None:
    async with running(Box(link := Link(open_=False))) as box, trio.open_nursery() as nursery:
        assert box.put("a" * 60)
        nursery.start_soon(box.outbox.put, None, Notification("L" * 150), False)
        await trio.testing.wait_all_tasks_blocked()
        assert not box.put("b" * 10)
        nursery.start_soon(box.outbox.put, None, Notification("c" * 10), False)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            link.allowed.release()
            await trio.testing.wait_all_tasks_blocked()
        assert [frame[:1] for frames in link.written for frame in frames] == [b"a", b"L", b"c"]


async def test_only_the_first_in_the_line_is_encoded_before_there_is_room() -> None:
    class Counting(Link):
        encoded = 0

        def encode(self, message: Message) -> tuple[bytes, int]:
            self.encoded += 1
            return super().encode(message)

    async with running(Box(link := Counting(open_=False))) as box, trio.open_nursery() as nursery:
        assert box.put("a" * 60)
        for _ in range(10):
            nursery.start_soon(box.outbox.put, None, Notification("b" * 90), False)
        await trio.testing.wait_all_tasks_blocked()
        assert link.encoded == 2
        assert not box.put("b" * 90)
        assert link.encoded == 2
        for number in range(11):
            link.allowed.release()
            await trio.testing.wait_all_tasks_blocked()
            assert link.encoded <= number + 3
        assert sum(len(frames) for frames in link.written) == 11
        assert link.encoded == 11


async def test_whoever_leaves_the_line_lets_the_next_one_go_on() -> None:
    async with running(Box(link := Link(open_=False))) as box, trio.open_nursery() as nursery:
        assert box.put("a" * 60)
        first = trio.CancelScope()

        async def large() -> None:
            with first:
                await box.outbox.put(None, Notification("L" * 150), False)

        nursery.start_soon(large)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(box.outbox.put, None, Notification("s" * 10), False)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert box.outbox.pending_bytes == 70
        for _ in range(2):
            link.allowed.release()
        await trio.testing.wait_all_tasks_blocked()
        assert [frame[:1] for frames in link.written for frame in frames] == [b"a", b"s"]


async def test_control_bytes_leave_in_front_and_count_as_no_message() -> None:
    box = Box(Link(open_=False))
    async with running(box):
        box.put("begun")
        await trio.testing.wait_all_tasks_blocked()
        box.put("waits")
        box.outbox.put_control(b"pong")
        box.outbox.put_control(b"PONG")
        box.link.allowed.release()
        box.link.allowed.release()
        await trio.testing.wait_all_tasks_blocked()
    assert box.link.written == [[b"begun"], [b"pongPONG", b"waits"]]
    assert (box.metrics.messages_sent, box.metrics.bytes_sent) == (2, 18)
    assert (box.outbox.pending_bytes, box.outbox.urgent_bytes) == (0, 0)


async def test_control_bytes_alone_wake_the_writer_and_vanish_on_a_closed_outbox() -> None:
    box = Box(Link(open_=True))
    async with running(box):
        box.outbox.put_control(b"pong")
        await trio.testing.wait_all_tasks_blocked()
        box.outbox.break_off()
        box.outbox.put_control(b"late")
    assert box.link.written == [[b"pong"]]
    assert box.outbox.pending_bytes == 0


async def test_control_bytes_that_nobody_reads_are_a_flood() -> None:
    box = Box(Link(open_=False), bound=10)
    async with running(box):
        box.outbox.put_control(b"x" * 10)
        assert not box.outbox.flooded
        box.outbox.put_control(b"x")
        assert box.outbox.flooded
