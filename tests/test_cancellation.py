"""Every public coroutine, cancelled at every checkpoint: nothing is left, and what should live on lives on.

Over memory the clock is virtual and every point is taken.  Over real processes a run costs up to a fifth of a second:
there the first points are taken one by one and the later ones in strides; the numbers stand at the tests.  Sockets and
TLS have a file of their own.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_mcp_transport
from tests import test_cancellation_sockets  # noqa: F401  # its scenarios count as well
from tests.cancelling import COVERED, covers_by_test
from trio_mcp_transport import (
    ClientInfo,
    Handlers,
    Limits,
    MemoryServerTransport,
    Notification,
    Response,
    ServerInfo,
    StdioClientTransport,
    StdioServerTransport,
    Subscriptions,
    keep_alive,
    memory_transports,
    open_client,
    run_client,
    run_stream,
    serve,
    serve_stream,
)
from trio_mcp_transport.testing import (
    CancelRegion,
    StreamClientTransport,
    StreamServerTransport,
    byte_stream_pair,
    cancel_at_every_checkpoint,
    connect,
)
from trio_mcp_transport.testing.footprint import living_tasks
from trio_mcp_transport.transports.spawn import spawn

Scenario = Callable[..., Awaitable[None]]

SCENARIOS: dict[str, tuple[Scenario, tuple[str, ...]]] = {}
# What others implement; the library's own implementations are in the list.
CONTRACTS = {
    "ClientTransport.run",
    "MessageHandler.handle_close",
    "MessageHandler.handle_error",
    "MessageHandler.handle_message",
    "ServerTransport.run",
}
# Public, though not importable from the package itself.
BESIDES = {"Child.shutdown", "Child.wait", "MessageLink.fill", "spawn"}
ERAS = ("modern", "legacy")
SERVER = ServerInfo("server", "1")


def covers(*names: str, eras: tuple[str, ...] = ERAS) -> Callable[[Scenario], Scenario]:
    """Register a scenario for coroutines it cancels."""

    def register(scenario: Scenario) -> Scenario:
        SCENARIOS[scenario.__name__] = (scenario, eras)
        COVERED.update(names)
        return scenario

    return register


class Link:
    """The four combinations of an era and a way to carry messages."""

    def __init__(self, era: str, way: str) -> None:
        self.era: Any = era
        self.bytes = way == "bytes"

    def connect(self, handler: Any = None, **options: Any) -> connect:
        return connect(handler or Handlers(lab), era=self.era, bytes=self.bytes, **options)


async def lab(message: Any, context: Any) -> Any:
    if message.method == "slow":
        for step in (1, 2):
            await context.progress(step)
            await trio.sleep(1)
    return {"text": message.params.get("text")}


async def lives_on(client: Any, block: connect) -> None:
    """Check that the connection serves the next request and holds nothing of the one before."""
    with trio.fail_after(5):
        assert (await client.request("echo", {"text": "alive"}))["text"] == "alive"
    with trio.CancelScope(shield=True):
        await trio.testing.wait_all_tasks_blocked()
    assert client.statistics().pending == 0
    assert client.statistics().in_flight == 0
    assert not client._timekeeper._calls
    statistics = block.server_transport.statistics()
    assert (statistics.in_flight, statistics.queued, statistics.pending, statistics.outbox_bytes) == (0, 0, 0, 0)


def public_coroutines() -> set[str]:
    """Return every coroutine function that the package exports, methods as ``Class.method``."""
    found = set()
    for name in trio_mcp_transport.__all__:
        value = getattr(trio_mcp_transport, name)
        if inspect.iscoroutinefunction(value):
            found.add(name)
        elif inspect.isclass(value):
            for attribute in dir(value):
                function = inspect.getattr_static(value, attribute)
                public = not attribute.startswith("_") or attribute in {"__aenter__", "__aexit__", "__anext__"}
                if public and inspect.iscoroutinefunction(function) and _is_ours(function):
                    found.add(f"{name}.{attribute}")
    return found


def _is_ours(function: Any) -> bool:
    return bool(function.__module__.startswith("trio_mcp_transport"))


# The front doors.


@covers("serve", "MemoryServerTransport.run")
async def serving(region: CancelRegion, link: Link) -> None:
    async with trio.open_nursery() as nursery:
        server, client_transport = memory_transports()

        async def use() -> None:
            try:
                async with open_client(client_transport, era=link.era) as client:
                    await client.request("slow")
            except trio_mcp_transport.TransportError:
                assert region.reached

        shutdown = trio.Event()

        async def end() -> None:
            await trio.sleep(5)
            shutdown.set()

        nursery.start_soon(end)
        nursery.start_soon(use)
        with region:
            await serve(Handlers(lab), server, server_info=SERVER, shutdown=shutdown)


@covers("run_client", "MemoryClientTransport.run")
async def running_a_client(region: CancelRegion, link: Link) -> None:
    async with trio.open_nursery() as nursery:
        server, transport = memory_transports()
        nursery.start_soon(lambda: serve(Handlers(lab), server, server_info=SERVER))
        with region:
            async with trio.open_nursery() as inner:
                client = await inner.start(
                    lambda task_status: run_client(transport, era=link.era, task_status=task_status)
                )
                await client.request("slow")
                client.close()
        async with open_client(server.client(), era=link.era) as other:
            assert (await other.request("echo", {"text": "hi"}))["text"] == "hi"
        nursery.cancel_scope.cancel()


@covers("open_client.__aenter__", "open_client.__aexit__")
async def a_block_of_its_own(region: CancelRegion, link: Link) -> None:
    async with trio.open_nursery() as nursery:
        server, transport = memory_transports()
        nursery.start_soon(lambda: serve(Handlers(lab), server, server_info=SERVER))
        with region:
            async with open_client(transport, era=link.era) as client:
                await client.request("echo", {"text": "hi"})
        async with open_client(server.client(), era=link.era) as other:
            assert (await other.request("echo", {"text": "hi"}))["text"] == "hi"
        nursery.cancel_scope.cancel()


@covers("open_client.__aenter__", "open_client.__aexit__")
async def a_block_on_a_nursery(region: CancelRegion, link: Link) -> None:
    async with trio.open_nursery() as nursery:
        server, transport = memory_transports()
        nursery.start_soon(lambda: serve(Handlers(lab), server, server_info=SERVER))
        async with trio.open_nursery() as clients:
            with region:
                async with open_client(transport, nursery=clients, era=link.era) as client:
                    await client.request("echo", {"text": "hi"})
            # Cancelled or not, once the block is left nothing of it lives on the caller's nursery.
            assert not clients.child_tasks
        nursery.cancel_scope.cancel()


@covers("open_client.__aenter__", "open_client.__aexit__", eras=("auto",))
async def everything_at_once(region: CancelRegion, link: Link) -> None:
    with region:
        async with link.connect() as client:
            await client.request("slow", on_progress=lambda params: None)


@covers("MemoryServerTransport.connect")
async def connecting(region: CancelRegion, link: Link) -> None:
    server = MemoryServerTransport()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(Handlers(lab), server, server_info=SERVER))
        await trio.testing.wait_all_tasks_blocked()
        before = len(list(living_tasks()))
        opened = None
        with region:
            opened = await server.connect()
        if opened is not None:
            await opened.aclose()
        # Cancelled, the server has no connection that nobody holds the other end of.
        await trio.testing.wait_all_tasks_blocked()
        assert len(list(living_tasks())) == before
        async with open_client(server.client(), era=link.era) as client:
            assert (await client.request("echo", {"text": "hi"}))["text"] == "hi"
        nursery.cancel_scope.cancel()


@covers("serve_stream", "MessageLink.fill")
async def serving_a_stream(region: CancelRegion, link: Link) -> None:
    near, far = byte_stream_pair()

    class One(trio_mcp_transport.ServerTransport):
        async def run(self, exchanges: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            with region:
                await serve_stream(exchanges, far, trio_mcp_transport.NewlineCodec(1000))

    async with trio.open_nursery() as nursery:

        async def use() -> None:
            try:
                async with open_client(StreamClientTransport(near), era=link.era) as client:
                    await client.request("slow")
            except trio_mcp_transport.TransportError:
                assert region.reached

        nursery.start_soon(use)
        await serve(Handlers(lab), One(), server_info=SERVER)
    with pytest.raises(trio.ClosedResourceError):
        await far.receive_some()


@covers("run_stream", "MessageLink.fill")
async def running_on_a_stream(region: CancelRegion, link: Link) -> None:
    near, far = byte_stream_pair()

    class One(trio_mcp_transport.ClientTransport):
        async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            with region:
                await run_stream(setup, near, trio_mcp_transport.NewlineCodec(1000), task_status=task_status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(Handlers(lab), StreamServerTransport(far), server_info=SERVER))
        try:
            async with open_client(One(), era=link.era) as client:
                await client.request("slow")
        except trio_mcp_transport.TransportError:
            assert region.reached
    # The server saw the end, or it would still run; this side is closed, however it ended.
    with pytest.raises(trio.ClosedResourceError):
        await near.receive_some()


@covers("run_client")
async def connecting_again(region: CancelRegion, link: Link) -> None:
    """The server's end breaks; a client that may restart holds its next call until another connection stands."""
    async with trio.open_nursery() as nursery:
        ends: list[Any] = []

        class Again(trio_mcp_transport.ClientTransport):
            restart = trio_mcp_transport.RestartPolicy()

            async def run(self, setup: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
                near, far = byte_stream_pair()
                ends.append(far)
                nursery.start_soon(lambda: serve(Handlers(lab), StreamServerTransport(far), server_info=SERVER))
                await StreamClientTransport(near).run(setup, task_status=task_status)

        with region:
            async with open_client(Again(), era=link.era) as client:
                ends[0].close()
                await trio.sleep(0.1)
                assert (await client.request("echo", {"text": "hi"}))["text"] == "hi"
                assert len(ends) == 2
    # Left alone with the far end, every server has ended by itself.


# What a client does.


@covers("Client.request", "Client.begin")
async def requesting(region: CancelRegion, link: Link) -> None:
    block = link.connect()
    async with block as client:
        with region:
            assert (await client.request("slow", {"text": "x"}))["text"] == "x"
        await lives_on(client, block)


@covers("Client.request")
async def requesting_with_progress(region: CancelRegion, link: Link) -> None:
    block = link.connect()
    seen: list[Any] = []

    async def progress(params: Any) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(params["progress"])

    async with block as client:
        with region:
            await client.request("slow", {"text": "x"}, on_progress=progress)
        assert seen == [1, 2][: len(seen)]
        await lives_on(client, block)


@covers("Client.request", "Client.notify", "OpenExchange.__aenter__")
async def crowding(region: CancelRegion, link: Link) -> None:
    """Everybody waits for room: outboxes that hold one of these requests, over a channel of 256 bytes."""
    small = Limits(outbox_bytes=1000, max_running=2)
    options = {"streams": lambda: byte_stream_pair(256)} if link.bytes else {}
    block = link.connect(limits=small, client_limits=small, **options)
    async with block as client:

        async def call(text: str) -> None:
            assert (await client.request("slow", {"text": text}))["text"] == text

        async def hold() -> None:
            async with client.open_exchange("slow", {"text": "h" * 800}) as replies:
                await replies.receive()

        with region:
            async with trio.open_nursery() as nursery:
                for letter in "abc":
                    nursery.start_soon(call, letter * 800)
                nursery.start_soon(hold)
                nursery.start_soon(client.notify, "notifications/n", {"text": "n" * 800})
        await lives_on(client, block)


@covers("Client.request_raw")
async def requesting_raw(region: CancelRegion, link: Link) -> None:
    block = link.connect()
    async with block as client:
        with region:
            assert b'"x"' in bytes(await client.request_raw("slow", b'{"text": "x"}'))
        await lives_on(client, block)


@covers("Client.notify")
async def notifying(region: CancelRegion, link: Link) -> None:
    got: list[str] = []
    block = link.connect(Handlers(lab, notification=lambda message, context: got.append(message.method)))
    async with block as client:
        sent = False
        with region:
            await client.notify("notifications/one")
            sent = True
        await lives_on(client, block)
        # The checkpoint is before the notification or shielded after it: sent once, or not at all.
        assert got == ["notifications/one"] * sent


@covers("keep_alive")
async def keeping_alive(region: CancelRegion, link: Link) -> None:
    block = link.connect()
    async with block as client:
        with region, trio.move_on_after(3.5):
            await keep_alive(client, interval=1.0)
        await lives_on(client, block)


@covers("Client.aclose")
async def closing(region: CancelRegion, link: Link) -> None:
    async with trio.open_nursery() as nursery:
        server, transport = memory_transports()
        nursery.start_soon(lambda: serve(Handlers(lab), server, server_info=SERVER))
        async with open_client(transport, era=link.era) as client:
            async with trio.open_nursery() as callers:

                async def call() -> None:
                    with pytest.raises(trio_mcp_transport.ConnectionClosed):
                        await client.request("slow")

                callers.start_soon(call)
                await trio.testing.wait_all_tasks_blocked()
                with region:
                    await client.aclose()
            # Cancelled, the closing goes on in its own task.
            with trio.fail_after(10):
                await client.aclose()
        nursery.cancel_scope.cancel()


@covers("OpenExchange.__aenter__", "OpenExchange.__aexit__", "Replies.receive")
async def holding_an_exchange(region: CancelRegion, link: Link) -> None:
    block = link.connect()
    async with block as client:
        with region:
            async with client.open_exchange("slow", {"text": "x"}) as replies:
                kinds = [type(message) async for message in replies]
                assert kinds == [Notification, Notification, Response]
        await lives_on(client, block)


@covers("OpenExchange.__aexit__")
async def leaving_an_exchange(region: CancelRegion, link: Link) -> None:
    block = link.connect()
    async with block as client:
        with region:
            async with client.open_exchange("slow", {"text": "x"}) as replies:
                await replies.receive()
        await lives_on(client, block)


@covers("Replies.receive")
async def receiving_loses_nothing(region: CancelRegion, link: Link) -> None:
    block = link.connect()
    async with block as client:
        async with client.open_exchange("slow", {"text": "x"}) as replies:
            got: list[Any] = []
            with region:
                while len(got) < 3:
                    got.append(await replies.receive())
            while len(got) < 3:
                got.append(await replies.receive())
            assert [type(message) for message in got] == [Notification, Notification, Response]
            assert [message.params["progress"] for message in got[:2]] == [1, 2]
            with pytest.raises(trio.EndOfChannel):
                await replies.receive()
        await lives_on(client, block)


@covers("Replies.aclose")
async def leaving_by_aclose(region: CancelRegion, link: Link) -> None:
    block = link.connect()
    async with block as client:
        async with client.open_exchange("slow", {"text": "x"}) as replies:
            with region:
                await replies.aclose()
            with pytest.raises(trio.ClosedResourceError):
                await replies.receive()
        await lives_on(client, block)


# What a handler does.


@covers("Handlers.handle_message", "Handlers.handle_close", "Handlers.handle_error")
async def handling(region: CancelRegion, link: Link) -> None:
    ended: list[str] = []

    async def close(context: Any) -> None:
        await trio.lowlevel.checkpoint()
        ended.append("close")

    handlers = Handlers(lab, error=lambda error, context: ended.append("error"), close=close)

    class Own(trio_mcp_transport.MessageHandler):
        async def handle_message(self, message: Any, context: Any) -> Any:
            if message.method != "inside":
                return await handlers.handle_message(message, context)
            result = None
            with region:
                result = await handlers.handle_message(message, context)
                await handlers.handle_error(trio_mcp_transport.MessageError("x"), context)
                await handlers.handle_close(context)
            return result or {"text": "cancelled"}

    block = link.connect(Own())
    async with block as client:
        assert (await client.request("inside", {"text": "x"}))["text"] in ("x", "cancelled")
        await lives_on(client, block)


def inside(region: CancelRegion, call: Callable[[Any], Awaitable[Any]]) -> Handlers:
    """Return a handler whose method ``inside`` runs ``call`` with its context, in the region."""

    async def request(message: Any, context: Any) -> Any:
        if message.method != "inside":
            return await lab(message, context)
        with region:
            await call(context)
        await context.notify("notifications/message", {"level": "info", "data": "after"})
        return {"text": "done"}

    return Handlers(request)


async def use_inside(
    region: CancelRegion, link: Link, call: Callable[[Any], Awaitable[Any]], **options: Any
) -> list[Any]:
    """Run ``call`` with the context of a request and return what the client got for it."""
    block = link.connect(inside(region, call), **options)
    got: list[Any] = []
    async with block as client:
        params = {"_meta": {"io.modelcontextprotocol/logLevel": "debug"}}
        async with client.open_exchange("inside", params) as replies:
            got += [message async for message in replies]
        assert type(got[-1]) is Response and got[-1].result["text"] == "done"
        await lives_on(client, block)
    return got


@covers("MessageContext.notify", "LegacyMessageContext.notify")
async def sending_a_notification(region: CancelRegion, link: Link) -> None:
    sent = False

    async def call(context: Any) -> None:
        nonlocal sent
        await context.notify("notifications/message", {"level": "info", "data": 1})
        sent = True

    await use_inside(region, link, call)
    assert sent or region.cancelled


@covers("MessageContext.progress", "LegacyMessageContext.progress")
async def reporting_progress(region: CancelRegion, link: Link) -> None:
    reported = 0

    async def call(context: Any) -> None:
        nonlocal reported
        for step in (1, 2, 3):
            await context.progress(step, 3)
            reported = step

    got = await use_inside(region, link, call)
    steps = [one.params["progress"] for one in got[:-1] if one.method == "notifications/progress"]
    # Each step was sent once or, cancelled before it, not at all.
    assert steps == list(range(1, reported + 1))


@covers("MessageContext.log", "LegacyMessageContext.log")
async def logging(region: CancelRegion, link: Link) -> None:
    async def call(context: Any) -> None:
        await context.log("info", "one")
        await context.log("debug", {"two": 2}, "logger")

    await use_inside(region, link, call)


@covers("MessageContext.notify", "LegacyMessageContext.notify")
async def flooding_a_slow_reader(region: CancelRegion, link: Link) -> None:
    sent = 0

    async def call(context: Any) -> None:
        nonlocal sent
        for number in range(6):
            await context.notify("notifications/message", {"level": "info", "data": number, "x": "x" * 100})
            sent += 1

    got: list[Any] = []
    options = {"streams": lambda: byte_stream_pair(32)} if link.bytes else {}
    hear = Handlers(notification=lambda message, context: got.append(message.params["data"]))
    await use_inside(region, link, call, limits=Limits(outbox_bytes=200), client_handler=hear, **options)
    # Cancelled while waiting for room, a notification was not sent; none is lost, doubled or out of order.
    assert sorted(map(str, got)) == [*map(str, range(sent)), "after"]


@covers("LegacyMessageContext.request", eras=("legacy",))
async def asking_the_client(region: CancelRegion, link: Link) -> None:
    cancelled: list[bool] = []

    async def answer(message: Any, context: Any) -> Any:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            cancelled.append(True)
            raise
        return {"roots": []}

    async def call(context: Any) -> None:
        assert (await context.request("roots/list"))["roots"] == []

    await use_inside(
        region,
        link,
        call,
        client_handler=Handlers(answer),
        client_info=ClientInfo("c", "1", capabilities={"roots": {}}),
    )


@covers("LegacyMessageContext.request", eras=("legacy",))
async def asking_where_there_is_no_room(region: CancelRegion, link: Link) -> None:
    async def answer(message: Any, context: Any) -> Any:
        return {"size": len(message.params["x"])}

    async def call(context: Any) -> None:
        async def ask() -> None:
            assert (await context.request("roots/list", {"x": "x" * 300}))["size"] == 300

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)

    options = {"streams": lambda: byte_stream_pair(128)} if link.bytes else {}
    await use_inside(region, link, call, limits=Limits(outbox_bytes=400), client_handler=Handlers(answer), **options)


