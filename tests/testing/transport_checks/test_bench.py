"""A bench says in a sentence what was waited for in vain, what was found, and never hangs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from tests.testing.certify import Pairs
from tests.testing.hub import HubServer
from trio_mcp_transport import LocalProtocolError, RpcError
from trio_mcp_transport.testing import CheckFailed
from trio_mcp_transport.testing.transport_checks.bench import Bench, Channel, outcome


@asynccontextmanager
async def a_bench(pairs: Pairs | None = None) -> AsyncIterator[Bench]:
    async with trio.open_nursery() as nursery:
        channel = Channel(make_pair=pairs or Pairs(), patience=5.0, connect_stream=None)
        yield Bench("the_check", "modern", channel, nursery)
        nursery.cancel_scope.cancel()


async def test_waiting_has_an_end_and_a_name(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench:
        with pytest.raises(CheckFailed) as caught, bench.within("a miracle"):
            await trio.sleep_forever()
        assert str(caught.value) == "the_check (modern): expected a miracle; it did not come within 5 s"
        assert bench.doing == "a miracle" and trio.current_time() == 5
        with pytest.raises(CheckFailed, match=r"within 0\.5 s"), bench.within("a miracle", 0.5):
            await trio.sleep_forever()
        with bench.within("nothing"):
            await trio.sleep(4.9)


async def test_comparisons_know_types_and_stay_short() -> None:
    async with a_bench() as bench:
        bench.equal(1, 1, "one")
        for found, wanted in ((True, 1), (1.0, 1), ("1", 1), ((1,), [1])):
            with pytest.raises(CheckFailed):
                bench.equal(found, wanted, "one")
        with pytest.raises(CheckFailed) as caught:
            bench.equal("x" * 100_000, "y", "a text")
        assert len(str(caught.value)) < 300 and "(100002 characters)" in str(caught.value)
        with pytest.raises(CheckFailed, match="nothing was raised"):
            bench.raised(None, RpcError, "an error")
        with pytest.raises(CheckFailed, match=r"it was RpcError"):
            bench.raised(RpcError(1, "no"), LocalProtocolError, "another error")
        bench.raised(RpcError(1, "no"), LocalProtocolError | RpcError, "an error")
        with pytest.raises(CheckFailed, match="expected light; it is dark"):
            bench.true([], "light", "it is dark")


async def test_a_pending_request_keeps_its_outcome(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench:
        served = await bench.serve()
        async with bench.connect(served) as client:
            assert (await bench.ask(client, "check/echo", method="m"))["echo"] == {"method": "m"}
            await bench.assert_alive(client, "a look")
            fine, failing = bench.start(client, "check/echo", n=1), bench.start(client, "check/unknown")
            left = bench.start(client, "check/wait")
            await fine.done.wait()
            await failing.done.wait()
            assert fine.result is not None and fine.result["echo"] == {"n": 1} and fine.error is None
            assert isinstance(failing.error, RpcError) and failing.result is None
            left.scope.cancel()
            await left.done.wait()
            assert left.error is None and left.result is None


async def test_a_server_that_cannot_begin_raises_its_own_error() -> None:
    class Server(HubServer):
        def __init__(self) -> None:
            super().__init__()
            self.used = True

    async with a_bench(Pairs(Server)) as bench:
        with pytest.raises(LocalProtocolError, match="runs once"):
            await bench.serve()


async def test_an_outcome_is_an_error_of_this_library_only() -> None:
    async def fail(error: Exception) -> None:
        raise error

    error = RpcError(1, "no")
    assert await outcome(lambda: fail(error)) is error
    assert await outcome(trio.lowlevel.checkpoint) is None
    with pytest.raises(ZeroDivisionError):
        await outcome(lambda: fail(ZeroDivisionError()))
