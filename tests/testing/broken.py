"""Transports that are broken in one way each, as transports in the field have been.

Must never be broken in a way no reader could imagine somebody to write.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from typing import Any

import trio

from tests.testing.hub import HubClient, HubServer
from trio_mcp_transport import (
    ConnectionFailed,
    FrameCodec,
    MessageError,
    NewlineCodec,
    Notification,
    RemoteProtocolError,
    Request,
    Response,
    RpcError,
    TransportStatistics,
)
from trio_mcp_transport.abc import MessageLink
from trio_mcp_transport.call import Call
from trio_mcp_transport.errors import FramingError
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.limits import MIB
from trio_mcp_transport.pipe.client import PipeConnection
from trio_mcp_transport.testing import DropLink, DuplicateLink
from trio_mcp_transport.testing.fault_links import LinkAround
from trio_mcp_transport.testing.faults import _Around
from trio_mcp_transport.wire import messages
from trio_mcp_transport.wire.signals import Signal

ADDED = {"resultType", "_meta"}
"""What a revision adds to a result."""


def replaced(message: Any, **changes: Any) -> Any:
    """Return a response with another error, or a request with another id."""
    if isinstance(message, Response):
        return Response(message.id, message.result, changes.get("error", message.error))
    return Request(changes["id"], message.method, message.params)


# Servers.


class NamelessServer(HubServer):
    """Reports an address nobody can use."""

    addresses = ("somewhere",)


class FalsyServer(HubServer):
    """Takes an empty result for no result."""

    class Link(LinkAround):
        def encode(self, message: Any) -> tuple[Any, int]:
            if isinstance(message, Response) and message.error is None and not message.result.keys() - ADDED:
                return (b"",), 0
            return super().encode(message)

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link)


class StammeringServer(HubServer):
    """Reads a notification twice."""

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return DuplicateLink(link, lambda message: getattr(message, "method", "") == "notifications/check/echo")


class CurtServer(HubServer):
    """Sends its own words instead of a handler's."""

    class Link(LinkAround):
        def encode(self, message: Any) -> tuple[Any, int]:
            if isinstance(message, Response) and message.error is not None:
                error = message.error
                message = replaced(message, error=RpcError(error.code, "an error occurred", error.data))
            return super().encode(message)

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link)


class NarrowServer(HubServer):
    """Forgets to go on once fifty requests are in flight."""

    class Link(LinkAround):
        flying = 0

        def next_message(self) -> Any:
            if self.flying >= 50:
                return Signal.NEED_DATA
            message = self._link.next_message()
            self.flying += isinstance(message, Request)
            return message

        def encode(self, message: Any) -> tuple[Any, int]:
            self.flying -= isinstance(message, Response)
            return super().encode(message)

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link)


class CoercingServer(HubServer):
    """Takes the id "7" for 7."""

    class Link(LinkAround):
        def next_message(self) -> Any:
            message = self._link.next_message()
            if isinstance(message, Request) and isinstance(message.id, str) and message.id.isdigit():
                return replaced(message, id=int(message.id))
            return message

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link)