@covers("LegacyMessageContext.request", eras=("legacy",))
async def taking_the_place_back(region: CancelRegion, link: Link) -> None:
    """A handler that asked the client is one of those that run again, cancelled or not."""

    async def answer(message: Any, context: Any) -> Any:
        await trio.sleep(1)
        return {}

    async def request(message: Any, context: Any) -> Any:
        if message.method == "ask":
            with region:
                await context.request("roots/list")
            await trio.sleep_until(10)
        return await lab(message, context)

    block = link.connect(Handlers(request), limits=Limits(max_running=1), client_handler=Handlers(answer))
    async with block as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.request, "ask")
        await trio.sleep_until(5)
        await lives_on_after(10, client, block)


async def lives_on_after(moment: float, client: Any, block: connect) -> None:
    with trio.fail_after(60):
        await client.request("echo", {"text": "queued"})
    assert trio.current_time() >= moment
    await lives_on(client, block)


# Subscriptions.


LISTEN = {"notifications": {"toolsListChanged": True}}
CHANGED = "notifications/tools/list_changed"


@covers("Subscriptions.serve_listen", eras=("modern",))
async def listening(region: CancelRegion, link: Link) -> None:
    subscriptions = Subscriptions()
    block = link.connect(subscriptions=subscriptions)
    async with block as client:
        with region:
            async with client.open_exchange("subscriptions/listen", LISTEN) as replies:
                await replies.receive()
                subscriptions.publish(CHANGED)
                await replies.receive()
        await lives_on(client, block)
        assert subscriptions.statistics().listens == 0


