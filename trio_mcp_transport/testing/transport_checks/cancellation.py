"""Checks that a cancellation on one side reaches the other, and nobody else.

Must never leave a request without an end.
"""

from __future__ import annotations

from ...errors import ConnectionClosed, ConnectionFailed, TransportError
from .bench import Bench, outcome
from .check import check

__all__ = ["a_cancelled_server_fails_its_clients", "leaving_cancels_the_handler"]


@check(when="each")
async def leaving_cancels_the_handler(bench: Bench) -> None:
    """A client that leaves a request cancels its handler, with the cause PEER, and nothing else."""
    served = await bench.serve()
    async with bench.connect(served) as client:
        staying = bench.start(client, "check/hold", key="staying", gate="later")
        leaving = bench.start(client, "check/wait", key="leaving")
        with bench.within("two requests at the handler"):
            await served.journal.wait("began", key="staying")
            await served.journal.wait("began", key="leaving")
        leaving.scope.cancel()
        with bench.within("the handler of a request that its client left to be cancelled"):
            event = await served.journal.wait("cancelled", key="leaving")
        bench.equal(event.detail, "peer", "the cause of the cancellation")
        await bench.assert_alive(client, "a request that was left")
        bench.true(not staying.done.is_set(), "other requests to go on", "one ended when another was left")
        await bench.ask(client, "check/release", gate="later")
        with bench.within("the other request's answer"):
            await staying.done.wait()
        bench.equal((staying.result or {}).get("key"), "staying", "the other request's answer")


@check(when="each")
async def a_cancelled_server_fails_its_clients(bench: Bench) -> None:
    """A server that is cancelled ends at once: handlers are cancelled, clients get a ConnectionFailed or Closed."""
    served = await bench.serve()
    async with bench.connect(served) as client:
        waiting = bench.start(client, "check/wait", key="waiting")
        with bench.within("a request at the handler"):
            await served.journal.wait("began", key="waiting")
        served.cancel()
        with bench.within("a cancelled server to return"):
            await served.wait_ended()
        bench.true(served.journal.select("cancelled", key="waiting"), "a cancelled handler", "it was not cancelled")
        with bench.within("the client's request to fail when the server is gone"):
            await waiting.done.wait()
        bench.raised(waiting.error, ConnectionFailed, "a ConnectionClosed or ConnectionFailed for the waiting request")
        with bench.within("a request after the end to fail"):
            late = await outcome(lambda: client.request("check/echo"))
        bench.raised(late, TransportError, "a ConnectionClosed, or another TransportError, for a request after the end")
    assert issubclass(ConnectionClosed, ConnectionFailed)