class MixingServer(HubServer):
    """Looks for the connection of an answer in one table of ids for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.table: dict[Any, Any] = {}

    class Link(LinkAround):
        def __init__(self, link: MessageLink, table: dict[Any, Any]) -> None:
            super().__init__(link)
            self.table = table
            self.late: list[Any] = []

        def next_message(self) -> Any:
            message = self._link.next_message()
            if isinstance(message, Request):
                self.table[message.id] = self
            return message

        def encode(self, message: Any) -> tuple[Any, int]:
            item, size = super().encode(message)
            owner = self.table.get(message.id, self) if isinstance(message, Response) else self
            if owner is not self:
                owner.late.append(item)
                return (b"",), 0
            return item, size

        async def write(self, items: Any) -> None:
            late, self.late = self.late, []
            await super().write([*late, *items])

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link, self.table)


class CStringServer(HubServer):
    """Loses NUL."""

    class Link(LinkAround):
        def next_message(self) -> Any:
            message = self._link.next_message()
            if isinstance(message, Request):
                return messages.decode(messages.encode(message).replace(b"\\u0000", b""))
            return message

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link)


class SmallServer(HubServer):
    """Has a limit of its own that nobody can change."""

    def codec(self, size: int) -> FrameCodec:
        return NewlineCodec(min(size, MIB))


class BelatedCancelServer(HubServer):
    """Looks at a cancellation when the next message comes."""

    class Link(LinkAround):
        def __init__(self, link: MessageLink) -> None:
            super().__init__(link)
            self.kept: list[Any] = []
            self.ready: deque[Any] = deque()

        def next_message(self) -> Any:
            while not self.ready:
                message = self._link.next_message()
                if message is Signal.NEED_DATA:
                    return message
                if isinstance(message, Notification) and message.method == "notifications/cancelled":
                    self.kept.append(message)
                    continue
                self.ready.extend([*self.kept, message])
                self.kept.clear()
            return self.ready.popleft()

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link)


class ForgetfulServer(HubServer):
    """Sends one answer after the shutdown began, and no more."""

    class Link(LinkAround):
        def __init__(self, link: MessageLink, shutdown: trio.Event) -> None:
            super().__init__(link)
            self.shutdown, self.sent = shutdown, 0

        def encode(self, message: Any) -> tuple[Any, int]:
            self.sent += self.shutdown.is_set()
            return super().encode(message) if self.sent < 2 else ((b"",), 0)

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link, exchanges.shutdown)


class SilentDrainServer(HubServer):
    """Does not say why it cut a request off."""

    class Link(LinkAround):
        def encode(self, message: Any) -> tuple[Any, int]:
            if isinstance(message, Response) and message.error is not None and message.error.reason() == "shutdown":
                message = replaced(message, error=RpcError(message.error.code, message.error.message))
            return super().encode(message)

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link)


class LazyServer(HubServer):
    """Waits a while before it shuts down, idle or not."""

    async def run(self, exchanges: Intake, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        later = copy.copy(exchanges)
        later.shutdown = trio.Event()

        async def wait() -> None:
            await exchanges.shutdown.wait()
            await trio.sleep(2)
            later.shutdown.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await super().run(later, task_status=task_status)
            nursery.cancel_scope.cancel()


class TwiceClosedServer(HubServer):
    """Runs the last hook again."""

    async def serve_one(self, exchanges: Intake, stream: trio.abc.Stream) -> None:
        contexts: list[Any] = []
        watched = copy.copy(exchanges)
        report = exchanges.report_close

        async def report_close(context: Any) -> None:
            contexts.append(context)
            await report(context)

        watched.report_close = report_close  # type: ignore[method-assign]
        await super().serve_one(watched, stream)
        for context in contexts:
            await report(context)


class NeverClosedServer(HubServer):
    """Runs the last hook of its first connection only."""

    def __init__(self) -> None:
        super().__init__()
        self.connections = 0

    async def serve_one(self, exchanges: Intake, stream: trio.abc.Stream) -> None:
        self.connections += 1
        if self.connections > 1:
            exchanges = copy.copy(exchanges)

            async def report_close(context: Any) -> None:
                await trio.lowlevel.checkpoint()

            exchanges.report_close = report_close  # type: ignore[method-assign]
        await super().serve_one(exchanges, stream)


class ReusableServer(HubServer):
    """Runs as often as it is asked to."""

    def refuse_second_run(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](100)


class UncountingServer(HubServer):
    """Counts nothing."""

    def statistics(self) -> TransportStatistics:
        return TransportStatistics()


class LimitlessServer(HubServer):
    """Ignores the limit it is given."""

    def codec(self, size: int) -> FrameCodec:
        return NewlineCodec(16 * MIB)


class TalkativeServer(HubServer):
    """Ignores its own limit of what it sends."""

    class Link(LinkAround):
        def encode(self, message: Any) -> tuple[Any, int]:
            text = messages.encode(message)
            return (text, b"\n"), len(text) + 1

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link)


class GreedyServer(HubServer):
    """Reads whatever comes, whether anybody needs it or not."""

    class Stream(_Around):
        def __init__(self, stream: trio.abc.Stream) -> None:
            super().__init__(stream)
            self.send, self.receive = trio.open_memory_channel[bytes](float("inf"))

        async def pump(self) -> None:
            with self.send:
                try:
                    while chunk := await self._stream.receive_some():
                        self.send.send_nowait(bytes(chunk))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            try:
                return await self.receive.receive()
            except trio.EndOfChannel:
                return b""

    async def serve_one(self, exchanges: Intake, stream: trio.abc.Stream) -> None:
        greedy = self.Stream(stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(greedy.pump)
            await super().serve_one(exchanges, greedy)
            nursery.cancel_scope.cancel()


class ImpatientServer(HubServer):
    """Takes the end of a client's input for the end of the client."""

    class Link(LinkAround):
        async def fill(self) -> bool:
            if not await self._link.fill():
                raise ConnectionFailed("the peer is gone")
            return True

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link)


