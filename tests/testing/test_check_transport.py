"""`check_transport` passes what is right, stops at what is wrong, and says what it did not look at.

That each check finds what it is there for is shown beside it, in ``transport_checks/``.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.testing.broken import BROKEN_CLIENTS, BROKEN_SERVERS, CurtServer, TwiceClosedServer, UncountingServer
from tests.testing.certify import Pairs, examine
from tests.testing.hub import HubServer
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.testing import CheckFailed, RemoteServer, check_transport, examine_transport
from trio_mcp_transport.testing.transport_checks.catalogue import CHECKS
from trio_mcp_transport.testing.transport_checks.journal import Journal, MemoryJournal
from trio_mcp_transport.testing.transport_checks.served import ServeOptions

NAMES = {check.name for check in CHECKS}


def test_the_hub_passes_everything() -> None:
    report = examine(Pairs())
    assert report.failures == ()
    assert {name for name, _ in report.passed} == NAMES
    assert report.left_out == {}
    assert {("requests_arrive", "modern"), ("requests_arrive", "legacy")} <= set(report.passed)


def test_every_check_has_a_broken_transport() -> None:
    assert {names[0] for _, names in (*BROKEN_SERVERS, *BROKEN_CLIENTS)} == NAMES


async def test_the_first_failure_is_raised(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(CheckFailed, match="errors_arrive") as caught:
        await check_transport(Pairs(CurtServer))
    assert isinstance(caught.value, AssertionError)
    assert (caught.value.check, caught.value.era) == ("errors_arrive", "modern")
    assert caught.value.expected == "the error of the handler: (7, 'no', {'why': ['x']})"
    assert caught.value.found == "it was (7, 'an error occurred', {'why': ['x']})"


def test_stopping_at_the_first_failure_stops_there() -> None:
    report = examine(Pairs(TwiceClosedServer), stop_at_first=True)
    assert report.failed == {"close_comes_last_and_once"}
    assert "nothing_is_left" not in {name for name, _ in report.passed}


async def test_a_pass_is_a_report(autojump_clock: trio.testing.MockClock) -> None:
    report = await check_transport(Pairs(), only=["requests_arrive"], eras=("legacy",))
    assert report.passed == (("requests_arrive", "legacy"),)
    assert report.left_out["odd_content_passes"] == "not named in only"


def test_eras_choose_the_checks() -> None:
    report = examine(Pairs(), eras=("legacy",))
    modern = {check.name for check in CHECKS if check.when == "modern"}
    assert report.failures == ()
    assert {era for _, era in report.passed} == {"legacy"}
    assert {name for name, why in report.left_out.items() if "modern era" in why} == modern == set(report.left_out)
    assert examine(Pairs(), eras=("modern",)).left_out == {
        "server_messages_arrive": "the legacy era is not among modern"
    }


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("server_messages", {"server_messages_arrive"}),
        ("large_messages", {"large_messages_pass"}),
        ("back_pressure", {"a_slow_server_slows_its_client"}),
        ("half_close", {"half_close_brings_every_answer"}),
        ("write_deadline", {"a_peer_that_stops_reading_is_given_up"}),
        ("statistics", {"statistics_count"}),
        ("limits", {"a_server_keeps_its_limit", "a_client_keeps_its_limit", "outgoing_limits_hold"}),
        (
            "several_clients",
            {
                "a_cut_ends_its_connection_alone",
                "a_peer_that_stops_reading_is_given_up",
                "connections_do_not_mix",
                "each_connection_closes_once",
                "every_stream_call_may_fail",
                "opening_is_cancelled_anywhere",
            },
        ),
    ],
)
async def test_an_option_switches_off_what_a_channel_cannot_do(
    option: str, names: set[str], autojump_clock: trio.testing.MockClock
) -> None:
    pairs = Pairs()
    keep = ["requests_arrive"] if option != "several_clients" else []
    options: dict[str, Any] = {option: False, "connect_stream": pairs.connect_stream}
    report = await check_transport(pairs, only=[*keep, *names], eras=("modern", "legacy"), **options)
    assert {name for name, why in report.left_out.items() if why == f"{option}=False"} == names


async def test_what_is_left_out_by_name_is_said(autojump_clock: trio.testing.MockClock) -> None:
    pairs = Pairs(UncountingServer)
    report = await check_transport(pairs, connect_stream=pairs.connect_stream, without=["statistics_count"])
    assert report.left_out == {"statistics_count": "named in without"}
    assert "left out: statistics_count: named in without" in str(report)
    assert "passed: requests_arrive (modern)" in str(report)


async def test_without_a_stream_the_checks_of_streams_are_left_out(autojump_clock: trio.testing.MockClock) -> None:
    report = await check_transport(Pairs())
    assert set(report.left_out.values()) == {"no connect_stream was given"}
    assert set(report.left_out) == {check.name for check in CHECKS if "connect_stream" in check.needs}


@pytest.mark.parametrize("options", [{"without": ["typo"]}, {"only": ["typo"]}, {"half_closed": False}])
async def test_what_does_not_exist_cannot_be_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no such"):
        await examine_transport(Pairs(), **options)


async def test_whatever_a_transport_raises_is_its_failure(autojump_clock: trio.testing.MockClock) -> None:
    class Server(HubServer):
        async def run(self, exchanges: Intake, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            raise ZeroDivisionError("broken")

    with pytest.raises(CheckFailed, match="ZeroDivisionError") as caught:
        await check_transport(Pairs(Server))
    assert caught.value.__cause__ is not None


def test_a_cancellation_passes_through() -> None:
    async def run() -> bool:
        with trio.move_on_after(0.5) as scope:
            await check_transport(Pairs(), only=["a_slow_server_slows_its_client"])
        return scope.cancelled_caught

    assert trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_server_in_another_process_has_no_object_to_look_at() -> None:
    class Remote(RemoteServer):
        def prepare(self, options: ServeOptions) -> tuple[str, ...]:
            return ("far:",)

        @property
        def journal(self) -> Journal:
            return MemoryJournal()

        def shutdown(self) -> None: ...
        def cancel(self) -> None: ...

    def make_pair() -> Any:
        return Remote(), lambda addresses: None

    report = await check_transport(make_pair, only=["an_object_runs_once", "statistics_count"])
    assert report.left_out["an_object_runs_once"] == "the server runs in another process"
    assert report.left_out["statistics_count"] == "the server runs in another process"
