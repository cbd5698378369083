"""The driver: keeps N calls in flight on a contender's pipes or socket, and times each answer.

Blocking and single-threaded on purpose: it has a CPU of its own and must never be the thing that is measured.
"""

from __future__ import annotations

import select
import time

import attrs

from .peers import ContenderFailed, Peer
from .workload import INITIALIZE, INITIALIZED, LEGACY, Workload, WrongAnswer

SILENCE_LIMIT = 30.0  # seconds without a byte before a contender counts as hung


@attrs.frozen
class Drive:
    """What one drive saw from outside.

    Attributes:
        messages: Number of calls answered.
        seconds: Wall-clock time from the first byte to the last.
        latencies: Nanoseconds from handing over to answer, one per call.
    """

    messages: int
    seconds: float
    latencies: list[int]


def shake_hands(peer: Peer) -> None:
    """Open a legacy connection with `initialize`.

    Raises:
        ContenderFailed: No answer, or the wrong one.
    """
    peer.write_some(memoryview(peer.framing.wrap([INITIALIZE])))
    poller = select.poll()
    poller.register(peer.source, select.POLLIN)
    messages: list[bytes] = []
    while not messages:
        if not poller.poll(SILENCE_LIMIT * 1000):
            raise peer.explain("did not answer initialize")
        messages = peer.read_messages()
    if b'"error"' in messages[0]:
        raise ContenderFailed(f"refused initialize: {messages[0][:300]!r}")
    peer.write_some(memoryview(peer.framing.wrap([INITIALIZED])))


def open_era(peer: Peer, workload: Workload) -> None:
    """Do what the workload's era demands before the first call."""
    if workload.era == LEGACY:
        shake_hands(peer)


def drive(peer: Peer, workload: Workload, *, first: int, count: int, in_flight: int) -> Drive:
    """Make `count` calls numbered from `first`, with at most `in_flight` unanswered, and check every answer.

    Raises:
        ContenderFailed: Early end, silence, or a wrong answer.
    """
    sent_at: dict[int, int] = {}
    latencies: list[int] = []
    number, stop = first, first + count
    unsent = memoryview(b"")
    poller = select.poll()
    poller.register(peer.source, select.POLLIN)
    # A socket is both ends at once, and is asked for both.
    reading = select.POLLIN if peer.sink == peer.source else 0
    poller.register(peer.sink, reading)
    started = time.perf_counter()
    while len(latencies) < count:
        if not unsent and (room := min(in_flight - len(sent_at), stop - number)):
            unsent = memoryview(peer.framing.wrap(map(workload.request, range(number, number + room))))
            sent_at.update(dict.fromkeys(range(number, number + room), time.perf_counter_ns()))
            number += room
        if unsent:
            unsent = peer.write_some(unsent)
        poller.modify(peer.sink, reading | (select.POLLOUT if unsent else 0))
        if not poller.poll(SILENCE_LIMIT * 1000):
            raise peer.explain(f"silent for {SILENCE_LIMIT:.0f} s with {len(sent_at)} calls open")
        _settle_answers(peer, workload, sent_at, latencies)
    return Drive(count, time.perf_counter() - started, latencies)


def _settle_answers(peer: Peer, workload: Workload, sent_at: dict[int, int], latencies: list[int]) -> None:
    messages = peer.read_messages()
    now = time.perf_counter_ns()
    for message in messages:
        try:
            number = workload.check(message)
        except WrongAnswer as error:
            raise ContenderFailed(str(error)) from error
        if number is None:
            continue
        if number not in sent_at:
            raise ContenderFailed(f"answered id {number}, which is not open")
        latencies.append(now - sent_at.pop(number))