class ChunkyServer(HubServer):
    """Takes a first read of a few bytes for noise on the line."""

    class Stream(_Around):
        first = True

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            data = await super().receive_some(max_bytes)
            first, self.first = self.first, False
            # Not of one byte alone: how many single bytes a read finds depends on who runs first.
            return await super().receive_some(max_bytes) if first and 0 < len(data) < 6 else data

    def wrap_stream(self, stream: trio.abc.Stream) -> trio.abc.Stream:
        return self.Stream(stream)


class DeafServer(HubServer):
    """Ignores what it cannot read."""

    class Link(LinkAround):
        def next_message(self) -> Any:
            try:
                return self._link.next_message()
            except MessageError:
                return self.next_message()

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link)


class CountingServer(HubServer):
    """Expects ids to grow."""

    class Link(LinkAround):
        last = -(10**100)

        def next_message(self) -> Any:
            message = self._link.next_message()
            if isinstance(message, Request) and isinstance(message.id, int):
                if message.id < self.last:
                    return self.next_message()
                self.last = message.id
            return message

    def wrap_link(self, link: MessageLink, exchanges: Intake) -> MessageLink:
        return self.Link(link)


class FragileServer(HubServer):
    """Dies of a connection that ends in the middle of a message."""

    async def serve_one(self, exchanges: Intake, stream: trio.abc.Stream) -> None:
        torn: list[FramingError] = []

        class Link(LinkAround):
            def next_message(self) -> Any:
                try:
                    return self._link.next_message()
                except FramingError as error:
                    torn.append(error)
                    raise

        self.wrap_link = lambda link, exchanges: Link(link)  # type: ignore[method-assign]
        await super().serve_one(exchanges, stream)
        if torn and "end" in str(torn[0]):
            raise torn[0]


class UnarmedServer(HubServer):
    """Waits for ever for a peer that reads nothing."""

    def write_deadline(self, exchanges: Intake) -> float | None:
        return None


