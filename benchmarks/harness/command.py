"""The command line of `benchmarks/run`: choose, measure, write the lines, judge, exit.

It must never exit 0 when a gate failed or could not be measured.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import cells, codec_cells, contenders, gates, sockets_suite, stdio_suite, suite
from .accounting import Placement
from .record import ROOT, Line, take_provenance, write_lines

RESULTS = ROOT / "benchmarks" / "results"
GATES = ROOT / "benchmarks" / "gates"
SUITES = {"stdio": stdio_suite.plan, "sockets": sockets_suite.plan}


def gates_of(name: str) -> Path:
    """Return the file with a suite's gates."""
    return GATES / f"{name}.toml"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        SystemExit: It is wrong (2) or asks for help (0).
    """
    parser = argparse.ArgumentParser(prog="benchmarks/run", description="Measure a transport and judge its gates.")
    parser.add_argument("suite", choices=list(SUITES))
    parser.add_argument("--quick", action="store_true", help="smoke run of a few seconds; nothing is judged")
    parser.add_argument("--contenders", metavar="A,B", help="only these; gates that need others are left out")
    parser.add_argument("--rounds", type=int, help="rounds of every message cell (default 5)")
    parser.add_argument("--seed", type=int, default=None, help="of the order within rounds; printed when not given")
    parser.add_argument("--ours", metavar="COMMAND", help="another echo server in our place (stdio only)")
    parser.add_argument("--output", type=Path, help="file for the lines (default: benchmarks/results/SUITE-DATE.jsonl)")
    options = parser.parse_args(arguments)
    if options.ours is not None and options.suite != "stdio":
        parser.error("--ours is for stdio: elsewhere every cell starts the server with options of its own")
    return options


def measure(options: argparse.Namespace) -> list[Line]:
    """Play every cell and return the lines."""
    wanted = set(options.contenders.split(",")) if options.contenders else None
    effort = cells.QUICK if options.quick else cells.FULL
    where = Placement.choose()
    apart = "driver and subject have a CPU each" if where.pinned_apart else "driver and subject share one CPU"
    ours = shlex.split(options.ours) if options.ours else contenders.OURS
    plan = SUITES[options.suite](wanted, ours, effort, where)
    provenance = take_provenance(plan.versions, apart)
    where.pin_driver()
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}; {apart}; {provenance.machine['cpu']}", file=sys.stderr)
    chance = random.Random(seed)
    lines: list[Line] = []
    for entries, rounds in plan.cells:
        started = time.perf_counter()
        suite.play(entries, options.rounds if options.rounds and rounds == effort.rounds else rounds, chance)
        lines += [entry.line(options.suite, provenance, effort.quick) for entry in entries]
        print(f"{entries[0].cell}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    if options.suite == "stdio" and (wanted is None or "ours" in wanted):
        timings, problem = codec_cells.run_codec_script(options.quick, where)
        lines += codec_cells.codec_lines(timings, provenance, effort.quick)
        print(f"codec: {problem or 'done'}", file=sys.stderr)
    return lines


def relevant(all_gates: Sequence[gates.Gate], wanted: str | None) -> list[gates.Gate]:
    """Leave out the gates that need a contender which was not asked for."""
    if wanted is None:
        return list(all_gates)
    names = {*wanted.split(","), "base"}
    if "ours" in names:
        names |= {"16MiB", "32MiB"}
    return [
        gate
        for gate in all_gates
        if all(side.partition("@")[0].removesuffix("-stdio") in names for side in (gate.of, gate.to) if side)
    ]


def show(lines: Sequence[Line]) -> str:
    """Lay the lines out for a terminal."""
    rows = []
    for line in lines:
        if line.median is None:
            rows.append(f"{line.cell:25} {line.contender:11} {line.era:10} absent: {(line.absent or '')[:200]}")
            continue
        middle = sorted(line.repeats, key=lambda repeat: repeat.figure)[len(line.repeats) // 2]
        shown = ""
        if middle.rate is not None:
            shown = f"{middle.rate:>10,.0f}/s  p50 {middle.p50_us:>9,.0f} us  p99 {middle.p99_us:>9,.0f} us"
        rows.append(
            f"{line.cell:25} {line.contender:11} {line.era:10} {line.median:>9.2f} (best {line.best:>8.2f}) "
            f"{line.unit:18} {shown}"
        )
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite and return the exit status: 1 when a gate failed or was not measured."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    lines = measure(options)
    day = lines[0].provenance.date[:16].replace(":", "")
    output = options.output or RESULTS / f"{options.suite}-{day}.jsonl"
    write_lines(output, lines)
    print(show(lines))
    print(f"\nlines: {output}\n")
    if options.quick:
        print("quick run: nothing is judged")
        return 0
    judgements = gates.judge(relevant(gates.load_gates(gates_of(options.suite)), options.contenders), lines)
    print(gates.describe(judgements))
    failed = [item for item in judgements if item.failed]
    print(f"\n{len(failed)} of {sum(item.gate.binding for item in judgements)} gates failed")
    return 1 if failed else 0
