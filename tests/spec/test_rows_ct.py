"""The rows on custom transports: what was proved of stdio holds over TCP, Unix sockets and WebSocket."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import tests.spec.test_rows_ca_pr
import tests.spec.test_rows_io
import tests.spec.test_rows_jr
import tests.spec.test_rows_l03
import tests.spec.test_rows_l25
import tests.spec.test_rows_mr_vn
import tests.spec.test_rows_st_me
import tests.spec.test_rows_su
import tests.spec.test_rows_su_lasting
import tests.spec.test_rows_tr_er
from tests.channels import KINDS, Channel, Kind
from tests.describing import INFO, Describing
from tests.package_tree import ROOT
from tests.suites import Case, cases
from tests.support import modern_request
from trio_mcp_transport import (
    ClientTransport,
    Response,
    ServerTransport,
    StdioClientTransport,
    memory_transports,
    open_client,
    serve,
)
from trio_mcp_transport.transports.framings import FRAMINGS
from trio_mcp_transport.transports.tcp import TcpClientTransport, TcpServerTransport
from trio_mcp_transport.transports.unix import UnixClientTransport, UnixServerTransport

SUITE = (
    tests.spec.test_rows_jr,
    tests.spec.test_rows_io,
    tests.spec.test_rows_ca_pr,
    tests.spec.test_rows_su,
    tests.spec.test_rows_su_lasting,
    tests.spec.test_rows_mr_vn,
    tests.spec.test_rows_st_me,
    tests.spec.test_rows_tr_er,
    tests.spec.test_rows_l25,
    tests.spec.test_rows_l03,
)
"""The behavioural suite of stdio."""

SUPPORT = ("serve_bytes", "client_over_bytes", "client_and_wire")
"""What stands between its tests and a stream."""

CUSHION = 0.001
"""Real seconds without an event after which nothing is on its way through a socket of this machine."""

LEFT_OUT = {
    "test_a_tight_loop_of_reports_is_held_back_and_memory_stays_bounded": "counts the bytes of a bounded stream",
    "test_a_listen_nobody_reads_is_bounded_and_holds_up_no_other_connection": "counts the bytes of a bounded stream",
    "test_nothing_overtakes_the_acknowledgement_in_500_random_orders": "a search among schedules, not sockets",
    "test_ten_thousand_requests_of_a_session_have_as_many_ids": "counts ids, which no transport makes",
    "test_ten_thousand_questions_of_a_server_have_as_many_ids": "counts ids, which no transport makes",
}
"""What says nothing about a socket."""

LEFT_OUT_OF_WEBSOCKET = {
    "test_a_modern_client_writes_requests_and_notifications_only": "a message over the limit closes with 1009",
    "test_no_code_without_meaning_is_ever_emitted": "a message over the limit closes with 1009",
    "test_a_server_that_stops_answers_its_listens_and_announces_their_end": "there is no end of one direction",
}
"""Where RFC 6455 demands something else."""


def suite() -> Iterator[Any]:
    """Yield every case with every channel it is for."""
    for module in SUITE:
        prefix = module.__name__.rpartition("test_rows_")[2]
        for case in cases(module, through=SUPPORT, without=LEFT_OUT):
            for kind in KINDS:
                if not kind.startswith("ws") or case.function.__name__ not in LEFT_OUT_OF_WEBSOCKET:
                    yield pytest.param(kind, case, id=f"{kind}-{prefix}-{case.id}")


@pytest.fixture
def channel(kind: Kind, tmp_path: Path) -> Iterator[Channel]:
    """Return a channel of a kind."""
    channel = Channel(kind, tmp_path)
    yield channel
    channel.close()


@pytest.fixture
def under_the_suite(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a channel under the modules of the suite."""
    blocked = trio.testing.wait_all_tasks_blocked

    async def patient(cushion: float = 0.0) -> None:
        await blocked(max(cushion, CUSHION))

    monkeypatch.setattr(trio.testing, "wait_all_tasks_blocked", patient)
    for module in SUITE:
        for name in SUPPORT:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(channel, name))
        if getattr(module, "settle", None) is blocked:
            monkeypatch.setattr(module, "settle", patient)


@pytest.fixture
def run_case(case: Case, under_the_suite: None, request: pytest.FixtureRequest) -> Callable[[], Any]:
    """Return a case with all its arguments."""
    return case.bind(request)