@covers("Subscriptions.serve_listen", eras=("modern",))
async def serving_a_listen(region: CancelRegion, link: Link) -> None:
    subscriptions = Subscriptions()

    async def request(message: Any, context: Any) -> Any:
        if message.method != "subscriptions/listen":
            return await lab(message, context)
        with region:
            return await subscriptions.serve_listen(message, context)
        return {}

    block = link.connect(Handlers(request))
    async with block as client:
        # Cancelled, the handler above answers early.
        with trio.move_on_after(2), contextlib.suppress(trio.EndOfChannel):
            async with client.open_exchange("subscriptions/listen", LISTEN) as replies:
                await replies.receive()
                subscriptions.publish(CHANGED)
                await replies.receive()
                # Without this the wait of the listen would have no step of its own in which to be cancelled.
                await trio.sleep(1)
        await lives_on(client, block)
        assert subscriptions.statistics().listens == 0


@covers("Subscriptions.send", eras=("modern",))
async def publishing(region: CancelRegion, link: Link) -> None:
    subscriptions = Subscriptions(buffer=1, policy="block")
    block = link.connect(subscriptions=subscriptions)
    async with block as client:
        async with client.open_exchange("subscriptions/listen", LISTEN) as replies:
            await replies.receive()
            sent = 0
            with region:
                for _ in range(4):
                    await subscriptions.send(CHANGED)
                    sent += 1
            # Cancelled, nothing was published: as many arrive as were sent, and the next one after them.
            await subscriptions.send(CHANGED, {"last": True})
            got = [await replies.receive() for _ in range(sent + 1)]
            assert [bool(one.params.get("last")) for one in got] == [False] * sent + [True]  # type: ignore[union-attr]
        await lives_on(client, block)


