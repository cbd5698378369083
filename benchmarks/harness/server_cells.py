"""Measures servers: one fresh process per contender, era, cell and round, driven over its pipes or one connection.

The judged figure is the server's CPU per message; what the driver's clock says is only shown.
"""

from __future__ import annotations

import math
import time

import attrs

from .accounting import AccountingError, Placement, cpu_between, settle
from .cells import Cell, Effort
from .contenders import Contender, environment
from .driver import Drive, drive, open_era
from .framing import FRAMINGS
from .peers import Peer, PipePeer, SocketPeer
from .record import ROOT, Repeat
from .workload import Workload


@attrs.define
class Numbers:
    """Hands out request ids, none of them twice in a connection."""

    next_free: int = 1

    def take(self, count: int) -> int:
        """Take `count` numbers and return the first."""
        first = self.next_free
        self.next_free += count
        return first


def percentile(sorted_values: list[int], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie, by the nearest rank."""
    return float(sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)])


def open_peer(contender: Contender, cell: Cell, placement: Placement) -> Peer:
    """Start the contender, to be driven over what the cell says; entering it connects.

    Raises:
        ContenderFailed: It could not be started.
    """
    kind = PipePeer if cell.wire == "stdio" else SocketPeer
    return kind(contender.command, placement, environment(), str(ROOT), framing=FRAMINGS[cell.framing]())


def measure_server(contender: Contender, era: str, cell: Cell, effort: Effort, placement: Placement) -> Repeat:
    """Start the contender, warm it up and measure it once.

    Raises:
        ContenderFailed: It did not start, ended, hung or answered wrongly.
        AccountingError: Its CPU time could not be read twice in a row.
    """
    workload = Workload(size=cell.size, era=era)
    with open_peer(contender, cell, placement) as peer:
        open_era(peer, workload)
        numbers = Numbers()
        count = _warm_up(peer, workload, cell, effort, numbers)
        try:
            return _measure(peer, workload, cell, numbers, count)
        except AccountingError:  # an idle worker thread timed out meanwhile; twice in a row would be something else
            return _measure(peer, workload, cell, numbers, count)


def measure_first_reply(contender: Contender, era: str, placement: Placement) -> Repeat:
    """Measure the milliseconds from starting the contender to its first checked answer.

    Raises:
        ContenderFailed: It did not start, ended, hung or answered wrongly.
    """
    workload = Workload(size=100, era=era)
    started = time.perf_counter()
    with PipePeer(contender.command, placement, environment(), str(ROOT), framing=FRAMINGS["newline"]()) as peer:
        open_era(peer, workload)
        drive(peer, workload, first=1, count=1, in_flight=1)
        return Repeat(figure=round((time.perf_counter() - started) * 1000, 3))


def _calls(rate: float, seconds: float, cell: Cell, effort: Effort) -> int:
    least = effort.least * cell.in_flight
    return max(least, min(cell.most, math.ceil(rate * seconds)))


def _warm_up(peer: Peer, workload: Workload, cell: Cell, effort: Effort, numbers: Numbers) -> int:
    """Warm up for a given time and return the number of calls that fill the measurement."""
    count = effort.least * cell.in_flight
    seen = drive(peer, workload, first=numbers.take(count), count=count, in_flight=cell.in_flight)
    count = _calls(count / seen.seconds, effort.warm_up, cell, effort)
    seen = drive(peer, workload, first=numbers.take(count), count=count, in_flight=cell.in_flight)
    return _calls(count / seen.seconds, effort.measure, cell, effort)


def _measure(peer: Peer, workload: Workload, cell: Cell, numbers: Numbers, count: int) -> Repeat:
    before = settle(peer.pid)
    seen = drive(peer, workload, first=numbers.take(count), count=count, in_flight=cell.in_flight)
    return _summarise(seen, cpu_between(before, settle(peer.pid)))


def _summarise(seen: Drive, cpu: int) -> Repeat:
    latencies = sorted(seen.latencies)
    return Repeat(
        figure=round(cpu / 1000 / seen.messages, 4),
        messages=seen.messages,
        rate=round(seen.messages / seen.seconds, 1),
        p50_us=round(percentile(latencies, 0.5) / 1000, 1),
        p99_us=round(percentile(latencies, 0.99) / 1000, 1),
    )
