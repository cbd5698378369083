"""Checks of the handler's hooks: `handle_close` comes last and exactly once for each connection.

Must never expect a hook within a certain order across connections.
"""

from __future__ import annotations

from .bench import Bench
from .check import check
from .journal import Event, Journal

__all__ = ["close_comes_last_and_once", "each_connection_closes_once"]


@check(when="each")
async def close_comes_last_and_once(bench: Bench) -> None:
    """handle_close runs exactly once, after the last handle_message has returned or been cancelled."""
    served = await bench.serve()
    async with bench.connect(served) as client:
        await bench.ask(client, "check/echo", key="answered")
        bench.start(client, "check/wait", key="open")
        with bench.within("a request at the handler"):
            await served.journal.wait("began", key="open")
        bench.equal(len(served.journal.select("close")), 0, "the calls of handle_close while the connection stands")
    with bench.within("handle_close after the client was closed"):
        await served.journal.wait("close")
    served.shutdown()
    with bench.within("a server that ends after shutdown"):
        await served.wait_ended()
    see_order(bench, served.journal, 1)


@check("several_clients")
async def each_connection_closes_once(bench: Bench) -> None:
    """Every connection gets its own handle_close, and a shutdown of the server brings the missing ones."""
    served = await bench.serve()
    async with bench.connect(served) as first:
        await bench.ask(first, "check/echo")
        async with bench.connect(served) as second:
            await bench.ask(second, "check/echo")
        with bench.within("handle_close for the client that was closed"):
            await served.journal.wait("close")
        await bench.assert_alive(first, "another client's end")
        bench.equal(len(served.journal.select("close")), 1, "the calls of handle_close after one of two clients left")
        served.shutdown()
        with bench.within("a server that ends after shutdown"):
            await served.wait_ended()
    see_order(bench, served.journal, 2)


def see_order(bench: Bench, journal: Journal, connections: int) -> None:
    """See that each connection has one ``close``, behind all its other events."""
    by_connection: dict[str, list[Event]] = {}
    for event in journal.events():
        if event.connection:
            by_connection.setdefault(event.connection, []).append(event)
    bench.equal(len(by_connection), connections, "the number of connections the handler saw")
    for events in by_connection.values():
        kinds = [event.kind for event in events]
        bench.equal(kinds.count("close"), 1, "the calls of handle_close for one connection")
        after = [str(event) for event in events[kinds.index("close") + 1 :]]
        bench.equal(after, [], "what the handler saw of a connection after its handle_close")
        open_ = kinds.count("began") - sum(kinds.count(end) for end in ("ended", "raised", "cancelled"))
        bench.equal(open_, 0, "the messages that were still being handled at handle_close")
