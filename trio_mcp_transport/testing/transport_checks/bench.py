"""What a check works with: servers and clients of the transport under check, and words for what is expected.

Must never decide that a transport is right; it only says, in a sentence, what was waited for in vain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import UnionType
from typing import Any, Literal

import attrs
import trio

from ...abc import ClientTransport, FrameCodec, MessageHandler, ServerTransport
from ...client import Client
from ...client_block import open_client
from ...deadlines import Deadlines
from ...errors import RpcError, TransportError
from ...limits import Limits
from ...wire.newline import NewlineCodec
from .check import CheckFailed, Need
from .served import ClientFactory, ElsewhereServer, LocalServer, RemoteServer, Served, ServeOptions

__all__ = ["Bench", "Channel", "CheckedEra", "ConnectStream", "MakePair", "Pending", "outcome"]

CheckedEra = Literal["modern", "legacy"]

MakePair = Callable[[], tuple[ServerTransport | RemoteServer, ClientFactory]]
"""Makes a fresh server and what makes its clients."""

ConnectStream = Callable[[tuple[str, ...]], Awaitable[trio.abc.Stream]]
"""Opens a stream to a server with these addresses, ready for frames."""


@attrs.frozen(kw_only=True)
class Channel:
    """The transport under check.

    Attributes:
        make_pair: Makes a fresh server and its clients.
        patience: Seconds after which what should have happened has not.
        connect_stream: Opens a raw stream to the server, where it has one.
        codec: Makes the codec of that stream, for a largest message in bytes.
        abilities: What it can do.
        oversize: What becomes of a connection that got a message over its limit; None for either.
        large: Bytes of a large message.
        injection_points: Most cancel points tried per scenario.
    """

    make_pair: MakePair
    patience: float
    connect_stream: ConnectStream | None
    codec: Callable[[int], FrameCodec] = NewlineCodec
    abilities: frozenset[Need] = frozenset()
    oversize: Literal["goes on", "closes"] | None = None
    large: int = 3_000_000
    injection_points: int = 40


class Bench:
    """The place of one check in one era.

    Attributes:
        era: The era its clients speak.
        channel: The transport under check.
        nursery: Where everything lives.
    """

    def __init__(self, name: str, era: CheckedEra, channel: Channel, nursery: trio.Nursery) -> None:
        self.name = name
        self.era: CheckedEra = era
        self.channel = channel
        self.nursery = nursery
        self.doing: str = "a server that starts"
        self._factory: ClientFactory | None = None

    # Servers and clients.

    async def serve(self, *, limits: Limits | None = None, drain: float | None = None) -> Served:
        """Start a fresh server with a `ProbeHandler`; its clients come from `connect`.  A checkpoint."""
        options = ServeOptions(limits=limits or Limits(), drain=self.channel.patience if drain is None else drain)
        server, self._factory = self.channel.make_pair()
        if isinstance(server, RemoteServer):
            return ElsewhereServer(server, options)
        local = LocalServer(server, options)
        with self.within("a server that reports its addresses with task_status.started"):
            await self.nursery.start(local.run)
        if local.failure is not None:
            raise local.failure
        return local

    def transport(self, served: Served) -> ClientTransport:
        """Return a fresh client transport of the server that was started last."""
        assert self._factory is not None, "a check starts its server first"
        return self._factory(served.addresses)

    def connect(
        self,
        served: Served,
        *,
        transport: ClientTransport | None = None,
        limits: Limits | None = None,
        handler: MessageHandler | None = None,
    ) -> open_client:
        """Return a block with a client of the server that was started last, or over another client transport."""
        deadlines = Deadlines(total=None, connect=self.channel.patience, probe=self.channel.patience)
        return open_client(
            self.transport(served) if transport is None else transport,
            nursery=self.nursery,
            era=self.era,
            limits=limits,
            handler=handler,
            deadlines=deadlines,
        )

    def start(self, client: Client, method: str, /, **params: Any) -> Pending:
        """Send a request in a task of its own and return what will hold its outcome."""
        pending = Pending(client, method, params)
        self.nursery.start_soon(pending.run)
        return pending

    async def ask(self, client: Client, method: str, /, **params: Any) -> dict[str, Any]:
        """Send a request and return its result, within the patience.  A checkpoint."""
        with self.within(f"an answer to {method}"):
            return await client.request(method, params)

    async def assert_alive(self, client: Client, why: str) -> None:
        """See that a connection still works.  A checkpoint."""
        with self.within(f"a connection that still answers after {why}"):
            result = await client.request("check/echo", {"alive": why})
        self.equal(result.get("echo"), {"alive": why}, f"an answer after {why}")

    # Words.

    @contextmanager
    def within(self, expected: str, seconds: float | None = None) -> Iterator[None]:
        """Fail when the block takes longer than the patience, or ``seconds``; its errors are said to come from it."""
        seconds = self.channel.patience if seconds is None else seconds
        self.doing = expected
        with trio.move_on_after(seconds) as scope:
            yield
        if scope.cancelled_caught:
            self.fail(expected, f"it did not come within {seconds:g} s")

    def fail(self, expected: str, found: str) -> None:
        """Fail.

        Raises:
            CheckFailed: Always.
        """
        raise CheckFailed(self.name, self.era, expected, found)

    def true(self, condition: object, expected: str, found: str) -> None:
        """Fail unless the condition holds."""
        if not condition:
            self.fail(expected, found)

    def equal(self, found: object, wanted: object, what: str) -> None:
        """Fail unless the two are equal, and of the same type."""
        if type(found) is not type(wanted) or found != wanted:
            self.fail(f"{what}: {_short(wanted)}", f"it was {_short(found)}")

    def raised(self, found: BaseException | None, wanted: type[BaseException] | UnionType, expected: str) -> None:
        """Fail unless an exception of this class was raised."""
        if not isinstance(found, wanted):
            self.fail(expected, f"it was {found!r}" if found is not None else "nothing was raised")


class Pending:
    """A request in a task of its own.

    Attributes:
        result: Its result, or None so far.
        error: What it raised instead, or None.
        done: Set when one of both is there.
        scope: Cancel it to leave the request.
    """

    def __init__(self, client: Client, method: str, params: dict[str, Any]) -> None:
        self._arguments = (client, method, params)
        self.result: dict[str, Any] | None = None
        self.error: BaseException | None = None
        self.done: trio.Event = trio.Event()
        self.scope: trio.CancelScope = trio.CancelScope()

    async def run(self) -> None:
        """Send it and keep what comes."""
        client, method, params = self._arguments
        self.error = await outcome(lambda: self._ask(client, method, params), self.scope)
        self.done.set()

    async def _ask(self, client: Client, method: str, params: dict[str, Any]) -> None:
        self.result = await client.request(method, params)


async def outcome(
    function: Callable[[], Awaitable[object]], scope: trio.CancelScope | None = None
) -> BaseException | None:
    """Run a function, in a scope where one is given, and return the error of this library it ended with, or None."""
    try:
        with scope or trio.CancelScope():
            await function()
    except (RpcError, TransportError) as error:
        return error
    return None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:120]}... ({len(text)} characters)"
