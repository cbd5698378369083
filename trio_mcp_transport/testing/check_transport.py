"""`check_transport`: one await that certifies a transport, in the spirit of `trio.testing.check_two_way_stream`.

Must never pass in silence over what it did not look at: the report names every check that ran and every one that did
not, with the reason.
"""

from __future__ import annotations

from typing import Unpack

import trio

from ..transports.firewall import run_contained
from .transport_checks.bench import Bench, Channel, CheckedEra, MakePair
from .transport_checks.catalogue import CHECKS
from .transport_checks.check import Check, CheckFailed, CheckReport
from .transport_checks.options import CheckOptions, Plan

__all__ = ["check_transport", "examine_transport"]


async def check_transport(make_pair: MakePair, **options: Unpack[CheckOptions]) -> CheckReport:
    """Check that a transport does what every transport of this library does; stop at the first thing it does not.

    Every check gets a fresh pair, serves it with a handler of its own and opens clients of it.  It takes some seconds
    over a real channel; over one without descriptors, run it under `trio.testing.MockClock(autojump_threshold=0)`,
    where waiting costs nothing.  ::

        def make_pair():
            server = MyServerTransport()
            return server, lambda addresses: MyClientTransport(addresses[0])

        async def test_my_transport():
            report = await check_transport(make_pair)

    A checkpoint.  Cancelled, it closes what it opened within the bounds of the transport.

    Args:
        make_pair: Returns a fresh server transport, or a `RemoteServer`, and a function that makes a client transport
            out of the addresses the server reported.
        **options: What the channel cannot do, and more: see `CheckOptions`.

    Returns:
        Which checks passed, and which were left out and why.

    Raises:
        CheckFailed: What is wrong, as an `AssertionError` that names the check and what was expected.
        ValueError: An option, or a check that one names, does not exist.
    """
    report = await examine_transport(make_pair, stop_at_first=True, **options)
    for failure in report.failures:
        raise failure
    return report


async def examine_transport(
    make_pair: MakePair, *, stop_at_first: bool = False, **options: Unpack[CheckOptions]
) -> CheckReport:
    """Run the checks as `check_transport` and return every failure, instead of raising the first.

    Args:
        make_pair: As for `check_transport`.
        stop_at_first: Whether the first failure is the last check.
        **options: As for `check_transport`.

    Raises:
        ValueError: An option, or a check that one names, does not exist.
    """
    plan = Plan.of(make_pair, options, [check.name for check in CHECKS])
    passed: list[tuple[str, str]] = []
    failures: list[CheckFailed] = []
    left_out: dict[str, str] = {}
    for check in CHECKS:
        why = plan.why_not(check)
        if why is not None:
            left_out[check.name] = why
            continue
        for era in plan.eras_of(check):
            failure = await _run(check, era, plan.channel)
            if failure is None:
                passed.append((check.name, era))
            else:
                failures.append(failure)
        if failures and stop_at_first:
            break
    return CheckReport(tuple(passed), tuple(failures), left_out)


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
