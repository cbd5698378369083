"""A stdio server whose handlers do what handlers should not: print, block, flood, pile up.

Usage: ``unruly_server.py [--watch THRESHOLD]``; with ``--watch`` stalls of the event loop are logged.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from typing import Any

import trio

from trio_mcp_transport import (
    EraPolicy,
    Handlers,
    MessageContext,
    Request,
    RpcError,
    ServerInfo,
    StdioServerTransport,
    blocking,
    serve,
)
from trio_mcp_transport.watchdog import watch_stalls

INFO = ServerInfo("unruly", "1")


class Running:
    """How many handlers run at once."""

    now = 0
    most = 0


def stray(request: Request, context: MessageContext) -> dict[str, Any]:
    """Write to standard output in every way there is."""
    print("stray print")
    sys.stdout.write("stray write without a line end")
    sys.stdout.flush()
    os.write(1, b'{"jsonrpc":"2.0","id":7,"result":{"forged":true}}\n')
    os.write(sys.stdout.fileno(), b"stray descriptor\n")
    subprocess.run(["echo", "stray child"], check=True)
    eaten = subprocess.run(["cat"], check=True, capture_output=True).stdout
    return {"eaten": eaten.decode()}


async def flood(request: Request, context: MessageContext) -> dict[str, Any]:
    """Send notifications of about a size in bytes, as fast as the peer takes them."""
    count, size = request.params["count"], request.params["bytes"]
    for number in range(count):
        await context.notify("notifications/flood", {"number": number, "pad": "x" * size})
    return {"sent": count}


async def pile(request: Request, context: MessageContext) -> dict[str, Any]:
    """Take some time, and remember how many do so at once."""
    Running.now += 1
    Running.most = max(Running.most, Running.now)
    await trio.sleep(request.params["seconds"])
    Running.now -= 1
    return {"most": Running.most}


@blocking
def sleep_in_thread(request: Request, context: MessageContext) -> dict[str, Any]:
    """Block a thread."""
    time.sleep(request.params["seconds"])
    return {"slept": True}


def sleep_on_the_loop(request: Request, context: MessageContext) -> dict[str, Any]:
    """Block the event loop, which no handler should."""
    time.sleep(request.params["seconds"])
    return {"slept": True}


async def quick(request: Request, context: MessageContext) -> dict[str, Any]:
    """Answer at once."""
    return {}


METHODS = {one.__name__: Handlers(one) for one in (stray, flood, pile, sleep_in_thread, sleep_on_the_loop, quick)}


async def route(request: Request, context: MessageContext) -> Any:
    """Call the function named by the method."""
    if request.method not in METHODS:
        raise RpcError(-32601, f"{request.method} is not known here")
    return await METHODS[request.method].handle_message(request, context)


async def main(watch: float | None) -> None:
    """Serve, and watch if asked."""
    async with trio.open_nursery() as nursery:
        if watch is not None:
            await nursery.start(watch_stalls, watch)
        await serve(Handlers(route), StdioServerTransport(), server_info=INFO, eras=EraPolicy(plain=True))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    parser = argparse.ArgumentParser()
    parser.add_argument("--watch", type=float)
    trio.run(main, parser.parse_args().watch)
