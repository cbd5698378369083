"""Checks that many requests are in flight at once and that none is taken for another.

Must never depend on the order in which handlers start.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from .bench import Bench
from .check import check

__all__ = ["answers_come_in_any_order", "connections_do_not_mix"]

MANY = 60
"""Requests at once; below the default of 100 that a connection runs."""

CLIENTS = 4


@check(when="each")
async def answers_come_in_any_order(bench: Bench) -> None:
    """Sixty requests are handled at once, answered in reverse, and each gets its own answer."""
    served = await bench.serve()
    async with bench.connect(served) as client:
        pending = [
            bench.start(client, "check/gather", group="many", size=MANY, turn=turn, text="x" * turn * 50)
            for turn in range(MANY)
        ]
        with bench.within(f"{MANY} answers to {MANY} requests that wait for each other"):
            for one in pending:
                await one.done.wait()
        turns = [one.result.get("turn") if one.result is not None else repr(one.error) for one in pending]
        bench.equal(turns, list(range(MANY)), "the answers")


@check("several_clients")
async def connections_do_not_mix(bench: Bench) -> None:
    """Clients that use the same ids at the same time get their own answers, on connections of their own."""
    served = await bench.serve()
    async with AsyncExitStack() as stack:
        with bench.within(f"{CLIENTS} clients at once"):
            clients = [await stack.enter_async_context(bench.connect(served)) for _ in range(CLIENTS)]
        pending = [
            bench.start(client, "check/hold", key=f"{place}.{number}", gate="mix")
            for number in range(5)
            for place, client in enumerate(clients)
        ]
        with bench.within("requests of every client at the handler"):
            await served.journal.wait("began", method="check/hold", count=len(pending))
        for client in clients:
            await bench.ask(client, "check/release", gate="mix")
        with bench.within("an answer to every request of every client"):
            for one in pending:
                await one.done.wait()
        found = [one.result.get("key") if one.result is not None else repr(one.error) for one in pending]
        wanted = [f"{place}.{number}" for number in range(5) for place in range(CLIENTS)]
        bench.equal(found, wanted, "the answers, by client and request")
        by_client: dict[str, set[str]] = {}
        for event in served.journal.select("began", method="check/hold"):
            by_client.setdefault(event.key.partition(".")[0], set()).add(event.connection)
        connections = [connection for found in by_client.values() for connection in found]
        bench.equal(len(set(connections)), CLIENTS, "the number of connection identifiers")
        bench.equal(len(connections), CLIENTS, "the number of connections the requests came in on")
