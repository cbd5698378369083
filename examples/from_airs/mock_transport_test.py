"""AIRS' ``MockTransport`` and its test, and the same mock under a server and under a client of this library.

A mock fails where another transport would wait: `receive` without a response is an error.  ``lockstep=True`` says so,
and it is asked only while an answer is due.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import trio
from airs_errors import Closed, Format

from trio_mcp_transport import FramingError, Handlers, MessageContext, Request, ServerInfo, TransportError
from trio_mcp_transport.adapters.blocking import open_bytes_client, serve_bytes

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


class MockTransport:
    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.responses: deque[bytes] = deque()
        self.closed = False

    def add_response(self, response: bytes) -> None:
        self.responses.append(response)

    def get_sent_messages(self) -> list[bytes]:
        return list(self.messages)

    async def send(self, message: bytes) -> None:
        if self.closed:
            raise Closed("the transport is closed")
        self.messages.append(message)

    async def receive(self) -> bytes:
        if self.closed:
            raise Closed("the transport is closed")
        if not self.responses:
            raise Format("No response available")
        return self.responses.popleft()

    async def close(self) -> None:
        self.closed = True


async def test_mock_transport() -> None:
    transport = MockTransport()
    transport.add_response(b"test response")
    await transport.send(b"test message")
    assert await transport.receive() == b"test response"
    assert transport.get_sent_messages() == [b"test message"]


async def test_under_a_server() -> None:
    """What the mock holds are requests here, and what was sent are the answers."""
    errors: list[TransportError] = []

    async def ping(request: Request, context: MessageContext) -> Any:
        return {"pong": request.params["number"]}

    transport = MockTransport()
    for number in (1, 2):
        params = {"number": number, "_meta": ENVELOPE}
        request = {"jsonrpc": "2.0", "id": number, "method": "example/ping", "params": params}
        transport.add_response(json.dumps(request).encode())
    handlers = Handlers(request=ping, error=lambda error, context: errors.append(error))
    await serve_bytes(handlers, transport, lockstep=True, server_info=ServerInfo("mock", "1.0"))

    answers = [json.loads(message) for message in transport.get_sent_messages()]
    assert [(answer["id"], answer["result"]["pong"]) for answer in answers] == [(1, 1), (2, 2)]
    # The script ran out, which this mock calls an error.
    assert [type(error) for error in errors] == [FramingError]
    assert transport.closed


async def test_under_a_client() -> None:
    transport = MockTransport()
    for number in (1, 2):
        result = {"resultType": "complete", "pong": number}
        transport.add_response(json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode())
    async with open_bytes_client(transport, lockstep=True, era="modern", discover=False) as client:
        for number in (1, 2):
            assert (await client.request("example/ping"))["pong"] == number
        failure: TransportError | None = None
        try:
            await client.request("example/ping")
        except FramingError as error:
            failure = error
        assert failure is not None, "there was no third response"
        assert isinstance(failure.__cause__, Format)
    assert [json.loads(message)["method"] for message in transport.get_sent_messages()] == ["example/ping"] * 3


async def main() -> None:
    for test in (test_mock_transport, test_under_a_server, test_under_a_client):
        await test()
        print("passed:", test.__name__)


if __name__ == "__main__":
    trio.run(main)
