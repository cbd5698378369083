"""`MockTransport`: the other side of a conversation, written down by a test.

Must never touch a descriptor or the real clock: under a virtual clock a delay of an hour costs nothing.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

import trio

from ..abc import ClientTransport, ServerTransport
from ..connect import ClientConnection, ClientSetup
from ..context import ConnectionInfo
from ..errors import ConnectionClosed, ConnectionFailed, LocalProtocolError, RpcError
from ..intake import Intake
from ..metrics import TransportMetrics, TransportStatistics
from ..pipe.client import PipeConnection
from ..pipe.end import connection_id
from ..pipe.server import serve_link
from ..transports.negotiation import ModernTerms
from ..wire import messages
from ..wire.codes import METHOD_NOT_FOUND
from ..wire.envelope import ClientInfo, ServerInfo
from ..wire.messages import Message, MessageId, Notification, Request
from ..wire.modern import discover_result
from ..wire.revisions import LEGACY
from .mock_link import MockLink
from .mock_record import MockRecord
from .mock_script import Answer, Reply, Script

__all__ = ["MockTransport"]

Era = Literal["modern", "legacy"]


class MockTransport(MockRecord, ClientTransport, ServerTransport):
    """Plays a server for a client under test, or a client for a handler under test; records what it is sent.

    As a client transport it answers requests from its script::

        mock = MockTransport()
        mock.on("tools/call", {"content": []}, RpcError(7, "no"))
        async with open_client(mock) as client:
            await client.request("tools/call", {"name": "x"})
        mock.assert_sent("tools/call", {"name": "x"})

    As a server transport it plays requests at a handler, while `serve` runs in the same nursery::

        nursery.start_soon(serve, handler, mock)
        assert await mock.request("tools/call", {"name": "x"}) == {"content": []}
        mock.end()

    And by itself it is an object with ``send``, ``receive`` and ``close``, as `adapters.blocking` runs them.

    The handshake of its era is answered, or begun, by itself, unless the script says otherwise.  A request that nothing
    was prepared for is an error: the connection fails and the error says which request it was.  An object runs once.
    """

    def __init__(self, *, era: Era = "modern", handshake: bool = True) -> None:
        """Prepare a conversation.

        Args:
            era: What the played side speaks.
            handshake: Whether ``server/discover``, ``initialize`` and ``ping`` are answered, or a legacy session is
                begun, without a word in the script.
        """
        super().__init__()
        self.era: Era = era
        self._handshake = handshake
        self._script = Script()
        self._link = MockLink(self._obey)
        self._metrics = TransportMetrics()
        self._ids = itertools.count(1)
        self._closed = self._used = False
        self._begun: deque[Message | bytes | None] = deque()  # what `receive` gives next; None disconnects
        self._terms = ModernTerms(ClientInfo("mock", "0"))

    # The script.

    def add_response(self, response: Answer) -> None:
        """Add what answers the next request that `on` does not claim.

        Args:
            response: A result, an `RpcError`, a `Response` (which gets the request's id), another message or bytes
                (which are passed on as they are), or a `Reply`.
        """
        self._script.add(response)

    def on(self, method: str, *answers: Answer | Callable[[Request], Answer], always: bool = False) -> None:
        """Add answers for the requests of a method, in order.

        Args:
            method: The method.
            *answers: As for `add_response`, or functions that get the `Request` and return one; without any, an empty
                result.
            always: Give the last answer for ever; it need not be used at all.
        """
        self._script.on(method, answers, always)

    def push(self, *what: Message | bytes, delay: float = 0.0) -> None:
        """Send messages, or bytes in place of one, to the side under test; synchronous.

        Args:
            *what: In order.
            delay: Seconds on Trio's clock.
        """
        for one in what:
            self._link.deliver(one, delay)

    def disconnect(self, error: Exception | None = None, *, delay: float = 0.0) -> None:
        """Break the connection: the side under test gets `ConnectionFailed`, or ``error``; synchronous."""
        self._link.deliver(error or ConnectionFailed("the mock transport was told to disconnect"), delay)

    def end(self, *, delay: float = 0.0) -> None:
        """End the played side's writing: a server under test drains, a client under test has lost it; synchronous."""
        self._link.deliver(None, delay)

    def assert_all_used(self) -> None:
        """Assert that every answer of the script was used, and every request had one.

        Raises:
            AssertionError: Some were not; the text lists them, and what was sent.
        """
        lines = [f"not used: {left}" for left in self._script.left()]
        lines += [f"without an answer: {request.method} ({request.id!r})" for request in self.unexpected]
        if lines:
            raise AssertionError("\n".join([*lines, self._listing()]))

    # A client that plays at a handler.

    def play(self, method: str, params: Mapping[str, Any] | None = None, *, id: MessageId | None = None) -> MessageId:
        """Send a request to the handler under test and return its id; synchronous."""
        id_ = next(self._ids) if id is None else id
        self.push(Request(id_, method, self._prepared(params)))
        return id_

    async def request(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request to the handler under test and return the result.  A checkpoint; cancelled, so is the request.

        Raises:
            RpcError: The handler answered with an error.
        """
        id_ = self.play(method, params)
        try:
            response = await self.wait_response(id_)
        except trio.Cancelled:
            self.cancel(id_)
            raise
        if response.error is not None:
            raise response.error
        result: dict[str, Any] = response.result
        return result

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send a notification to the handler under test; synchronous."""
        self.push(Notification(method, params))

    def cancel(self, id_: MessageId, reason: str = "the test says so") -> None:
        """Cancel a request that was played; synchronous."""
        self.push(Notification("notifications/cancelled", {"requestId": id_, "reason": reason}))

    def _prepared(self, params: Mapping[str, Any] | None) -> Any:
        return self._terms.prepare(params, None) if self.era == "modern" else params

    # A pair of send and receive.

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Record a message; a checkpoint.

        Raises:
            ConnectionClosed: It was closed.
        """
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise ConnectionClosed("the mock transport is closed")
        self.note(bytes(data))

    async def receive(self) -> bytes:
        """Return the next response that was added, as bytes, and what goes before it; a checkpoint.

        Cancelled, nothing is lost.

        Raises:
            ConnectionClosed: It was closed.
            ConnectionFailed: The script disconnects here.
            LocalProtocolError: No response was added.
        """
        while True:
            await trio.lowlevel.checkpoint()
            if self._closed:
                raise ConnectionClosed("the mock transport is closed")
            if self._begun:
                one = self._begun.popleft()
                if one is None:
                    raise ConnectionFailed("the mock transport was told to disconnect")
                return one if isinstance(one, bytes) else messages.encode(one)
            reply = self._script.first_in_order()
            if reply is None:
                raise LocalProtocolError("no response was added to the mock transport")
            await trio.sleep(reply.delay)
            self._script.drop_first()
            self._begun.extend([*reply.messages(self._asked()), *([None] if reply.disconnect else [])])

    async def close(self) -> None:
        """Refuse everything from now on; a checkpoint."""
        self._closed = True
        await trio.lowlevel.checkpoint()

    def _asked(self) -> Request:
        """Return the request that was sent last, which a response without an id of its own answers."""
        requests = [message for message in self.sent_messages if isinstance(message, Request)]
        return requests[-1] if requests else Request(1, "none")

    # A transport of either side.

    @property
    def address(self) -> str:
        """``mock:``."""
        return "mock:"

    def statistics(self) -> TransportStatistics:
        """Return a snapshot of the counters."""
        return self._metrics.snapshot()

    async def run(self, side: Any, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Run as what `open_client` or `serve` takes it for; see `abc.ClientTransport` and `abc.ServerTransport`.

        Raises:
            LocalProtocolError: It has run before.
            ConnectionClosed: It was closed.
            TransportError: As a client transport: the connection ended.
        """
        if self._used:
            raise LocalProtocolError("a transport object runs once")
        if self._closed:
            raise ConnectionClosed("the mock transport is closed")
        self._used = True
        if isinstance(side, ClientSetup):
            await self._run_client(side, task_status)
        else:
            await self._run_server(side, task_status)

    async def _run_client(self, setup: ClientSetup, task_status: trio.TaskStatus[ClientConnection]) -> None:
        info = ConnectionInfo(transport="mock", connection_id=connection_id("mock"))
        await PipeConnection(setup, self._link, info, self._metrics).run(task_status=task_status)

    async def _run_server(self, exchanges: Intake, task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
        info = ConnectionInfo(transport="mock", connection_id=connection_id("mock"))
        if self.era == "legacy" and self._handshake:
            self._link.deliver_first(Notification("notifications/initialized"))
            self._link.deliver_first(_initialize())
        task_status.started(("mock:",))
        await serve_link(exchanges, self._link, info, self._metrics)

    def _obey(self, message: Message) -> None:
        """Take a message of the side under test, and send what the script answers."""
        self.note(message)
        if not isinstance(message, Request):
            return
        reply = self._script.next_for(message) if not self._is_handshake(message) else self._shake_hands(message)
        if reply is None:
            self.unexpected.append(message)
            self.disconnect(ConnectionFailed(f"the mock transport has no answer for {message.method} ({message.id!r})"))
            return
        self.push(*reply.messages(message), delay=reply.delay)
        if reply.disconnect:
            self.disconnect(delay=reply.delay)

    def _is_handshake(self, request: Request) -> bool:
        known = request.method in ("server/discover", "initialize", "ping")
        return known and self._handshake and not self._script.claims(request.method)

    def _shake_hands(self, request: Request) -> Reply:
        if request.method == "ping":
            return Reply()
        if request.method == "server/discover" and self.era == "modern":
            return Reply(result=discover_result(ServerInfo("mock", "0")))
        if request.method == "initialize" and self.era == "legacy":
            info = {"name": "mock", "version": "0"}
            asked = request.params.get("protocolVersion")
            revision = asked if asked in LEGACY else LEGACY[0]
            return Reply(result={"protocolVersion": revision, "capabilities": {}, "serverInfo": info})
        return Reply(error=RpcError(METHOD_NOT_FOUND, f"{request.method} is not spoken in the {self.era} era"))


def _initialize() -> Request:
    info = {"name": "mock", "version": "0"}
    params = {"protocolVersion": LEGACY[0], "capabilities": {}, "clientInfo": info}
    return Request("handshake", "initialize", params)
