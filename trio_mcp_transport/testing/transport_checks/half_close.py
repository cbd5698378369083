"""Checks that the end of a client's input is not the end of its answers.

Must never wait for more than the answers and the end.
"""

from __future__ import annotations

from ...wire.messages import Response
from .bare import modern_request, open_raw
from .bench import Bench
from .check import check

__all__ = ["half_close_brings_every_answer"]


@check("connect_stream", "half_close", when="modern")
async def half_close_brings_every_answer(bench: Bench) -> None:
    """A client that sends, ends its side of writing and reads gets every answer, then the end."""
    served = await bench.serve()
    async with open_raw(bench, served) as peer:
        slow = modern_request(1, "check/delay", seconds=0.05)
        await peer.send(slow, *(modern_request(id_, "check/echo") for id_ in range(2, 6)))
        send_eof = getattr(peer.stream, "send_eof", None)
        bench.true(send_eof, "a stream with send_eof", f"{type(peer.stream).__name__} has none; pass half_close=False")
        assert send_eof is not None
        await send_eof()
        answered = []
        with bench.within("five answers after the end of the input, and the end of the stream"):
            while (message := await peer.receive()) is not None:
                answered.append(message.id if isinstance(message, Response) else message)
    bench.equal(sorted(answered, key=repr), [1, 2, 3, 4, 5], "the ids that were answered after the end of the input")
    with bench.within("handle_close after the end of the input"):
        await served.journal.wait("close")
    cancelled = [str(event) for event in served.journal.select("cancelled")]
    bench.equal(cancelled, [], "the handlers that were cancelled because their client had finished writing")
