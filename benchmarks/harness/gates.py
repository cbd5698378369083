"""Judges a run: every figure against its gate, which must hold, and its aim, which was shown to be possible.

Pure: lines in, verdicts out. A gate whose figure is missing counts as failed; it must never pass by not being measured.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import attrs
import msgspec

from .record import Line
from .workload import MODERN

Figure = Literal["ratio", "difference", "value"]
Verdict = Literal["aim met", "gate met", "FAILED", "short of aim", "not measured", "MISSING"]


class Gate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of a file in `benchmarks/gates`.

    Attributes:
        what: Title of the row.
        cell: Cell of both lines.
        figure: `ratio` of `of` to `to`, `difference` between them, or the `value` of `of` alone.
        of: Contender, `name` (modern era, or no era) or `name@era`.
        to: The reference of the same run, spelled alike.
        gate_at_most: The figure must not exceed this.
        gate_at_least: The figure must reach this.
        aim_at_most: As the gate, but only shown.
        aim_at_least: As the gate, but only shown.
    """

    what: str
    cell: str
    figure: Figure
    of: str
    to: str = ""
    gate_at_most: float | None = None
    gate_at_least: float | None = None
    aim_at_most: float | None = None
    aim_at_least: float | None = None

    @property
    def binding(self) -> bool:
        """Say whether the row can fail the run, or only states an aim."""
        return self.gate_at_most is not None or self.gate_at_least is not None

    @property
    def gate_text(self) -> str:
        """The gate as printed."""
        return _bound(self.gate_at_most, self.gate_at_least)

    @property
    def aim_text(self) -> str:
        """The aim as printed."""
        return _bound(self.aim_at_most, self.aim_at_least)


@attrs.frozen
class Judgement:
    """A gate with its figure and verdict.

    Attributes:
        gate: The row.
        figure: From the medians; None when a line is missing.
        best: The same from the best repeats; shown, not judged.
        verdict: What came of it.
        reason: Why there is no figure, else empty.
    """

    gate: Gate
    figure: float | None
    best: float | None
    verdict: Verdict
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Say whether this row fails the run."""
        return self.verdict in ("FAILED", "MISSING")


class GateFile(msgspec.Struct, forbid_unknown_fields=True):
    """A whole file of `benchmarks/gates`."""

    gate: list[Gate]


def load_gates(path: Path) -> list[Gate]:
    """Read the gates of one suite.

    Raises:
        msgspec.ValidationError: A row has an unknown or a missing member.
    """
    return msgspec.convert(tomllib.loads(path.read_text()), GateFile).gate


def judge(gates: Sequence[Gate], lines: Sequence[Line]) -> list[Judgement]:
    """Judge every gate against the lines of one run."""
    return [_judge_one(gate, lines) for gate in gates]


def _find(lines: Sequence[Line], cell: str, spelled: str) -> Line | None:
    name, _, era = spelled.partition("@")
    eras = (era,) if era else (MODERN, "")
    return next((line for line in lines if line.cell == cell and line.contender == name and line.era in eras), None)


def _judge_one(gate: Gate, lines: Sequence[Line]) -> Judgement:
    sides = [_find(lines, gate.cell, spelled) for spelled in (gate.of, gate.to) if spelled]
    reasons = [
        f"{spelled}: {'no line' if line is None else line.absent or 'no figure'}"
        for spelled, line in zip((gate.of, gate.to), sides, strict=False)
        if line is None or line.median is None
    ]
    if reasons:
        return Judgement(gate, None, None, "MISSING" if gate.binding else "not measured", "; ".join(reasons))
    found = [line for line in sides if line is not None]
    figure = _compute(gate.figure, [line.median or 0.0 for line in found])
    best = _compute(gate.figure, [line.best or 0.0 for line in found])
    return Judgement(gate, figure, best, _verdict(gate, figure))


def _compute(figure: Figure, values: Sequence[float]) -> float:
    if figure == "value":
        return values[0]
    if figure == "difference":
        return values[0] - values[1]
    return values[0] / values[1] if values[1] else float("inf")


def _verdict(gate: Gate, figure: float) -> Verdict:
    if not _within(figure, gate.gate_at_most, gate.gate_at_least):
        return "FAILED"
    has_aim = gate.aim_at_most is not None or gate.aim_at_least is not None
    if has_aim and _within(figure, gate.aim_at_most, gate.aim_at_least):
        return "aim met"
    return "gate met" if gate.binding else "short of aim"


def _within(figure: float, at_most: float | None, at_least: float | None) -> bool:
    return (at_most is None or figure <= at_most) and (at_least is None or figure >= at_least)


def _bound(at_most: float | None, at_least: float | None) -> str:
    if at_most is not None:
        return f"<= {at_most:g}"
    return f">= {at_least:g}" if at_least is not None else "none"


def describe(judgements: Sequence[Judgement]) -> str:
    """Lay the verdicts out as a plain table, one row per gate."""
    rows = [("what", "figure", "of best", "gate", "aim", "verdict")]
    for item in judgements:
        gate = item.gate
        rows.append(
            (
                gate.what,
                "-" if item.figure is None else f"{item.figure:.2f}",
                "-" if item.best is None else f"{item.best:.2f}",
                gate.gate_text,
                gate.aim_text,
                item.verdict + (f" ({item.reason[:80]})" if item.reason else ""),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in range(1, 5)), row[5]]) for row in rows
    )
