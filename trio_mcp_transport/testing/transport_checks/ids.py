"""Checks that ids keep their exact JSON type on the way there and back.

Must never use an id that JSON-RPC forbids.
"""

from __future__ import annotations

import trio

from ...wire.messages import MessageId
from .bare import BareClient, modern_request, open_bare
from .bench import Bench
from .check import check

__all__ = ["ids_keep_their_type"]

IDS: tuple[MessageId, ...] = (7, "7", 0, "", "x" * 200, 2**63, -1, "\u2028")


@check(when="modern")
async def ids_keep_their_type(bench: Bench) -> None:
    """Requests with the ids 7 and "7", and other odd ones, in flight at once, each get their own answer."""
    served = await bench.serve()
    found: dict[MessageId, object] = {}
    answered = trio.Event()

    async def ask(bare: BareClient, turn: int, id_: MessageId) -> None:
        request = modern_request(id_, "check/gather", key=repr(id_), group="ids", size=len(IDS), turn=turn)
        response = await bare.request(request)
        found[id_] = (response.id, response.result.get("turn") if response.error is None else response.error)
        if len(found) == len(IDS):
            answered.set()

    async with open_bare(bench, served) as bare:
        with bench.within("an answer to every id"):
            for turn, id_ in enumerate(IDS):
                bench.nursery.start_soon(ask, bare, turn, id_)
            await answered.wait()
    for turn, id_ in enumerate(IDS):
        bench.equal(found[id_], (id_, turn), f"id and answer of the request with the id {id_!r}")
    seen = {event.key: event.detail for event in served.journal.select("began", method="check/gather")}
    bench.equal(seen, {repr(id_): repr(id_) for id_ in IDS}, "the ids as the handler saw them")
