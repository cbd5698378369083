"""Checks of the size limits: exact, on both sides, and harmless to whoever keeps them.

Must never say what becomes of the connection: a channel may go on or close, but it may not fall silent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ...errors import LocalProtocolError, RpcError, TransportError
from ...limits import Limits
from ...wire import messages
from ...wire.messages import Response
from .bare import modern_request, open_bare, sized_request
from .bench import Bench, outcome
from .check import check
from .journal import Event

__all__ = ["a_client_keeps_its_limit", "a_server_keeps_its_limit", "outgoing_limits_hold"]

LIMIT = 8192


@check("limits", when="modern")
async def a_server_keeps_its_limit(bench: Bench) -> None:
    """A message of exactly the server's limit arrives; one byte more is refused, told to handle_error, and no harm."""
    served = await bench.serve(limits=Limits(max_message_size=LIMIT))
    async with open_bare(bench, served) as bare:
        for size in (LIMIT - 1, LIMIT):
            with bench.within(f"an answer to a message of {size} bytes at a limit of {LIMIT}"):
                response = await bare.request(sized_request(size, size))
            bench.equal(response.error, None, f"the error for a message of {size} bytes at a limit of {LIMIT}")
        scope = trio.CancelScope(deadline=trio.current_time() + bench.channel.patience)
        ended = trio.Event()

        async def ask_too_much() -> None:
            with scope:
                await outcome(lambda: bare.request(sized_request(9999, LIMIT + 1, key="large")))
            ended.set()

        bench.nursery.start_soon(ask_too_much)
        with bench.within(f"handle_error for a message of {LIMIT + 1} bytes at a limit of {LIMIT}"):
            await served.journal.wait_until(lambda: _first(served.journal.select("error", "began"), "error", "large"))
        seen = [str(event) for event in served.journal.select("began", key="large")]
        bench.equal(seen, [], "what the handler saw of a message over the limit")
        await see_policy(bench, lambda: bare.request(modern_request("after", "check/echo")))
        scope.cancel()
        await ended.wait()
    if "several_clients" not in bench.channel.abilities:
        return
    async with bench.connect(served) as other:
        await bench.assert_alive(other, "another client's message over the limit")


@check("limits", when="modern")
async def a_client_keeps_its_limit(bench: Bench) -> None:
    """A response of exactly the client's limit arrives; one byte more ends the request with a TransportError."""
    served = await bench.serve()
    async with open_bare(bench, served) as bare:
        with bench.within("an answer to check/blob"):
            response = await bare.request(modern_request(1, "check/blob", size=0))
    empty = len(messages.encode(Response(9, response.result)))
    served.cancel()  # two servers at one address are no concern of this check
    with bench.within("a cancelled server to return"):
        await served.wait_ended()
    served = await bench.serve()
    async with open_bare(bench, served, Limits(max_message_size=LIMIT)) as bare:
        for size in (LIMIT - 1, LIMIT):
            with bench.within(f"a response of {size} bytes at a limit of {LIMIT}"):
                response = await bare.request(modern_request(size % 9, "check/blob", size=size - empty))
            bench.equal(response.error, None, f"the error for a response of {size} bytes at a limit of {LIMIT}")
        large = modern_request(9, "check/blob", size=LIMIT + 1 - empty)
        with bench.within(f"an end of the request whose response has {LIMIT + 1} bytes at a limit of {LIMIT}"):
            error = await outcome(lambda: bare.request(large))
        bench.raised(error, TransportError, "a TransportError for a response over the client's limit")
        await see_policy(bench, lambda: bare.request(modern_request("after", "check/echo")))


@check("limits")
async def outgoing_limits_hold(bench: Bench) -> None:
    """A message over this side's own outgoing limit is refused before it is sent, a reply with "too_large"."""
    served = await bench.serve(limits=Limits(max_outgoing_size=LIMIT))
    async with bench.connect(served, limits=Limits(max_outgoing_size=LIMIT)) as client:
        with bench.within("a request over the client's own limit to fail"):
            own = await outcome(lambda: client.request("check/measure", {"text": "x" * LIMIT}))
        bench.raised(own, LocalProtocolError, "MessageTooLarge for a request over the client's own limit")
        await bench.assert_alive(client, "a request over the client's own limit")
        reply = bench.start(client, "check/blob", size=LIMIT)
        with bench.within("an answer to a request whose result is over the server's own limit"):
            await reply.done.wait()
        bench.raised(reply.error, RpcError, "an error instead of a result over the server's own limit")
        assert isinstance(reply.error, RpcError)
        bench.equal(reply.error.reason(), "too_large", "data.reason of that error")
        await bench.assert_alive(client, "a result over the server's own limit")


async def see_policy(bench: Bench, request: Callable[[], Awaitable[object]]) -> None:
    """See that a connection goes on or has ended, as the channel says; silence is neither."""
    with bench.within("a connection that goes on or ends with an error after a message over the limit"):
        error = await outcome(request)
    policy = "goes on" if error is None else "closes"
    bench.true(bench.channel.oversize in (None, policy), f"a connection that {bench.channel.oversize}", f"it {policy}")


def _first(events: list[Event], kind: str, key: str) -> Event | None:
    """Return the first event of a kind or with a key."""
    return next((event for event in events if event.kind == kind or event.key == key), None)
