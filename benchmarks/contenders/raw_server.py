"""The raw Trio limit of a stdio echo server: what no framework on Trio can beat.

One task reads fd 0, splits lines, decodes with msgspec, encodes the answer inline and writes once per chunk.
There are no tasks per request, no cancellation, no limits and no validation: it is a yardstick and
must never grow a feature that costs something on the `tools/call` path.

Options: `--fdstream` goes through `trio.lowlevel.FdStream`, whose every read and write pays a checkpoint first, where
the default tries the system call first; `--cpu N` pins the process, for the client cells that start it as a child.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio

READ_SIZE = 65536  # the default capacity of a Linux pipe: a larger read never returns more


class Arguments(msgspec.Struct):
    """The arguments of the echo tool."""

    text: str


class Params(msgspec.Struct):
    """Params of `tools/call`; `_meta` is skipped, as the yardstick validates nothing."""

    name: str
    arguments: Arguments


class Call(msgspec.Struct):
    """A `tools/call` request."""

    id: int
    method: str
    params: Params


class Text(msgspec.Struct):
    """One text content."""

    text: str
    type: str = "text"


class Result(msgspec.Struct):
    """A `CallToolResult`; `resultType` is required since 2026-07-28 and ignored before."""

    content: tuple[Text]
    resultType: str = "complete"


class Reply(msgspec.Struct):
    """The answer to a `tools/call`."""

    id: int
    result: Result
    jsonrpc: str = "2.0"


decode_call = msgspec.json.Decoder(Call).decode
encode = msgspec.json.Encoder().encode


def answer_other(line: bytes) -> bytes | None:
    """Answer what is not an echo call: the handshakes of both eras, `ping`, and the list of tools."""
    message: dict[str, Any] = msgspec.json.decode(line)
    if "id" not in message or "method" not in message:
        return None
    info = {"name": "raw", "version": "0"}
    tool = {"name": "echo", "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}}}
    cache = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
    results: dict[str, dict[str, Any]] = {
        "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info},
        "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "serverInfo": info}
        | cache,
        "tools/list": {"tools": [tool]} | cache,
        "ping": {},
    }
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] in results:
        return encode(reply | {"result": results[message["method"]]}) + b"\n"
    return encode(reply | {"error": {"code": -32601, "message": "Method not found"}}) + b"\n"


def answer(line: bytes) -> bytes | None:
    """Answer one line; None when it asks for nothing."""
    try:
        call = decode_call(line)
    except msgspec.ValidationError:
        return answer_other(line)
    return encode(Reply(call.id, Result((Text(call.params.arguments.text),)))) + b"\n"


class Lines:
    """Cuts chunks into lines; pieces of an unfinished line are joined once."""

    def __init__(self) -> None:
        self._tail: list[bytes] = []

    def cut(self, chunk: bytes) -> list[bytes]:
        """Take a chunk and return the lines it completes."""
        lines = chunk.split(b"\n")
        if len(lines) == 1:
            self._tail.append(chunk)
            return []
        if self._tail:
            self._tail.append(lines[0])
            lines[0] = b"".join(self._tail)
        last = lines.pop()
        self._tail = [last] if last else []
        return lines


async def write_first(data: bytes) -> None:
    """Write everything to fd 1, waiting for the pipe only when it is full."""
    try:
        sent = os.write(1, data)
    except BlockingIOError:
        sent = 0
    view = memoryview(data)
    while sent < len(data):
        await trio.lowlevel.wait_writable(1)
        sent += os.write(1, view[sent:])


async def read_first() -> bytes:
    """Read a chunk from fd 0, waiting for the pipe only when it is empty; `b""` at the end."""
    while True:
        try:
            return os.read(0, READ_SIZE)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(0)


async def serve(read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]) -> None:
    """Serve until end of input."""
    cut = Lines().cut
    while chunk := await read():
        answers = [reply for line in cut(chunk) if (reply := answer(line)) is not None]
        if answers:
            await write(answers[0] if len(answers) == 1 else b"".join(answers))


async def main(fdstream: bool) -> None:
    """Serve fd 0 and fd 1 in the chosen way."""
    if fdstream:
        source, sink = trio.lowlevel.FdStream(0), trio.lowlevel.FdStream(1)
        await serve(source.receive_some, sink.send_all)
        return
    os.set_blocking(0, False)
    os.set_blocking(1, False)
    await serve(read_first, write_first)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fdstream", action="store_true")
    parser.add_argument("--cpu", type=int)
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    trio.run(main, options.fdstream)
