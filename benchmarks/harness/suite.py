"""What all suites share: plays the rounds, contenders shuffled and interleaved, and turns repeats into lines.

A contender that fails once is out for the rest of that cell, with its reason in the line; the others must never
suffer from it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence

import attrs

from .accounting import AccountingError, Placement
from .cells import Cell, Effort, eras_of
from .contenders import Contender
from .peers import ContenderFailed
from .record import Line, Provenance, Repeat, summarise

CPU_PER_MESSAGE = "cpu_us_per_message"

Rounds = tuple[list["Entry"], int]
"""One cell: who takes part, and in how many rounds."""


@attrs.frozen
class Plan:
    """What a suite will do.

    Attributes:
        cells: In the order in which they are played.
        versions: Of what takes part, beyond what every run records.
    """

    cells: list[Rounds]
    versions: dict[str, str]


@attrs.define
class Entry:
    """One contender in one cell and era, with what it has done so far.

    Attributes:
        cell: Name of the cell.
        contender: Name of the contender.
        era: Revision, or empty.
        unit: Unit of the figures.
        measure: Measures once.
        repeats: Every measurement so far.
        absent: Why it is out; None while it is in.
        payload_bytes: Length of the text argument.
        in_flight: Most calls unanswered at a time.
    """

    cell: str
    contender: str
    era: str
    unit: str
    measure: Callable[[], Repeat]
    absent: str | None = None
    payload_bytes: int = 0
    in_flight: int = 0
    repeats: list[Repeat] = attrs.field(factory=list)

    def play(self) -> None:
        """Measure once, unless the contender is out; a failure puts it out."""
        if self.absent is not None:
            return
        try:
            self.repeats.append(self.measure())
        except (ContenderFailed, AccountingError) as error:
            self.absent = str(error)
            print(f"{self.cell} {self.contender} {self.era}: {error}", file=sys.stderr)

    def line(self, suite: str, provenance: Provenance, quick: bool) -> Line:
        """Make the line of this entry in a suite; one that failed half-way has repeats but no figure."""
        median, best = summarise(self.repeats) if self.absent is None else (None, None)
        return Line(
            suite=suite,
            cell=self.cell,
            contender=self.contender,
            era=self.era,
            unit=self.unit,
            median=median,
            best=best,
            repeats=self.repeats,
            payload_bytes=self.payload_bytes,
            in_flight=self.in_flight,
            absent=self.absent,
            quick=quick,
            provenance=provenance,
        )


def play(entries: Sequence[Entry], rounds: int, chance: random.Random) -> None:
    """Play the rounds of one cell: everybody once per round, in a new order each time."""
    order = list(entries)
    for _ in range(rounds):
        chance.shuffle(order)
        for entry in order:
            entry.play()


def message_entries(
    cell: Cell,
    contenders: Sequence[Contender],
    measure: Callable[[Contender, str, Cell, Effort, Placement], Repeat],
    effort: Effort,
    placement: Placement,
) -> list[Entry]:
    """List the entries of a cell in which messages are exchanged."""

    def entry(contender: Contender, era: str) -> Entry:
        return Entry(
            cell=cell.name,
            contender=contender.name,
            era=era,
            unit=CPU_PER_MESSAGE,
            measure=lambda: measure(contender, era, cell, effort, placement),
            absent=contender.absent,
            payload_bytes=cell.size,
            in_flight=cell.in_flight,
        )

    return [entry(contender, era) for contender in contenders for era in eras_of(cell, contender.eras)]
