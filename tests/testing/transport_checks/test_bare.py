"""Clients below `Client`: ids and sizes as chosen, streams and links as wrapped, frames as written."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.testing.certify import Pairs
from trio_mcp_transport import ConnectionFailed, Response
from trio_mcp_transport.testing import CutStream, DropLink, Footprint
from trio_mcp_transport.testing.transport_checks.bare import (
    WrappedClientTransport,
    modern_request,
    open_bare,
    open_raw,
    sized_request,
)
from trio_mcp_transport.testing.transport_checks.bench import Bench, Channel, outcome
from trio_mcp_transport.wire import messages


def bench_in(nursery: trio.Nursery) -> Bench:
    pairs = Pairs()
    channel = Channel(make_pair=pairs, patience=5.0, connect_stream=pairs.connect_stream)
    return Bench("check", "modern", channel, nursery)


@pytest.mark.parametrize("size", [500, 8192])
def test_a_sized_request_has_its_size(size: int) -> None:
    assert len(messages.encode(sized_request("id", size, key="\u2028"))) == size


async def test_a_bare_client_chooses_its_ids_and_leaves_nothing() -> None:
    before = Footprint.take()
    async with trio.open_nursery() as nursery:
        bench = bench_in(nursery)
        served = await bench.serve()
        async with open_bare(bench, served) as bare:
            response = await bare.request(modern_request("7", "check/echo", n=1))
            assert (response.id, response.result["echo"]) == ("7", {"n": 1})
            with trio.move_on_after(0.01):
                await bare.request(modern_request("8", "check/wait", key="left"))
            await served.journal.wait("cancelled", key="left")
        nursery.cancel_scope.cancel()
    assert before.left_by(Footprint.take(), threads=False) == []


async def test_what_is_between_is_between(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        bench = bench_in(nursery)
        served = await bench.serve()
        cut = WrappedClientTransport(bench, served, wrap=lambda stream: CutStream(stream, send=100))
        assert isinstance(await outcome(lambda: _open(bench, served, cut)), ConnectionFailed)
        deaf = WrappedClientTransport(bench, served, wrap_link=lambda link: DropLink(link, lambda message: True))
        with trio.move_on_after(1) as scope:
            await _open(bench, served, deaf)
        assert scope.cancelled_caught
        await _open(bench, served, WrappedClientTransport(bench, served))
        nursery.cancel_scope.cancel()


async def _open(bench: Bench, served: object, transport: WrappedClientTransport) -> None:
    async with bench.connect(served, transport=transport) as client:  # type: ignore[arg-type]  # as served
        await client.request("check/echo")


async def test_raw_frames_go_out_as_written() -> None:
    async with trio.open_nursery() as nursery:
        bench = bench_in(nursery)
        served = await bench.serve()
        async with open_raw(bench, served) as peer:
            await peer.send(modern_request(1, "check/echo"), b"nonsense", modern_request(2, "check/echo"))
            found = [await peer.receive() for _ in range(3)]
            answers = [(one.id, one.error is None) for one in found if isinstance(one, Response)]
            assert sorted(answers, key=repr) == [(1, True), (2, True), (None, False)]
            served.cancel()
            assert await peer.receive() is None
        nursery.cancel_scope.cancel()
