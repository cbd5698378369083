"""Sockets and TLS, cancelled at every checkpoint: no descriptor, task or file is left, and the peer learns of it.

Over sockets the clock is real, one connection is made per run, and every point is taken.  TLS alone runs over memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.cancelling import covers_by_test
from tests.certificates import client_context, server_context
from tests.socket_servers import connect_raw
from trio_mcp_transport import (
    ConnectionFailed,
    Handlers,
    SecureStream,
    ServerInfo,
    TcpClientTransport,
    TcpServerTransport,
    TransportError,
    UnixClientTransport,
    UnixServerTransport,
    WebSocketClientTransport,
    WebSocketServerTransport,
    open_client,
    serve,
)
from trio_mcp_transport.testing import CancelRegion, byte_stream_pair, cancel_at_every_checkpoint

SERVER = ServerInfo("server", "1")
AT_ONCE = 1.0
"""Seconds from a cancellation to the end, on a machine that does something else meanwhile; the bounds of an orderly
end are 5 s each."""
LARGE = 300_000
"""Characters that no socket takes in one go."""


@attrs.define
class Channel:
    """A kind of socket: its two transports, and what its address leads to."""

    kind: str
    folder: Path

    def server(self) -> Any:
        if self.kind == "unix":
            return UnixServerTransport(self.folder / "socket")
        context = server_context() if self.kind in ("tls", "wss") else None
        if self.kind in ("tcp", "tls"):
            return TcpServerTransport(ssl_context=context)
        return WebSocketServerTransport(ssl_context=context, engine="native" if self.kind != "library" else ENGINE)

    def client(self, address: str) -> Any:
        if self.kind == "unix":
            return UnixClientTransport.from_address(address)
        context = client_context() if self.kind in ("tls", "wss") else None
        if self.kind in ("tcp", "tls"):
            return TcpClientTransport.from_address(address, ssl_context=context)
        return WebSocketClientTransport(
            address, ssl_context=context, engine="native" if self.kind != "library" else ENGINE
        )

    async def assert_gone(self, address: str) -> None:
        """See that nobody listens any more, and that no socket is left in the file system."""
        assert os.listdir(self.folder) == []
        with pytest.raises(OSError, match=r"connect|No such file"):
            await raw(address)


ENGINE: Any = "trio-websocket"
KINDS = pytest.mark.parametrize("kind", ["tcp", "tls", "unix", "native", "library", "wss"])


async def raw(address: str) -> trio.abc.Stream:
    """Connect without a word."""
    if address.startswith("ws"):
        address = "tcp:" + address.partition(":")[2].rstrip("/")
    return (await connect_raw(address)).stream


class Announced:
    """A `trio.TaskStatus` somebody else waits for: a cancelled server need not have come that far."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self._address = ""

    def started(self, value: Any = ("",)) -> None:
        (self._address,) = value
        self._event.set()

    async def address(self) -> str:
        await self._event.wait()
        return self._address

    @property
    def begun(self) -> str | None:
        return self._address or None


class Log:
    """A handler that answers in steps, and what it saw of connections."""

    def __init__(self) -> None:
        self.closed = 0
        self.failures: list[str] = []
        self.changed = trio.Event()

    def handlers(self) -> Handlers:
        return Handlers(self._answer, error=self._error, close=self._close)

    async def _error(self, error: TransportError, context: Any) -> None:
        self.failures.append(str(error))

    async def _answer(self, message: Any, context: Any) -> Any:
        await context.progress(1)
        await trio.lowlevel.checkpoint()
        return {"text": message.params.get("text")}

    async def _close(self, context: Any) -> None:
        self.closed += 1
        self.changed.set()

    async def wait_closed(self, count: int) -> None:
        """Wait until so many connections have ended, and see that no other one does."""
        with trio.fail_after(5):
            while self.closed < count:
                self.changed = trio.Event()
                await self.changed.wait()
        assert self.closed == count


async def ask(client: Any) -> None:
    for text in ("small", "x" * LARGE):
        assert (await client.request("echo", {"text": text}, on_progress=lambda params: None))["text"] == text


def every_point(scenario: Callable[[CancelRegion, Path], Awaitable[None]]) -> int:
    async def with_folder(region: CancelRegion) -> None:
        with tempfile.TemporaryDirectory() as folder:
            await scenario(region, Path(folder))
            assert os.listdir(folder) == []

    return cancel_at_every_checkpoint(with_folder, real_clock=True, within=AT_ONCE)


