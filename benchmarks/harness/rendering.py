"""Draws what a run's lines say: reStructuredText tables and one plot.

It must never compute a figure that is not in the lines, ratios to the raw limit excepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .gates import Judgement
from .record import Line

BEGIN = ".. benchmarks {suite} begin: drawn by benchmarks/render, do not edit"
END = ".. benchmarks {suite} end"
COLOURS = {
    "raw": "#9a9a9a",
    "fdstream": "#c4c4c4",
    "bare": "#c4c4c4",
    "ours": "#1f6f8b",
    "native": "#1f6f8b",
    "oneshot": "#7fb3c8",
    "sdk": "#c8553d",
}
UNITS = {"cpu_us_per_message": "CPU us per message", "cpu_ms": "CPU ms", "wall_ms": "wall-clock ms"}


def cells_in_order(lines: Sequence[Line]) -> list[str]:
    """Return the names of the cells in the order they were run."""
    return list(dict.fromkeys(line.cell for line in lines))


def _list_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    out = [f".. list-table:: {title}", "   :header-rows: 1", ""]
    for row in (header, *rows):
        out += [f"   {'* -' if index == 0 else '  -'} {text}".rstrip() for index, text in enumerate(row)]
    return [*out, ""]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _cell_row(line: Line, reference: float | None) -> list[str]:
    if line.median is None:
        return [line.contender, line.era, "absent: " + (line.absent or "").split("\n")[0][:120], "", "", "", "", ""]
    middle = sorted(line.repeats, key=lambda repeat: repeat.figure)[len(line.repeats) // 2]
    ratio = "" if not reference else f"{line.median / reference:.2f}"
    shown = [_number(middle.rate), _number(middle.p50_us), _number(middle.p99_us)]
    return [line.contender, line.era, _number(line.median), _number(line.best), ratio, *shown]


def tables(lines: Sequence[Line], judgements: Sequence[Judgement]) -> str:
    """Write the verdicts and then one table per cell."""
    source = lines[0].provenance
    versions = ", ".join(f"{name} {version}" for name, version in source.versions.items())
    out = [
        f"Run of {source.date} at revision ``{source.revision[:12]}``{' with local changes' if source.dirty else ''} "
        f"on {source.machine['cpu']}, {source.machine['cpus']} CPUs ({source.machine['placement']}): {versions}.",
        "",
    ]
    out += _list_table(
        "Gates and aims",
        ("what", "figure", "gate", "aim", "verdict"),
        [
            [
                item.gate.what,
                "" if item.figure is None else f"{item.figure:.2f}",
                item.gate.gate_text,
                item.gate.aim_text,
                item.verdict,
            ]
            for item in judgements
        ],
    )
    for cell in cells_in_order(lines):
        members = [line for line in lines if line.cell == cell]
        raws = {line.era: line.median for line in members if line.contender in ("raw", "base")}
        fallback = next(iter(raws.values()), None)
        rows = [_cell_row(line, raws.get(line.era, fallback)) for line in members]
        header = ("contender", "era", "median", "best", "x raw", "per second", "p50 us", "p99 us")
        title = f"{cell}: {UNITS.get(members[0].unit, members[0].unit)}"
        out += _list_table(title, header, rows)
    return "\n".join(out)


def splice(document: str, suite: str, drawn: str) -> str:
    """Put the drawn text between the suite's markers.

    Raises:
        ValueError: The document has no such markers.
    """
    begin, end = BEGIN.format(suite=suite), END.format(suite=suite)
    head, found, rest = document.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no line {begin!r} followed by {end!r}")
    return f"{head}{begin}\n\n{drawn}\n{end}{tail}"


def plot(lines: Sequence[Line], path: Path) -> None:
    """Draw one panel per cell, median as a bar and every repeat as a dot, on a logarithmic scale.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "benchmarks"  # the same lines give the same file
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text: smaller, and searchable
    cells = cells_in_order(lines)
    figure, axes = pyplot.subplots(len(cells), 1, figsize=(8, 2.2 * len(cells)), layout="constrained", squeeze=False)
    for axis, cell in zip(axes[:, 0], cells, strict=True):
        members = [line for line in lines if line.cell == cell and line.median is not None]
        labels = [f"{line.contender} {line.era}".strip() for line in members]
        medians = [line.median or 0.0 for line in members]
        axis.barh(labels, medians, color=[COLOURS.get(line.contender, "#d9a441") for line in members])
        for row, line in enumerate(members):
            dots = [repeat.figure for repeat in line.repeats]
            axis.plot(dots, [row] * len(dots), "k.", markersize=3)
        if medians:
            axis.set_xscale("log")
            axis.set_xlim(left=min(medians) / 2)
        axis.invert_yaxis()
        axis.set_title(f"{cell}: {UNITS.get(lines_unit(lines, cell), '')}", loc="left", fontsize=9)
        axis.tick_params(labelsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def lines_unit(lines: Sequence[Line], cell: str) -> str:
    """Return the unit of a cell."""
    return next(line.unit for line in lines if line.cell == cell)
