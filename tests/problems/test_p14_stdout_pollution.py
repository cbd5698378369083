"""Problem 14: a stray print, or one bad line, kills the session.

The published test: what handlers print never reaches the wire; bad JSON is answered with -32700 and the next request
is served; a client sees a line that is no protocol as an event, and lives on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import trio

from tests.processes import ECHO, PROGRAMS, encode, request, running, until
from trio_mcp_transport import Handlers, MessageContext, MessageError, StdioClientTransport, TransportError, open_client

UNRULY = [sys.executable, str(PROGRAMS / "unruly_server.py")]
POLLUTING = [sys.executable, str(PROGRAMS / "polluting_server.py")]


@pytest.mark.requirement("M-IO-05")
async def test_nothing_a_handler_prints_reaches_the_wire(tmp_path: Path) -> None:
    async with running(UNRULY, tmp_path) as server:
        await server.send(request(1, "stray"))
        await server.send(request(2, "quick"))
        answers = [await server.message() for _ in range(2)]
        await server.end_input()
        assert await server.line() == b""
        assert await server.wait() == 0
        log = server.stderr
    assert sorted(answers, key=lambda one: one["id"]) == [
        # The child found an empty standard input: it ate none of the peer's bytes.
        {"jsonrpc": "2.0", "id": 1, "result": {"eaten": ""}},
        {"jsonrpc": "2.0", "id": 2, "result": {}},
    ]
    for stray in ("stray print", "stray write", "forged", "stray descriptor", "stray child"):
        assert stray in log


BAD_LINES = {
    "half an object": b'{"jsonrpc": "2.0", "id": 5, "method"',
    "text": b"hello",
    "invalid utf-8": b'{"jsonrpc":"2.0","id":5,"method":"echo","params":{"a":"\xff"}}',
    "byte order mark": b'\xef\xbb\xbf{"jsonrpc":"2.0","id":5,"method":"echo"}',
    "deep": b"[" * 100_000,
    "beyond a double": b'{"jsonrpc":"2.0","id":5,"method":"echo","params":{"a":1e400}}',
    "lone surrogate": rb'{"jsonrpc":"2.0","id":5,"method":"echo","params":{"a":"\ud800"}}',
}


@pytest.mark.requirement("M-JR-12", "M-JR-19")
async def test_a_bad_line_is_answered_and_the_next_request_is_served(tmp_path: Path) -> None:
    async with running(ECHO, tmp_path) as server:
        for number, bad in enumerate(BAD_LINES.values()):
            await server.send_bytes(bad + b"\n" + encode(request(number, "echo", number=number)))
            refusal, answer = await server.message(), await server.message()
            if "result" in refusal:
                refusal, answer = answer, refusal
            assert refusal["error"]["code"] == -32700
            assert "id" not in refusal
            assert answer == {"jsonrpc": "2.0", "id": number, "result": {"number": number}}
        await server.end_input()
        assert await server.rest() == []
        assert await server.wait() == 0
        assert "Traceback" not in server.stderr


async def test_a_client_sees_pollution_as_an_event() -> None:
    events: list[TransportError] = []

    def note(error: TransportError, context: MessageContext) -> None:
        events.append(error)

    transport = StdioClientTransport(POLLUTING, inherit_env=True)
    with trio.fail_after(10):
        async with open_client(transport, handler=Handlers(error=note), era="auto") as client:
            assert client.era == "modern"
            for _ in range(3):
                assert (await client.request("anything"))["method"] == "anything"
            # Events start in no order, like all handlers, and not before the answer that follows them.
            await until(lambda: len(events) >= 12)
            statistics = transport.statistics()
    assert [type(event) for event in events] == [MessageError] * 12
    frames = [event.frame for event in events if isinstance(event, MessageError)]
    assert sorted(frames) == sorted([b"Loading model ... done", b"\xff\xfe banner", b"[1, 2"] * 4)
    assert (statistics.errors, statistics.messages_received) == (12, 12 + 4)


async def test_a_client_never_answers_pollution(tmp_path: Path) -> None:
    # The server exits with 9 when it is sent anything but requests and notifications.
    transport = StdioClientTransport(POLLUTING, inherit_env=True)
    with trio.fail_after(10):
        async with open_client(transport, era="modern") as client:
            for number in range(20):
                assert (await client.request(f"method-{number}"))["method"] == f"method-{number}"


async def test_output_of_a_server_is_json_lines_and_nothing_else(tmp_path: Path) -> None:
    async with running(UNRULY, tmp_path) as server:
        await server.send(*(request(number, "stray") for number in range(5)))
        lines = [await server.line() for _ in range(5)]
        await server.end_input()
        lines += [line for line in [await server.line()] if line]
    assert sorted(json.loads(line)["id"] for line in lines) == list(range(5))