@pytest.mark.parametrize("way", ["objects", "bytes"])
@pytest.mark.parametrize(("name", "era"), [(name, era) for name, (_, eras) in SCENARIOS.items() for era in eras])
def test_cancelled_at_every_checkpoint_over_memory(name: str, era: str, way: str) -> None:
    scenario, _ = SCENARIOS[name]
    link = Link(era, way)
    # On the virtual clock "at once" means at the same moment.
    assert cancel_at_every_checkpoint(lambda region: scenario(region, link), within=0) >= 2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_orders_of_tasks_change_nothing(seed: int) -> None:
    link = Link("auto", "bytes")
    assert cancel_at_every_checkpoint(lambda region: everything_at_once(region, link), seed=seed) > 30


# Real processes.

ECHO = [sys.executable, "-m", "trio_mcp_transport", "echo", "stdio"]
RESPONDER = [sys.executable, "-S", "-E", str(Path(__file__).with_name("responder.py"))]


@covers_by_test("StdioClientTransport.run", "open_client.__aenter__", "open_client.__aexit__", "Client.request")
@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_a_client_of_a_process_is_cancelled(era: Any) -> None:
    async def scenario(region: CancelRegion) -> None:
        with region:
            async with open_client(StdioClientTransport(RESPONDER, stderr="capture"), era=era) as client:
                await client.request("echo", {"text": "x"})

    # At most 60 points one by one, then every fourth.
    points = cancel_at_every_checkpoint(scenario, real_clock=True, dense=60, stride=4)
    assert 15 < points <= 120


