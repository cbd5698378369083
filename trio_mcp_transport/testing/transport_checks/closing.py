"""Checks of the ends: a client that closes, a server that drains, an idle one that ends at once.

Must never take longer than the drain it asked for and the patience of the bench.
"""

from __future__ import annotations

from ...errors import ConnectionClosed, RpcError, TransportError
from .bench import Bench, outcome
from .check import check

__all__ = [
    "an_idle_server_ends_at_once",
    "closing_a_client_ends_its_calls",
    "draining_has_an_end",
    "shutdown_answers_what_was_asked",
]

AT_ONCE = 1.0
"""Seconds that count as at once on a busy machine."""


@check()
async def closing_a_client_ends_its_calls(bench: Bench) -> None:
    """A client that closes ends its calls with ConnectionClosed, cancels their handlers, and closes once."""
    served = await bench.serve()
    async with bench.connect(served) as client:
        waiting = bench.start(client, "check/wait", key="open")
        with bench.within("a request at the handler"):
            await served.journal.wait("began", key="open")
        with bench.within("a client that closes"):
            await client.aclose()
        with bench.within("an open call to end when its client closes"):
            await waiting.done.wait()
        bench.raised(
            waiting.error, ConnectionClosed, "ConnectionClosed for a call that was open when its client closed"
        )
        late = await outcome(lambda: client.request("check/echo"))
        bench.raised(late, ConnectionClosed, "ConnectionClosed for a request after closing")
        with bench.within("a second close to return"):
            await client.aclose()
        with bench.within("the handler of an open call to end when the client closes"):
            await served.journal.wait("cancelled", "ended", "raised", key="open")
    with bench.within("handle_close after the client closed"):
        await served.journal.wait("close")
    bench.true(served.journal.select("cancelled", key="open"), "a cancelled handler", "the handler was not cancelled")


@check(when="each")
async def shutdown_answers_what_was_asked(bench: Bench) -> None:
    """A server that shuts down answers the requests it has, takes no more, and ends."""
    served = await bench.serve()
    async with bench.connect(served) as client:
        asked = [bench.start(client, "check/delay", key=f"asked{number}", seconds=0.1) for number in range(3)]
        with bench.within("three requests at the handler"):
            await served.journal.wait("began", method="check/delay", count=3)
        served.shutdown()
        with bench.within("every request that was asked before the shutdown to end"):
            for one in asked:
                await one.done.wait()
        keys = [one.result.get("key") if one.result is not None else repr(one.error) for one in asked]
        bench.equal(keys, ["asked0", "asked1", "asked2"], "the answers during the shutdown")
        with bench.within("a server that ends after shutdown"):
            await served.wait_ended()
        late = await outcome(lambda: client.request("check/echo"))
        bench.raised(late, TransportError | RpcError, "an error for a request after the shutdown")


@check(when="each")
async def draining_has_an_end(bench: Bench) -> None:
    """A handler that never ends is cut off after the drain, and its request answered with reason "shutdown"."""
    served = await bench.serve(drain=0.1)
    async with bench.connect(served) as client:
        waiting = bench.start(client, "check/wait", key="endless")
        with bench.within("a request at the handler"):
            await served.journal.wait("began", key="endless")
        served.shutdown()
        with bench.within("an answer to a request whose handler was cut off"):
            await waiting.done.wait()
        bench.raised(waiting.error, RpcError, "an error answer for a request that was cut off")
        assert isinstance(waiting.error, RpcError)
        bench.equal(waiting.error.reason(), "shutdown", "data.reason of that error")
        with bench.within("a server that ends after its drain"):
            await served.wait_ended()
    bench.equal([event.detail for event in served.journal.select("cancelled")], ["drain"], "the cause of the cut")


@check()
async def an_idle_server_ends_at_once(bench: Bench) -> None:
    """A server with an idle client ends at once when it is shut down."""
    served = await bench.serve(drain=10 * AT_ONCE)
    async with bench.connect(served) as client:
        await bench.ask(client, "check/echo")
        served.shutdown()
        with bench.within("an idle server to end at once", AT_ONCE):
            await served.wait_ended()
