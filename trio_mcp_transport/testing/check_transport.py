"""`check_transport`: one await that certifies a transport, in the spirit of `trio.testing.check_two_way_stream`.

Must never pass in silence over what it did not look at: the report names every check that ran and every one that did
not, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal, get_args

import trio

from ..abc import FrameCodec
from ..transports.firewall import run_contained
from ..wire.newline import NewlineCodec
from .transport_checks.bench import Bench, Channel, CheckedEra, ConnectStream, MakePair
from .transport_checks.catalogue import CHECKS
from .transport_checks.check import Check, CheckFailed, CheckReport, Need
from .transport_checks.served import RemoteServer

__all__ = ["CheckFailed", "CheckReport", "RemoteServer", "check_transport", "examine_transport"]

PATIENCE = 5.0
"""Seconds after which what should have happened long ago has not, also on a busy machine."""


async def check_transport(
    make_pair: MakePair,
    *,
    eras: Sequence[CheckedEra] = ("modern", "legacy"),
    connect_stream: ConnectStream | None = None,
    codec: Callable[[int], FrameCodec] = NewlineCodec,
    several_clients: bool = True,
    server_messages: bool = True,
    limits: bool = True,
    large_messages: bool = True,
    back_pressure: bool = True,
    half_close: bool = True,
    write_deadline: bool = True,
    statistics: bool = True,
    oversize: Literal["goes on", "closes"] | None = None,
    without: Collection[str] = (),
    only: Collection[str] = (),
    patience: float = PATIENCE,
    injection_points: int = 40,
) -> CheckReport:
    """Check that a transport does what every transport of this library does; stop at the first thing it does not.

    Every check gets a fresh pair, serves it with a handler of its own and opens clients of it.  It takes some seconds
    over a real channel; over one without descriptors, run it under `trio.testing.MockClock(autojump_threshold=0)`,
    where waiting costs nothing.  ::

        def make_pair():
            server = TcpServerTransport("127.0.0.1", 0)
            return server, lambda addresses: TcpClientTransport.from_address(addresses[0])

        async def test_my_transport():
            report = await check_transport(make_pair)

    Args:
        make_pair: Returns a fresh server transport, or a `RemoteServer`, and a function that makes a client transport
            out of the addresses the server reported.
        eras: What the transport carries; checks that do not depend on the era run in the first.
        connect_stream: Opens a stream to the server, ready for frames of ``codec``.  Checks with misbehaving streams,
            raw frames and half-close need it.
        codec: Makes that stream's codec, for a largest message in bytes.
        several_clients: Whether one server serves more than one client.
        server_messages: Whether a legacy server's own requests and notifications pass.
        limits: Whether message sizes in bytes are limited.
        large_messages: Whether messages of 3 MB pass.
        back_pressure: Whether a slow server slows its clients.
        half_close: Whether a client can end its side of writing and go on reading.
        write_deadline: Whether a peer that reads nothing is given up.
        statistics: Whether the transports count.
        oversize: What becomes of a connection that got a message over its limit; None for either.
        without: Names of checks to leave out; the report says so.
        only: Names of the only checks to run; all, if empty.
        patience: Seconds one step of a check may take.
        injection_points: Most moments at which a client is cancelled, or a stream call fails, per scenario.

    Returns:
        Which checks passed and which were left out.

    Raises:
        CheckFailed: What is wrong, as an `AssertionError` that names the check and what was expected.
        ValueError: ``without`` or ``only`` names no check.
    """
    report = await examine_transport(
        make_pair,
        eras=eras,
        connect_stream=connect_stream,
        codec=codec,
        several_clients=several_clients,
        server_messages=server_messages,
        limits=limits,
        large_messages=large_messages,
        back_pressure=back_pressure,
        half_close=half_close,
        write_deadline=write_deadline,
        statistics=statistics,
        oversize=oversize,
        without=without,
        only=only,
        patience=patience,
        injection_points=injection_points,
        stop_at_first=True,
    )
    for failure in report.failures:
        raise failure
    return report


async def examine_transport(
    make_pair: MakePair,
    *,
    eras: Sequence[CheckedEra] = ("modern", "legacy"),
    connect_stream: ConnectStream | None = None,
    codec: Callable[[int], FrameCodec] = NewlineCodec,
    oversize: Literal["goes on", "closes"] | None = None,
    without: Collection[str] = (),
    only: Collection[str] = (),
    patience: float = PATIENCE,
    injection_points: int = 40,
    stop_at_first: bool = False,
    **abilities: bool,
) -> CheckReport:
    """Run the checks as `check_transport` and return every failure, instead of raising the first.

    Args:
        make_pair: As for `check_transport`.
        eras: As for `check_transport`.
        connect_stream: As for `check_transport`.
        codec: As for `check_transport`.
        oversize: As for `check_transport`.
        without: As for `check_transport`.
        only: As for `check_transport`.
        patience: As for `check_transport`.
        injection_points: As for `check_transport`.
        stop_at_first: Whether the first failure is the last check.
        **abilities: The switches of `check_transport`; all on.

    Raises:
        ValueError: ``without``, ``only`` or ``abilities`` names what does not exist.
    """
    known = {check.name for check in CHECKS}
    if wrong := {*without, *only} - known:
        raise ValueError(f"no such checks: {', '.join(sorted(wrong))}")
    lacking = _lacking(make_pair, connect_stream, abilities)
    channel = Channel(
        make_pair=make_pair,
        patience=patience,
        connect_stream=connect_stream,
        codec=codec,
        oversize=oversize,
        abilities=frozenset(get_args(Need)) - lacking.keys(),
        injection_points=injection_points,
    )
    passed: list[tuple[str, str]] = []
    failures: list[CheckFailed] = []
    left_out: dict[str, str] = {}
    for check in CHECKS:
        why = _reason(check, eras, lacking, without, only)
        if why is not None:
            left_out[check.name] = why
            continue
        for era in _eras_of(check, eras):
            failure = await _run(check, era, channel)
            if failure is None:
                passed.append((check.name, era))
            else:
                failures.append(failure)
                if stop_at_first:
                    return CheckReport(tuple(passed), tuple(failures), left_out)
    return CheckReport(tuple(passed), tuple(failures), left_out)


_SWITCHES: dict[str, Need] = {
    "several_clients": "several_clients",
    "server_messages": "server_messages",
    "limits": "limits",
    "large_messages": "large_messages",
    "back_pressure": "pressure",
    "half_close": "half_close",
    "write_deadline": "write_deadline",
    "statistics": "own_statistics",
}
"""Options of `check_transport` -> what they say the channel can do."""


def _lacking(make_pair: MakePair, connect_stream: ConnectStream | None, abilities: dict[str, bool]) -> dict[Need, str]:
    """Return what the channel cannot do, and who says so."""
    if wrong := abilities.keys() - _SWITCHES.keys():
        raise ValueError(f"no such options: {', '.join(sorted(wrong))}")
    lacking: dict[Need, str] = {_SWITCHES[name]: f"{name}=False" for name, on in abilities.items() if not on}
    if connect_stream is None:
        lacking["connect_stream"] = "no connect_stream was given"
    if isinstance(make_pair()[0], RemoteServer):
        lacking["in_process"] = lacking["own_statistics"] = "the server runs in another process"
    return lacking


def _eras_of(check: Check, eras: Sequence[CheckedEra]) -> Sequence[CheckedEra]:
    if check.when == "each":
        return eras
    return eras[:1] if check.when == "once" else [era for era in eras if era == check.when]


def _reason(
    check: Check,
    eras: Sequence[CheckedEra],
    lacking: dict[Need, str],
    without: Collection[str],
    only: Collection[str],
) -> str | None:
    """Return why a check does not run, or None."""
    if check.name in without:
        return "named in without"
    if only and check.name not in only:
        return "not named in only"
    for need in sorted(check.needs):
        if need in lacking:
            return lacking[need]
    return None if _eras_of(check, eras) else f"the {check.when} era is not among {', '.join(eras)}"


async def _run(check: Check, era: CheckedEra, channel: Channel) -> CheckFailed | None:
    """Run one check; whatever comes out of it but a cancellation is its failure."""
    bench: Bench | None = None

    async def run() -> None:
        nonlocal bench
        async with trio.open_nursery() as nursery:
            bench = Bench(check.name, era, channel, nursery)
            await check.run(bench)
            nursery.cancel_scope.cancel()

    error = await run_contained(run)
    if error is None:
        return None
    for leaf in _leaves(error):
        if isinstance(leaf, CheckFailed):
            return leaf
    doing = bench.doing if bench is not None else "a nursery"
    failure = CheckFailed(check.name, era, doing, f"it was {error!r}")
    failure.__cause__ = error
    return failure


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error] if error.__cause__ is None else [error, *_leaves(error.__cause__)]