@covers_by_test("StdioClientTransport.run")
def test_a_client_of_the_echo_server_is_cancelled() -> None:
    async def scenario(region: CancelRegion) -> None:
        with region:
            async with open_client(StdioClientTransport(ECHO)) as client:
                await client.request("tools/call", {"name": "progress", "arguments": {"steps": 2}}, on_progress=print)

    # At most 60 points one by one, then every fourth: a run costs a tenth of a second and more.
    points = cancel_at_every_checkpoint(scenario, real_clock=True, dense=60, stride=4)
    assert 15 < points <= 120


@covers_by_test("spawn")
def test_starting_a_child_is_cancelled() -> None:
    async def scenario(region: CancelRegion) -> None:
        child = None
        with region:
            child = await spawn(RESPONDER, stderr="capture")
        if child is not None:
            await child.shutdown()

    assert 2 <= cancel_at_every_checkpoint(scenario, real_clock=True) <= 20


@covers_by_test("Child.shutdown", "Child.wait")
@pytest.mark.parametrize("stubborn", [False, True])
def test_ending_a_child_is_cancelled(stubborn: bool) -> None:
    ignore = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    command = [sys.executable, "-S", "-c", ignore] if stubborn else RESPONDER

    async def scenario(region: CancelRegion) -> None:
        child = await spawn(command)
        try:
            if stubborn:
                await child.stdout.receive_some()
            with region:
                await child.shutdown(eof_grace=0.05 if stubborn else 2, term_grace=0.05)
            assert child.exit_status is not None
        finally:
            await child.shutdown()

    assert 1 <= cancel_at_every_checkpoint(scenario, real_clock=True) <= 60