class LeakingServer(HubServer):
    """Leaves a task behind when it is cancelled."""

    async def run(self, exchanges: Intake, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        ended = False
        try:
            await super().run(exchanges, task_status=task_status)
            ended = True
        finally:
            if not ended:
                trio.lowlevel.spawn_system_task(trio.sleep, 1000)


class GreetingServer(HubServer):
    """Dies of a connection that ends before it said anything of substance."""

    async def serve_one(self, exchanges: Intake, stream: trio.abc.Stream) -> None:
        seen = 0

        class Stream(_Around):
            async def receive_some(self, max_bytes: int | None = None) -> bytes:
                nonlocal seen
                data = await super().receive_some(max_bytes)
                seen += len(data)
                return data

        await super().serve_one(exchanges, Stream(stream))
        if seen < 10:
            raise RuntimeError("a client without a greeting")


# Clients.


class DumbClient(HubClient):
    """Ignores what the server asks."""

    def wrap_link(self, link: MessageLink) -> MessageLink:
        return DropLink(link)


class HastyClient(HubClient):
    """Reads answers first."""

    class Link(LinkAround):
        def __init__(self, link: MessageLink) -> None:
            super().__init__(link)
            self.ready: list[Any] = []

        def next_message(self) -> Any:
            signal: Any = Signal.NEED_DATA
            while not isinstance(signal := self._link.next_message(), Signal):
                self.ready.append(signal)
            self.ready.sort(key=lambda message: not isinstance(message, Response))
            return self.ready.pop(0) if self.ready else signal

    def wrap_link(self, link: MessageLink) -> MessageLink:
        return self.Link(link)


class MistypingClient(HubClient):
    """Blames the server's protocol for the end of a connection."""

    class Link(LinkAround):
        async def fill(self) -> bool:
            if not await self._link.fill():
                raise RemoteProtocolError("an unexpected end")
            return True

    def wrap_link(self, link: MessageLink) -> MessageLink:
        return self.Link(link)


class RudeClient(HubClient):
    """Says that the connection failed when it was closed."""

    class Connection(PipeConnection):
        async def _say_goodbye(self) -> None:
            for call in self._end.calls.waiting():
                call.cancel()
                call.fail(ConnectionFailed("gone"))
            await super()._say_goodbye()

    connection = Connection


class LimitlessClient(HubClient):
    """Ignores the limit it is given."""

    def codec(self, size: int) -> FrameCodec:
        return NewlineCodec(64 * MIB)


class BrittleClient(HubClient):
    """Closes the connection when a request is cancelled before it was sent."""

    class Connection(PipeConnection):
        def send_call_nowait(self, call: Call) -> bool:
            return False

        async def send_call(self, call: Call) -> None:
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled:
                self.close()
                raise
            await super().send_call(call)

    connection = Connection


class LeakingClient(HubClient):
    """Forgets its stream when it is cancelled right after it was opened."""

    async def connect(self) -> trio.abc.Stream:
        stream = await super().connect()
        await trio.lowlevel.checkpoint()
        return stream


Make = Callable[[], HubServer]

BROKEN_SERVERS: tuple[tuple[Make, tuple[str, ...]], ...] = (
    (NamelessServer, ("addresses_are_reported",)),
    (FalsyServer, ("requests_arrive",)),
    (StammeringServer, ("notifications_arrive",)),
    (CurtServer, ("errors_arrive",)),
    (NarrowServer, ("answers_come_in_any_order",)),
    (CoercingServer, ("ids_keep_their_type",)),
    (MixingServer, ("connections_do_not_mix",)),
    (CStringServer, ("odd_content_passes",)),
    (SmallServer, ("large_messages_pass",)),
    (BelatedCancelServer, ("leaving_cancels_the_handler",)),
    (ForgetfulServer, ("shutdown_answers_what_was_asked",)),
    (SilentDrainServer, ("draining_has_an_end",)),
    (LazyServer, ("an_idle_server_ends_at_once",)),
    (
        TwiceClosedServer,
        ("close_comes_last_and_once", "each_connection_closes_once", "a_cut_ends_its_connection_alone"),
    ),
    (
        NeverClosedServer,
        ("each_connection_closes_once", "a_cut_ends_its_connection_alone", "a_peer_that_stops_reading_is_given_up"),
    ),
    (ReusableServer, ("an_object_runs_once",)),
    (UncountingServer, ("statistics_count",)),
    (LimitlessServer, ("a_server_keeps_its_limit",)),
    (TalkativeServer, ("outgoing_limits_hold",)),
    (GreedyServer, ("a_slow_server_slows_its_client",)),
    (ImpatientServer, ("half_close_brings_every_answer",)),
    (ChunkyServer, ("single_bytes_are_enough",)),
    (DeafServer, ("unreadable_messages_are_refused",)),
    (CountingServer, ("reordered_requests_are_all_answered", "ids_keep_their_type")),
    (FragileServer, ("a_cut_ends_its_connection_alone", "every_stream_call_may_fail")),
    (UnarmedServer, ("a_peer_that_stops_reading_is_given_up",)),
    (GreetingServer, ("every_stream_call_may_fail", "opening_is_cancelled_anywhere")),
    (LeakingServer, ("nothing_is_left",)),
)
"""A broken server, and exactly the checks it fails; the first is the one it is there for."""

BROKEN_CLIENTS: tuple[tuple[type[HubClient], tuple[str, ...]], ...] = (
    (DumbClient, ("server_messages_arrive",)),
    (HastyClient, ("notifications_precede_the_response",)),
    (MistypingClient, ("a_cancelled_server_fails_its_clients",)),
    (RudeClient, ("closing_a_client_ends_its_calls",)),
    (LimitlessClient, ("a_client_keeps_its_limit",)),
    (BrittleClient, ("a_request_is_cancelled_anywhere",)),
    (LeakingClient, ("opening_is_cancelled_anywhere",)),
)
"""A broken client, and exactly the checks it fails."""
