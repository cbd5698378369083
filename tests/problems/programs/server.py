"""A stdio server for the tests of user problems; every step that matters leaves a line in a journal.

Usage: ``server.py JOURNAL [--embedded] [--within SECONDS] [--drain SECONDS] [--max-message-size BYTES]``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from functools import partial
from typing import Any

import trio

from trio_mcp_transport import (
    EraPolicy,
    Limits,
    MessageHandler,
    RpcError,
    ServerInfo,
    StdioServerTransport,
    Subscriptions,
    run,
    serve,
)

LINGER = 0.02
"""Seconds of work in the shielded cleanup of ``forever``: cleanup gets its time, and cancellation waits for it."""


class Journal:
    """Lines of JSON in a file, with the system-wide monotonic clock."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, event: str, **facts: Any) -> None:
        """Append one line."""
        line = json.dumps({"event": event, "at": time.monotonic(), "pid": os.getpid(), **facts})
        os.write(self._fd, line.encode() + b"\n")


class Handler(MessageHandler):
    """Methods that show what a server lives through."""

    def __init__(self, journal: Journal) -> None:
        self.note = journal.note
        self.subscriptions = Subscriptions()
        self.endless = 0

    async def handle_message(self, message: Any, context: Any) -> Any:
        """Serve one of the methods below, by name."""
        method = getattr(self, "serve_" + message.method.replace("/", "_"), None)
        if method is None:
            raise RpcError(-32601, f"{message.method} is not known here")
        return await method(message.params, context)

    async def handle_error(self, error: Any, context: Any) -> None:
        """Note an unreadable message or a failed connection."""
        self.note("error", kind=type(error).__name__, text=str(error))

    async def handle_close(self, context: Any) -> None:
        """Note the end of the connection."""
        self.note("closed")

    async def serve_echo(self, params: Any, context: Any) -> Any:
        """Return the params."""
        return {key: value for key, value in params.items() if key != "_meta"}

    async def serve_big(self, params: Any, context: Any) -> Any:
        """Return a text of a number of bytes."""
        return {"text": "x" * params["bytes"]}

    async def serve_sleep(self, params: Any, context: Any) -> Any:
        """Answer after a number of seconds."""
        await trio.sleep(params["seconds"])
        return {}

    async def serve_pause(self, params: Any, context: Any) -> Any:
        """Answer after a moment."""
        await trio.sleep(0.01)
        return {}

    async def serve_forever(self, params: Any, context: Any) -> Any:
        """Never answer; note the beginning, the cancellation and its cause, and the cleanup."""
        self.endless += 1
        self.note("began")
        try:
            await trio.sleep_forever()
        finally:
            cause = context.cancel_cause
            self.note("cancelled", cause=None if cause is None else cause.value)
            with trio.move_on_after(1, shield=True):
                await trio.sleep(LINGER)
            self.endless -= 1
            self.note("cleaned up")

    async def serve_progress_forever(self, params: Any, context: Any) -> Any:
        """Never answer and report progress all the time."""
        step = 0
        while True:
            step += 1
            await context.progress(step)
            await trio.sleep(0.001)

    async def serve_tasks(self, params: Any, context: Any) -> Any:
        """Count the tasks of the program, and the handlers of ``forever`` that have not ended."""
        return {"tasks": trio.lowlevel.current_statistics().tasks_living, "endless": self.endless}

    async def serve_pollute(self, params: Any, context: Any) -> Any:
        """Write to standard output in every way a careless handler does."""
        print("stray print")
        print("stray flushed print", flush=True)
        sys.stdout.write("stray write\n")
        os.write(1, b"stray os.write\n")
        subprocess.run(["sh", "-c", "echo stray child; cat"], check=True)  # noqa: ASYNC221 - careless
        return {"read by the child": "nothing"}

    async def serve_fail(self, params: Any, context: Any) -> Any:
        """Have a bug."""
        raise ValueError("a bug in the handler")

    async def serve_noisy(self, params: Any, context: Any) -> Any:
        """Write a number of bytes to standard error before the answer."""
        left = params["bytes"]
        while left > 0:
            left -= os.write(2, b"noise " * 20 + b"\n")
        return {}

    async def serve_publish(self, params: Any, context: Any) -> Any:
        """Tell every subscriber that the list of tools has changed."""
        self.subscriptions.publish("notifications/tools/list_changed")
        return {}

    async def serve_ask(self, params: Any, context: Any) -> Any:
        """Ask the client, as servers of legacy revisions may, and return its answer."""
        return {"answer": await context.request("sampling/createMessage", {"n": params["n"]})}

    async def serve_crash(self, params: Any, context: Any) -> Any:
        """End the process at once."""
        print("about to crash", file=sys.stderr, flush=True)
        os._exit(params.get("status", 7))


async def embedded(handler: Handler, options: dict[str, Any], within: float) -> None:
    """Serve beside a background task of the same nursery, which sleeps for ever."""

    async def background() -> None:
        try:
            await trio.sleep_forever()
        finally:
            handler.note("background ended")

    began = trio.current_time()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(background)
            with trio.move_on_after(within) as scope:
                await serve(handler, StdioServerTransport(), **options)
            handler.note("left", seconds=trio.current_time() - began, cancelled=scope.cancelled_caught)
            nursery.cancel_scope.cancel()
    finally:
        handler.note("finally")


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("journal")
    parser.add_argument("--embedded", action="store_true")
    parser.add_argument("--within", type=float, default=float("inf"))
    parser.add_argument("--drain", type=float, default=5.0)
    parser.add_argument("--max-message-size", type=int)
    given = parser.parse_args()
    handler = Handler(Journal(given.journal))
    options = {
        "server_info": ServerInfo("test-server", "1"),
        "subscriptions": handler.subscriptions,
        "drain": given.drain,
        "limits": Limits(max_message_size=given.max_message_size),
        "eras": EraPolicy(plain=True),
    }
    handler.note("started")
    if given.embedded:
        trio.run(partial(embedded, handler, options, given.within))
    else:
        try:
            run(handler, StdioServerTransport(), **options)
        finally:
            handler.note("finally")


if __name__ == "__main__":
    main()