@covers_by_test("Child.wait")
def test_waiting_for_a_child_is_cancelled() -> None:
    async def scenario(region: CancelRegion) -> None:
        child = await spawn(RESPONDER)
        try:
            with region:
                child.stdin.close()
                await child.wait()
        finally:
            await child.shutdown()

    assert 1 <= cancel_at_every_checkpoint(scenario, real_clock=True) <= 20


@covers_by_test("StdioServerTransport.run", "serve")
def test_serving_standard_input_is_cancelled() -> None:
    lines = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n{"jsonrpc":"2.0","id":2,"method":"slow","params":{}}\n'

    async def scenario(region: CancelRegion) -> None:
        kept = os.dup(0), os.dup(1)
        (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
        try:
            os.dup2(their_in, 0)
            os.dup2(their_out, 1)
            os.write(our_out, lines)
            os.close(our_out)
            our_out = -1
            with region:
                eras = trio_mcp_transport.EraPolicy(plain=True)
                await serve(
                    Handlers(lambda message, context: {}), StdioServerTransport(), server_info=SERVER, eras=eras
                )
            assert os.get_blocking(0) and os.get_blocking(1)
            assert (os.fstat(0).st_ino, os.fstat(1).st_ino) == (os.fstat(their_in).st_ino, os.fstat(their_out).st_ino)
        finally:
            os.dup2(kept[0], 0)
            os.dup2(kept[1], 1)
            for fd in (*kept, their_in, our_in, their_out, our_out):
                if fd >= 0:
                    os.close(fd)

    assert cancel_at_every_checkpoint(scenario, real_clock=True) > 10


def test_every_public_coroutine_has_a_scenario() -> None:
    assert public_coroutines() - CONTRACTS - COVERED == set()


def test_every_covered_coroutine_exists() -> None:
    assert COVERED - public_coroutines() == BESIDES
    assert CONTRACTS - public_coroutines() == set()


def test_a_new_coroutine_would_be_seen() -> None:
    assert {"serve", "run_client", "open_client.__aenter__", "Client.request", "LegacyMessageContext.log"} <= (
        public_coroutines()
    )
