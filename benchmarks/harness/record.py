"""One JSON line per cell: what was measured, on what, with every repeat.

The lines are the only output that counts; tables, plots and verdicts are drawn from them. A line must never hold
a figure without the versions and the machine it came from.
"""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]


class Repeat(msgspec.Struct, omit_defaults=True):
    """One measurement: the judged figure first, the shown ones after it.

    Attributes:
        figure: In the unit of the line.
        messages: Number of messages it was averaged over.
        rate: Messages per second of wall-clock time (shown, never judged).
        p50_us: Median time from request to answer, in microseconds (shown, never judged).
        p99_us: 99th percentile of the same.
    """

    figure: float
    messages: int = 1
    rate: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None


class Provenance(msgspec.Struct, frozen=True):
    """Where and when a run happened.

    Attributes:
        revision: Commit of the work tree.
        dirty: Whether tracked files differed from it.
        date: Start of the run, UTC, ISO 8601.
        versions: Of the interpreter and of every package involved.
        machine: CPU model, number of CPUs lent to us, kernel, and the CPUs used.
    """

    revision: str
    dirty: bool
    date: str
    versions: dict[str, str]
    machine: dict[str, str]


class Line(msgspec.Struct, kw_only=True):
    """One cell of one contender.

    Attributes:
        suite: Name of the run, e.g. `stdio`.
        cell: What was done, e.g. `server-100B-64`.
        contender: Who did it.
        era: Protocol revision of the messages, empty where none are exchanged.
        unit: Unit of `median`, `best` and every repeat's figure.
        median: Median figure over the repeats; None when absent.
        best: Lowest figure over the repeats; None when absent.
        repeats: Every measurement.
        payload_bytes: Length of the text argument.
        in_flight: Most calls unanswered at a time.
        absent: Why there is no figure; None when there is one.
        quick: Whether it came from a smoke run, whose figures mean nothing.
    """

    suite: str
    cell: str
    contender: str
    era: str
    unit: str
    median: float | None
    best: float | None
    repeats: list[Repeat]
    payload_bytes: int = 0
    in_flight: int = 0
    absent: str | None = None
    quick: bool = False
    provenance: Provenance


def summarise(repeats: Sequence[Repeat]) -> tuple[float | None, float | None]:
    """Return median and best figure, rounded to what the method can tell apart."""
    if not repeats:
        return None, None
    figures = [repeat.figure for repeat in repeats]
    return round(statistics.median(figures), 4), round(min(figures), 4)


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else ""


def version_of(package: str) -> str:
    """Return the version of an installed distribution, or `absent`."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def take_provenance(extra_versions: dict[str, str], cpus: str) -> Provenance:
    """Collect revision, versions and machine; `cpus` says which CPUs driver and subject use."""
    versions = {"python": platform.python_version()}
    versions |= {name: version_of(name) for name in ("trio", "msgspec", "attrs", "mcp", "anyio")}
    return Provenance(
        revision=_git("rev-parse", "HEAD") or "unknown",
        dirty=bool(_git("status", "--porcelain", "--untracked-files=no")),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=versions | extra_versions,
        machine={
            "cpu": _cpu_model(),
            "cpus": str(len(os.sched_getaffinity(0))),
            "kernel": platform.release(),
            "placement": cpus,
        },
    )


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """Write the lines, one JSON document each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def read_lines(path: Path) -> list[Line]:
    """Read the lines of one run.

    Raises:
        msgspec.ValidationError: The file holds something else.
    """
    decoder = msgspec.json.Decoder(Line)
    return [decoder.decode(line) for line in path.read_bytes().splitlines() if line]