@covers_by_test("TcpServerTransport.run", "UnixServerTransport.run", "WebSocketServerTransport.run", "serve")
@KINDS
def test_serving_a_socket_is_cancelled(kind: str) -> None:
    failures: set[str] = set()

    async def scenario(region: CancelRegion, folder: Path) -> None:
        channel, log, announced, shutdown = Channel(kind, folder), Log(), Announced(), trio.Event()
        transport = channel.server()

        async def use() -> None:
            address = await announced.address()
            silent = None
            try:
                silent = await raw(address)
                async with open_client(channel.client(address), era="modern") as client:
                    await ask(client)
            except (OSError, TransportError) as error:
                failures.add(str(error) if region.reached else "no cancellation: " + repr(error))
            shutdown.set()
            if silent is not None:
                # Whoever has said nothing yet sees the end as well.
                try:
                    with trio.fail_after(5):
                        await silent.receive_some()
                except trio.BrokenResourceError:
                    assert region.reached
                await silent.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            with region:
                await serve(
                    log.handlers(),
                    transport,
                    server_info=SERVER,
                    shutdown=shutdown,
                    task_status=announced,
                )
            if announced.begun is None:
                nursery.cancel_scope.cancel()
            else:
                await channel.assert_gone(announced.begun)
        assert log.closed == transport.statistics().connection_count

    assert every_point(scenario) > 30
    assert not [failure for failure in failures if "no cancellation" in failure]
    if kind in ("native", "library", "wss"):
        # Unless a frame was torn, a cancelled server says that it goes away.
        assert any("code 1001" in failure for failure in failures), failures


@covers_by_test("TcpClientTransport.run", "UnixClientTransport.run", "WebSocketClientTransport.run")
@KINDS
def test_a_client_of_a_socket_is_cancelled(kind: str) -> None:
    orderly = 0

    async def scenario(region: CancelRegion, folder: Path) -> None:
        nonlocal orderly
        channel, log, announced, shutdown = Channel(kind, folder), Log(), Announced(), trio.Event()
        transport = channel.server()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def run() -> None:
                await serve(
                    log.handlers(), transport, server_info=SERVER, shutdown=shutdown, task_status=announced, drain=0.5
                )

            address = await announced.address()
            with region:
                async with open_client(channel.client(address), era="modern") as client:
                    await ask(client)
            # The server has seen the end of every connection that stood, and serves the next one.
            async with open_client(channel.client(address), era="modern") as client:
                await ask(client)
            await log.wait_closed(transport.statistics().connection_count)
            statistics = transport.statistics()
            assert (statistics.in_flight, statistics.pending, statistics.outbox_bytes) == (0, 0, 0)
            orderly += region.cancelled and log.closed == 2 and not log.failures
            shutdown.set()
        await channel.assert_gone(address)

    assert every_point(scenario) > 30
    # Unless a frame was torn, a cancelled client says that it goes away, so that the server need not guess: 50 runs to
    # 110.  Otherwise only one that was closing anyway would: in 40 at most.
    assert orderly > 45


# TLS over memory.


SMALL = 1500
"""Bytes the stream below holds: less than a record, so that every write waits."""


def secure_pair(capacity: int = SMALL) -> tuple[SecureStream, SecureStream, Any, Any]:
    near, far = byte_stream_pair(capacity)
    return (
        SecureStream(near, ssl_context=client_context(), server_hostname="localhost"),
        SecureStream(far, ssl_context=server_context(), server_side=True),
        near,
        far,
    )


async def shaken_pair(capacity: int = SMALL) -> tuple[SecureStream, SecureStream, Any, Any]:
    near, far, *below = secure_pair(capacity)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.do_handshake)
        nursery.start_soon(far.do_handshake)
    return near, far, below[0], below[1]


class Listener:
    """Reads the far side to its end, whatever that is."""

    def __init__(self, stream: SecureStream) -> None:
        self.received = bytearray()
        self.failure: BaseException | None = None
        self._stream = stream

    async def run(self) -> None:
        try:
            while data := await self._stream.receive_some():
                self.received += data
        except (trio.BrokenResourceError, ConnectionFailed) as error:
            self.failure = error


def assert_closed(below: Any) -> None:
    assert below._outgoing.sender_closed
    assert below._incoming.receiver_closed


async def assert_alive(near: SecureStream, far: SecureStream) -> None:
    """See that both directions work."""
    with trio.fail_after(5):
        for one, other in ((near, far), (far, near)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.send_all, b"alive")
                received = b""
                while len(received) < 5:
                    received += await other.receive_some()
            assert received == b"alive"


@covers_by_test("SecureStream.do_handshake")
def test_a_handshake_is_cancelled() -> None:
    outcomes: set[str] = set()

    async def scenario(region: CancelRegion) -> None:
        near, far, below, _ = secure_pair()
        listener = Listener(far)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.run)
            with region:
                await near.do_handshake()
            try:
                with trio.fail_after(5):
                    await near.do_handshake()
                    await near.send_all(b"data")
                outcome = "cancelled before it began" if region.cancelled else "shaken"
            except trio.BrokenResourceError:
                assert region.cancelled
                outcome = "poisoned"
                for call in (lambda: near.send_all(b"x"), near.send_eof, near.receive_some):
                    with pytest.raises(trio.BrokenResourceError, match="handshake"):
                        await call()
            outcomes.add(outcome)
            await near.aclose()
        assert_closed(below)
        assert bytes(listener.received) == (b"" if outcome == "poisoned" else b"data")
        assert (listener.failure is not None) is (outcome == "poisoned")
        await far.aclose()

    assert cancel_at_every_checkpoint(scenario, within=0) > 5
    assert outcomes == {"cancelled before it began", "poisoned", "shaken"}


