"""Checks of the transport object itself: addresses, one run per object, counters, and what it leaves behind.

Must never hold a transport to counters it does not keep: bytes are optional.
"""

from __future__ import annotations

import trio

from ...errors import LocalProtocolError
from ..footprint import Footprint
from .bench import Bench
from .check import check
from .served import LocalServer

__all__ = ["addresses_are_reported", "an_object_runs_once", "nothing_is_left", "statistics_count"]


@check()
async def addresses_are_reported(bench: Bench) -> None:
    """task_status.started gives a tuple of addresses, each ``NAME:REST``, before any client comes."""
    served = await bench.serve()
    addresses: object = served.addresses
    bench.true(isinstance(addresses, tuple) and addresses, "a tuple of addresses", f"it was {addresses!r}")
    assert isinstance(addresses, tuple)
    for address in addresses:
        fine = isinstance(address, str) and address.partition(":")[1] == ":" and address.partition(":")[0]
        bench.true(fine, "an address such as tcp://127.0.0.1:8000", f"it was {address!r}")


@check("in_process")
async def an_object_runs_once(bench: Bench) -> None:
    """A server transport that has run refuses a second run with LocalProtocolError."""
    served = await bench.serve()
    assert isinstance(served, LocalServer)
    async with bench.connect(served) as client:
        await bench.ask(client, "check/echo")
    served.shutdown()
    with bench.within("a server that ends after shutdown"):
        await served.wait_ended()
    again = LocalServer(served.transport, served.options)
    with bench.within("a second run to be refused"):
        bench.nursery.start_soon(again.run)
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(bench.channel.patience / 2):
            await again.wait_ended()
    again.cancel()
    bench.raised(again.failure, LocalProtocolError, "LocalProtocolError for a second run of one transport object")


@check("own_statistics")
async def statistics_count(bench: Bench) -> None:
    """Both sides count messages and connections, and hold nothing once everything is answered."""
    served = await bench.serve()
    async with bench.connect(served) as client:
        await bench.assert_alive(client, "the handshake")
        before, ours_before = served.statistics(), client.statistics()
        for _ in range(10):
            await bench.ask(client, "check/echo")
        with bench.within("a request at the handler"):
            open_ = bench.start(client, "check/wait", key="open")
            await served.journal.wait("began", key="open")
        during = served.statistics()
        bench.equal(during.in_flight, 1, "the server's in_flight while one message is handled")
        open_.scope.cancel()
        await bench.assert_alive(client, "ten requests")
        with bench.within("a cancelled handler"):
            await served.journal.wait("cancelled", key="open")
        after, ours = served.statistics(), client.statistics()
        # Ten requests, the one that was left and its cancellation, and the last.
        bench.equal(after.messages_received - before.messages_received, 13, "the messages the server received")
        bench.equal(after.messages_sent - before.messages_sent, 11, "the messages the server sent")
        bench.equal(ours.messages_sent - ours_before.messages_sent, 13, "the messages the client sent")
        bench.equal(ours.messages_received - ours_before.messages_received, 11, "the messages the client received")
        bench.equal(after.connection_count, 1, "the server's connection_count")
        bench.equal(after.errors, 0, "the server's errors")
    with bench.within("handle_close after the client was closed"):
        await served.journal.wait("close")
    served.shutdown()
    with bench.within("a server that ends after shutdown"):
        await served.wait_ended()
    last = served.statistics()
    held = (last.in_flight, last.queued, last.pending, last.outbox_bytes)
    bench.equal(held, (0, 0, 0, 0), "what the server holds at its end (in_flight, queued, pending, outbox_bytes)")


@check()
async def nothing_is_left(bench: Bench) -> None:
    """No task, descriptor, child process or blocking mode is left, however the two sides ended."""
    before = Footprint.take()
    for ending in ("client", "server", "both"):
        served = await bench.serve(drain=0.1)
        async with bench.connect(served) as client:
            await bench.ask(client, "check/echo")
            bench.start(client, "check/wait", key="open")
            with bench.within("a request at the handler"):
                await served.journal.wait("began", key="open")
            if ending == "server":
                served.cancel()
            elif ending == "both":
                served.shutdown()
                client.close()
        if ending == "client":
            with bench.within("handle_close after the client was closed"):
                await served.journal.wait("close")
            served.shutdown()
        with bench.within(f"both sides to end, the {ending} first" if ending != "both" else "both sides to end"):
            await served.wait_ended()
        left = ["something"]
        with trio.move_on_after(bench.channel.patience / 5):
            while left:
                await trio.sleep(0.001)  # the tasks of the check itself end within a few turns
                left = before.left_by(Footprint.take(), threads=False)
        bench.equal(left, [], f"what is left after an end by {ending}")
