"""The cells of all suites: what is done, over what, how often, in which eras.

Pure data, and the effort a full and a smoke run spend on it.
"""

from __future__ import annotations

from typing import Literal

import attrs

from .workload import LEGACY, MODERN

Wire = Literal["stdio", "tcp", "unix", "ws"]


@attrs.frozen
class Cell:
    """Echo calls of one size with one number of calls in flight.

    Attributes:
        name: Name in lines and gates.
        size: Length of the text argument in bytes.
        in_flight: Most calls unanswered at a time.
        most: Most calls in one repeat; bounds the time of the fastest contender.
        eras: Revisions the cell is measured in, where the contender speaks them. The first is the judged one.
        wire: What lies between driver and contender.
        framing: Name of the framing on it, a key of `framing.FRAMINGS`.
    """

    name: str
    size: int
    in_flight: int
    most: int
    eras: tuple[str, ...] = (MODERN, LEGACY)
    wire: Wire = "stdio"
    framing: str = "newline"


SERVER_CELLS = (
    Cell("server-100B-64", 100, 64, 64_000),
    Cell("server-100B-1", 100, 1, 10_000),
    Cell("server-10KB-16", 10_240, 16, 16_000),
    Cell("server-1MB-4", 1_048_576, 4, 400),
)
CLIENT_CELL = Cell("client-100B-64", 100, 64, 64_000)
SOCKET_CELLS = (
    Cell("tcp-100B-64", 100, 64, 64_000, (MODERN,), "tcp"),
    Cell("tcp-length-prefix-100B-64", 100, 64, 64_000, (MODERN,), "tcp", "length-prefix"),
    Cell("tcp-100B-1", 100, 1, 10_000, (MODERN,), "tcp"),
    Cell("tcp-1MB-4", 1_048_576, 4, 400, (MODERN,), "tcp"),
    Cell("unix-100B-64", 100, 64, 64_000, (MODERN,), "unix"),
    Cell("unix-100B-1", 100, 1, 10_000, (MODERN,), "unix"),
    Cell("ws-100B-64", 100, 64, 64_000, (MODERN,), "ws", "websocket"),
    Cell("ws-1MB-4", 1_048_576, 4, 400, (MODERN,), "ws", "websocket"),
)
JUDGED_ONLY = {"server-10KB-16", "server-1MB-4"}  # the other era differs by its envelope only, which they do not show


def eras_of(cell: Cell, spoken: tuple[str, ...]) -> tuple[str, ...]:
    """Return the eras one contender is measured in: the judged one where it speaks it, else what it speaks."""
    common = tuple(era for era in cell.eras if era in spoken)
    return common[:1] if cell.name in JUDGED_ONLY else common


@attrs.frozen
class Effort:
    """How much a run spends.

    Attributes:
        rounds: Rounds of every cell.
        startup_rounds: Rounds of the start-up cells, which are short and noisy.
        warm_up: Seconds of calls before a measurement.
        measure: Seconds of calls in a measurement.
        least: Fewest calls of a measurement, in windows of `in_flight`.
        quick: Whether figures of this effort mean nothing.
    """

    rounds: int
    startup_rounds: int
    warm_up: float
    measure: float
    least: int
    quick: bool = False


FULL = Effort(rounds=5, startup_rounds=15, warm_up=0.2, measure=0.4, least=10)
QUICK = Effort(rounds=1, startup_rounds=1, warm_up=0.02, measure=0.05, least=2, quick=True)