@covers_by_test("SecureStream.receive_some")
@pytest.mark.parametrize("size", [700, 20_000])
def test_a_cancelled_receive_loses_nothing(size: int) -> None:
    data = bytes(range(256)) * 40

    async def scenario(region: CancelRegion) -> None:
        near, far, below, _ = await shaken_pair()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                for start in range(0, len(data), 3000):
                    await far.send_all(data[start : start + 3000])
                    await trio.sleep(1)
                await far.send_eof()

            received = bytearray()
            with region:
                while len(received) < len(data):
                    received += await near.receive_some(size)
            while more := await near.receive_some(size):
                received += more
            assert received == data
            await near.send_all(b"answer")
            assert await far.receive_some() == b"answer"
        await near.aclose()
        assert await far.receive_some() == b""
        await far.aclose()
        assert_closed(below)

    assert cancel_at_every_checkpoint(scenario, within=0) > 20


@covers_by_test("SecureStream.send_all")
def test_a_cancelled_send_ends_the_sending() -> None:
    outcomes: set[str] = set()
    chunks = [letter * 3000 for letter in (b"a", b"b", b"c")]

    async def scenario(region: CancelRegion) -> None:
        near, far, below, _ = await shaken_pair()
        listener, sent = Listener(far), 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.run)
            with region:
                for chunk in chunks:
                    await near.send_all(chunk)
                    sent += 1
            try:
                await near.send_all(b"last")
            except trio.BrokenResourceError:
                assert region.cancelled
                outcomes.add("poisoned")
                with pytest.raises(trio.BrokenResourceError):
                    await near.send_eof()
                # The other direction does not suffer.
                await far.send_all(b"answer")
                assert await near.receive_some() == b"answer"
                await near.aclose()
            else:
                outcomes.add("intact")
                await near.aclose()
        # The far side has every chunk that was sent, nothing behind half a record, and no orderly end after one.
        whole = b"".join(chunks)
        if listener.failure is None:
            assert listener.received == b"".join(chunks[:sent]) + b"last"
        else:
            assert region.cancelled and whole.startswith(listener.received)
            assert len(listener.received) >= sent * 3000
        await far.aclose()
        assert_closed(below)

    assert cancel_at_every_checkpoint(scenario, within=0) > 10
    assert outcomes == {"poisoned", "intact"}


@covers_by_test("SecureStream.wait_send_all_might_not_block")
def test_a_cancelled_wait_for_room_changes_nothing() -> None:
    async def scenario(region: CancelRegion) -> None:
        near, far, below, _ = await shaken_pair()
        full = b"x" * (SMALL - 22)  # RFC 8446 section 5.2: a header, the type, and the tag of any cipher it names
        await near.send_all(full)
        assert len(below._outgoing.buffer) == SMALL
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def read() -> None:
                await trio.sleep(1)
                assert await far.receive_some() == full

            with region:
                await near.wait_send_all_might_not_block()
                assert trio.current_time() >= 1
        await assert_alive(near, far)
        await near.aclose()
        assert await far.receive_some() == b""
        await far.aclose()

    assert cancel_at_every_checkpoint(scenario, within=0) >= 3


@covers_by_test("SecureStream.send_eof")
def test_a_cancelled_end_is_made_again_or_refused() -> None:
    outcomes: set[str] = set()

    async def scenario(region: CancelRegion) -> None:
        near, far, below, _ = await shaken_pair()
        await near.send_all(b"x" * (SMALL - 22))
        listener = Listener(far)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def listen() -> None:
                await trio.sleep(1)
                await listener.run()

            with region:
                await near.send_eof()
            refused = False
            try:
                await near.send_eof()
            except trio.BrokenResourceError:
                assert region.cancelled
                refused = True
            outcomes.add("refused" if refused else "made")
            if refused:
                await near.aclose()
        # Whoever was told that the end is made can rely on it.
        assert (listener.failure is not None) is refused
        assert len(listener.received) == SMALL - 22
        if not refused:
            await far.send_all(b"answer")
            assert await near.receive_some() == b"answer"
            await near.aclose()
        await far.aclose()
        assert_closed(below)

    assert cancel_at_every_checkpoint(scenario, within=0) >= 3
    assert outcomes == {"made", "refused"}


@covers_by_test("SecureStream.aclose")
@pytest.mark.parametrize("before", ["fresh", "shaken", "clogged"])
def test_closing_is_cancelled_and_closes_all_the_same(before: str) -> None:
    async def scenario(region: CancelRegion) -> None:
        near, far, below, far_below = secure_pair() if before == "fresh" else await shaken_pair()
        if before == "clogged":
            await near.send_all(b"x" * (SMALL - 22))
        with region:
            await near.aclose()
        assert_closed(below)
        await near.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await near.receive_some()
        listener = Listener(far)
        with trio.fail_after(1):
            await listener.run()
        # With room for it the close_notify left, under whatever cancellation.
        assert (listener.failure is None) is (before == "shaken")
        await far.aclose()
        assert_closed(far_below)

    # Without room a second is waited for the last record, shielded.
    assert cancel_at_every_checkpoint(scenario, within=1.0 if before == "clogged" else 0) >= 2
