"""Checks that a slow reader slows its peer, and loses nothing.

Must never hold more than the messages it sends.
"""

from __future__ import annotations

import trio

from ...client import Client
from ...limits import Limits
from .bench import Bench
from .check import check
from .journal import Event

__all__ = ["a_slow_server_slows_its_client"]

COUNT = 256
SIZE = 96 * 1024
"""Together 24 MiB: more than two sockets hold (Linux: 6 MiB and 4 MiB), and no place for unbounded buffers to hide."""

METHOD = "notifications/check/delay"


@check("pressure")
async def a_slow_server_slows_its_client(bench: Bench) -> None:
    """While the server's handlers are busy its client has to wait with what it sends; afterwards all of it arrives."""
    served = await bench.serve(limits=Limits(max_running=2, max_queued=8))
    sent = 0

    async def flood(client: Client) -> None:
        nonlocal sent
        text = "x" * SIZE
        for number in range(COUNT):
            await client.notify(METHOD, {"key": str(number), "seconds": 1.0 if number < 2 else 0.0, "text": text})
            sent = number + 1

    async with bench.connect(served, limits=Limits(outbox_bytes=64 * 1024)) as client:
        bench.nursery.start_soon(flood, client)
        with bench.within("the first messages at the handler"):
            await served.journal.wait("ended", method=METHOD)
        found = f"all {COUNT} messages of {SIZE} bytes were accepted while two handlers kept the server busy"
        bench.true(sent < COUNT, "a client that has to wait for a server that is busy", found)
        patience = 4 * bench.channel.patience

        def all_ended() -> Event | None:
            ended = served.journal.select("ended", method=METHOD)
            return ended[-1] if len(ended) >= COUNT else None

        with bench.within(f"all {COUNT} messages at the handler, once it has time", patience):
            await served.journal.wait_until(all_ended)
        await bench.assert_alive(client, "a flood")
    keys = sorted(int(event.key) for event in served.journal.select("began", method=METHOD))
    bench.equal(keys, list(range(COUNT)), "the messages that reached the handler")
    await trio.lowlevel.checkpoint()
