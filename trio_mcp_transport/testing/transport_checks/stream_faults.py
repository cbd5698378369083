"""Checks over streams that split, cut, stall and fail: one connection suffers, and says so.

Must never touch the server's own stream: what misbehaves is the peer.
"""

from __future__ import annotations

from functools import partial

from ...client import Client
from ...errors import ConnectionFailed, TransportError
from ...limits import Limits
from ...wire.messages import Response
from ..fault_links import ReorderLink
from ..faults import CutStream, FaultPlan, SplitStream, StallStream
from .bare import WrappedClientTransport, modern_request, open_raw
from .bench import Bench, outcome
from .check import check

__all__ = [
    "a_cut_ends_its_connection_alone",
    "a_peer_that_stops_reading_is_given_up",
    "every_stream_call_may_fail",
    "reordered_requests_are_all_answered",
    "single_bytes_are_enough",
    "unreadable_messages_are_refused",
]


@check("connect_stream")
async def single_bytes_are_enough(bench: Bench) -> None:
    """Messages arrive whole when the stream moves one byte at a time."""
    served = await bench.serve()
    transport = WrappedClientTransport(bench, served, wrap=SplitStream)
    async with bench.connect(served, transport=transport) as client:
        params = {"text": "a\u2028b\r\n" * 20}
        bench.equal((await bench.ask(client, "check/echo", **params)).get("echo"), params, "the params, byte by byte")
        pending = [bench.start(client, "check/echo", number=number) for number in range(5)]
        with bench.within("five answers, byte by byte"):
            for one in pending:
                await one.done.wait()
        found = [(one.result or {}).get("echo") for one in pending]
        bench.equal(found, [{"number": number} for number in range(5)], "five answers, byte by byte")


@check("connect_stream", "several_clients")
async def a_cut_ends_its_connection_alone(bench: Bench) -> None:
    """A stream that breaks in the middle of a frame ends its connection, with a typed error, and no other."""
    served = await bench.serve(drain=0.1)
    async with bench.connect(served) as other:
        cuts = {"sending": partial(CutStream, send=1500), "receiving": partial(CutStream, receive=1500)}
        for number, (direction, cut) in enumerate(cuts.items()):
            transport = WrappedClientTransport(bench, served, wrap=cut)
            async with bench.connect(served, transport=transport) as client:
                with bench.within(f"a request to fail when its stream breaks while {direction}"):
                    error = await outcome(partial(client.request, "check/echo", {"text": "x" * 4000}))
                bench.raised(error, ConnectionFailed, f"ConnectionFailed when the stream breaks while {direction}")
            with bench.within(f"handle_close of the broken connection, cut while {direction}"):
                await served.journal.wait("close", count=number + 1)
            await bench.assert_alive(other, f"another connection was cut while {direction}")
    closes = len(served.journal.select("close"))
    bench.true(closes <= 3, "one handle_close for each of three connections", f"there were {closes}")


@check("connect_stream", "write_deadline", "several_clients")
async def a_peer_that_stops_reading_is_given_up(bench: Bench) -> None:
    """A client that reads nothing is given up after the write deadline; its handler does not fill the memory."""
    served = await bench.serve(limits=Limits(write_deadline=0.3, outbox_bytes=128 * 1024, grace=0.5), drain=0.1)
    transport = WrappedClientTransport(bench, served, wrap=lambda stream: StallStream(stream, receive=3000))
    async with bench.connect(served) as other:
        async with bench.connect(served, transport=transport) as client:
            flood = {"key": "flood", "count": 1000, "text": "x" * 64 * 1024}
            bench.nursery.start_soon(_listen, client, flood)
            with bench.within("the handler of a peer that reads nothing to be ended, and handle_close"):
                await served.journal.wait("cancelled", "raised", "ended", key="flood")
                await served.journal.wait("close")
            found = "the handler could write 64 MB that nobody read"
            bench.true(not served.journal.select("ended", key="flood"), "a handler that is held up", found)
            bench.true(
                served.journal.select("error"), "handle_error for a peer that reads nothing", "it was not called"
            )
            await bench.assert_alive(other, "a peer that read nothing")
            client.close()


async def _listen(client: Client, flood: dict[str, object]) -> None:
    async def ask() -> None:
        async with client.open_exchange("check/progress", flood, overflow="drop_oldest") as replies:
            async for _ in replies:
                pass

    await outcome(ask)


@check("connect_stream", when="modern")
async def unreadable_messages_are_refused(bench: Bench) -> None:
    """A frame that holds no message is answered with an error and told to handle_error; the connection goes on."""
    served = await bench.serve()
    frames = (b"{nonsense", b'{"jsonrpc":', b'"text"', b'{"jsonrpc":"1.0","id":1,"method":"x"}')
    async with open_raw(bench, served) as peer:
        for frame in frames:
            with bench.within(f"an error answer to the frame {frame!r}"):
                await peer.send(frame)
                message = await peer.receive()
            code = message.error.code if isinstance(message, Response) and message.error is not None else message
            bench.true(code in (-32700, -32600), f"-32700 or -32600 for the frame {frame!r}", f"it was {code!r}")
        with bench.within("an answer to a request after unreadable frames"):
            await peer.send(modern_request("after", "check/echo"))
            message = await peer.receive()
        bench.equal(getattr(message, "id", message), "after", "the id of the next answer")
        with bench.within("handle_error for every unreadable frame"):
            await served.journal.wait("error", count=len(frames))


@check("connect_stream")
async def reordered_requests_are_all_answered(bench: Bench) -> None:
    """Requests that overtake each other on the way, as their answers do, are all handled and answered."""
    served = await bench.serve()
    transport = WrappedClientTransport(bench, served, wrap_link=ReorderLink)
    async with bench.connect(served, transport=transport) as client:
        pending = [bench.start(client, "check/gather", group="mixed", size=30, turn=turn) for turn in range(30)]
        with bench.within("thirty answers to requests that overtook each other"):
            for one in pending:
                await one.done.wait()
        found = [one.result.get("turn") if one.result is not None else repr(one.error) for one in pending]
        bench.equal(found, list(range(30)), "the answers to requests that overtook each other")


@check("connect_stream", "several_clients")
async def every_stream_call_may_fail(bench: Bench) -> None:
    """Whichever stream call of a client fails, its request ends, with an answer or a typed error, and nobody else's."""
    served = await bench.serve(drain=0.1)
    async with bench.connect(served) as other:
        for point in range(1, bench.channel.injection_points + 1):
            plan = FaultPlan(point, "torn")

            async def scenario(plan: FaultPlan = plan) -> None:
                transport = WrappedClientTransport(bench, served, wrap=plan.wrap)
                async with bench.connect(served, transport=transport) as client:
                    await client.request("check/echo", {"text": "x" * 100})

            with bench.within(f"an end of a request whose stream call {point} fails"):
                error = await outcome(scenario)
            if error is not None:
                bench.raised(error, TransportError, f"a TransportError when stream call {point} fails")
            if not plan.reached:
                break
        await bench.assert_alive(other, "failing streams of another client")