@pytest.mark.requirement("M-CT-01", "M-CT-05")
@pytest.mark.parametrize(("kind", "case"), list(suite()))
async def test_the_cases_of_stdio(
    channel: Channel, run_case: Callable[[], Any], autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 1.5 * CUSHION
    await run_case()
    assert channel.connections > 0


def test_what_is_left_out_exists() -> None:
    names = {name for module in SUITE for name in vars(module)}
    assert (LEFT_OUT.keys() | LEFT_OUT_OF_WEBSOCKET.keys()) - names == set()


# The same messages.

TEXTS = ["", "é\u2028\u2029\x85", "\r\n", "\n", "\x00\x1f\x7f", "\ufeff", "e\u0301\U0001f40d", '"\\/', "x" * 70_000]
VALUES: list[Any] = [0, -1, 2**53 + 1, 2**64, 10**40, 0.1, -0.0, 1e300, 5e-324, None, True, [], {}, [[{"": []}]]]
CORPUS: list[tuple[str, dict[str, Any] | None]] = [
    ("plain", None),
    ("empty", {}),
    *(("text", {"text": text, text: 1}) for text in TEXTS),
    *(("value", {"value": value}) for value in VALUES),
    ("order", {"b": 1, "a": 2, "c": {"z": 1, "y": 2}}),
    ("meta", {"_meta": {"com.example/key": ["v"], "traceparent": "00-0af7-b7ad-01"}, "a": 1}),
    ("fail", {"why": "é\n"}),
    ("methods/of any sort\u2028", {"a": 1}),
]


async def tell(transport: ClientTransport) -> list[Any]:
    """Send the corpus, each as a notification and as a request; return all that came back."""
    heard: list[Any] = []
    async with open_client(transport, era="modern", discover=False) as client:
        for method, params in CORPUS:
            await client.notify(method, params)
            async with client.open_exchange(method, params) as replies:
                while True:
                    message = await replies.receive()
                    if isinstance(message, Response):
                        failure = message.error
                        told = None if failure is None else (failure.code, failure.message, repr(failure.data))
                        heard.append((repr(message.id), repr(message.result) if told is None else told))
                        break
                    heard.append((message.method, repr(message.params)))
    return heard


async def tell_through(server: ServerTransport, client: Callable[[str], ClientTransport]) -> list[Any]:
    """Serve, send the corpus and return what came back."""
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(partial(serve, Describing(), server, server_info=INFO))
        heard = await tell(client(addresses[0]))
        nursery.cancel_scope.cancel()
    return heard


@pytest.fixture(scope="module")
def over_memory() -> list[Any]:
    """Return what is heard where nothing is written at all."""

    async def main() -> list[Any]:
        server, client = memory_transports()
        return await tell_through(server, lambda address: client)

    return trio.run(main)


@pytest.mark.requirement("M-CT-02")
@pytest.mark.parametrize(
    ("kind", "framing"),
    [(kind, framing) for kind in KINDS for framing in FRAMINGS if framing == "newline" or not kind.startswith("ws")],
)
async def test_the_same_messages_mean_the_same(channel: Channel, framing: Any, over_memory: list[Any]) -> None:
    channel.framing = framing
    assert await tell_through(channel.server(), channel.client) == over_memory


@pytest.mark.requirement("M-CT-02")
async def test_the_same_messages_mean_the_same_over_stdio(over_memory: list[Any]) -> None:
    assert len(over_memory) == 2 * len(CORPUS)
    with trio.fail_after(20):
        assert await tell(StdioClientTransport([sys.executable, "-m", "tests.describing"], cwd=ROOT)) == over_memory


# Framing.


@pytest.mark.requirement("M-CT-04")
@pytest.mark.parametrize(
    "transport", [TcpServerTransport, TcpClientTransport, UnixServerTransport, UnixClientTransport]
)
def test_byte_streams_have_newlines_unless_told_otherwise(transport: Any) -> None:
    framing = inspect.signature(transport).parameters["framing"]
    assert (framing.default, framing.kind) == ("newline", inspect.Parameter.KEYWORD_ONLY)


@pytest.mark.requirement("M-CT-04")
@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_what_crosses_is_one_line_per_message(channel: Channel) -> None:
    async with channel.serve_bytes() as wire:
        await wire.send_bytes(json.dumps(modern_request(1, params={"a": "\n"})).encode() + b"\n")
        assert json.loads(await wire.receive_line())["result"]["a"] == "\n"
    async with channel.client_over_bytes() as (client, wire):
        await client.notify("notifications/custom", {"a": "\n"})
        assert json.loads(await wire.receive_line())["params"]["a"] == "\n"
