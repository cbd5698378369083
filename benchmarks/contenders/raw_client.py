"""The raw Trio limit of a stdio client: callers park, one reader wakes them, one writer sends what has gathered.

No deadlines, no cancellation, no validation: a yardstick that must never grow a feature with a cost.
"""

from __future__ import annotations

import os
import subprocess

import msgspec
import outcome
import trio
from client_common import Plan, measure
from raw_server import Lines
from trio_load import run_all

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "0"},
}


class Content(msgspec.Struct):
    """One content of a result."""

    text: str


class Result(msgspec.Struct):
    """The result of the echo tool."""

    content: list[Content]


class Answer(msgspec.Struct):
    """An answer to an echo call."""

    id: int
    result: Result


class Client:
    """One connection to a child over non-blocking pipes."""

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._parked: dict[int, trio.lowlevel.Task] = {}
        self._pending: list[bytes] = []
        self._writer: trio.lowlevel.Task | None = None
        self._next = 0
        self._decode = msgspec.json.Decoder(Answer).decode
        self._encode = msgspec.json.Encoder().encode
        self._meta = self._encode(META)

    async def call(self, text: str) -> str:
        """Call the echo tool and return its text."""
        self._next = number = self._next + 1
        self._pending.append(
            b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":%s},"_meta":%s}}\n'
            % (number, self._encode(text), self._meta)
        )
        if self._writer is not None:
            trio.lowlevel.reschedule(self._writer)
            self._writer = None
        self._parked[number] = trio.lowlevel.current_task()
        answer: Answer = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        return answer.result.content[0].text

    async def write(self) -> None:
        """Write whatever the callers of one scheduler pass have put, for ever."""
        while True:
            if not self._pending:
                self._writer = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)
            data = memoryview(b"".join(self._pending))
            self._pending.clear()
            while data:
                try:
                    data = data[os.write(self._sink, data) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._sink)

    async def read(self) -> None:
        """Wake the caller of each answer, for ever."""
        cut, decode, parked, reschedule = Lines().cut, self._decode, self._parked, trio.lowlevel.reschedule
        while True:
            await trio.lowlevel.wait_readable(self._source)
            for line in cut(os.read(self._source, 65536)):
                answer = decode(line)
                reschedule(parked.pop(answer.id), outcome.Value(answer))


def start(plan: Plan) -> subprocess.Popen[bytes]:
    """Start the server; blocking is fine before there is anything to serve."""
    return subprocess.Popen(plan.server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


async def main(plan: Plan) -> None:
    """Start the server, measure, and let it go."""
    with start(plan) as child:
        assert child.stdin is not None and child.stdout is not None
        client = Client(child.stdout.fileno(), child.stdin.fileno())
        os.set_blocking(child.stdin.fileno(), False)
        os.set_blocking(child.stdout.fileno(), False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.read)
            nursery.start_soon(client.write)
            await measure(plan, client.call, run_all)
            nursery.cancel_scope.cancel()
        child.stdin.close()


if __name__ == "__main__":
    trio.run(main, Plan())
