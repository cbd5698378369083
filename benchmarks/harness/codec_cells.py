"""Measures the frame codecs by running benchmarks/codec.py, and turns what it prints into lines.

The codecs are timed where they are, in one process without a transport; nothing here may time anything itself.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

import msgspec

from .accounting import Placement
from .contenders import environment
from .record import ROOT, Line, Provenance, Repeat, summarise

SCRIPT = ROOT / "benchmarks" / "codec.py"
TIME_LIMIT = 300.0  # seconds; four codecs take 130, and a quadratic one minutes, which is an answer


class Timing(msgspec.Struct):
    """One line of benchmarks/codec.py.

    Attributes:
        framing: Name of the codec.
        size: Bytes in all, nominally.
        frames: Number of frames they were cut into.
        frame: Bytes of one frame, its delimiter included.
        chunk: Bytes per feed.
        repeats: Seconds of each repeat.
    """

    framing: str
    size: int
    frames: int
    frame: int
    chunk: int
    repeats: list[float]

    @property
    def cell(self) -> str:
        """The cell: framing, bytes of a frame (`one` frame of everything), bytes of a feed (`all` at once)."""
        frame = "one" if self.frames == 1 else str(self.frame)
        chunk = "all" if self.chunk >= self.frame * self.frames else str(self.chunk)
        return f"codec-{self.framing}-{frame}-{chunk}"


def codec_lines(timings: Iterable[Timing], provenance: Provenance, quick: bool) -> list[Line]:
    """Make one line per timing; the sizes are the contenders of a cell."""
    lines = []
    for timing in timings:
        repeats = [Repeat(figure=round(taken * 1000, 4)) for taken in timing.repeats]
        median, best = summarise(repeats)
        lines.append(
            Line(
                suite="stdio",
                cell=timing.cell,
                contender=f"{timing.size >> 20}MiB",
                era="",
                unit="wall_ms",
                median=median,
                best=best,
                repeats=repeats,
                payload_bytes=timing.frame,
                quick=quick,
                provenance=provenance,
            )
        )
    return sorted(lines, key=lambda line: line.cell)


def run_codec_script(quick: bool, placement: Placement) -> tuple[list[Timing], str]:
    """Run the script and return its timings, and why they are not complete (empty when they are)."""
    command = [sys.executable, str(SCRIPT), *(["--quick"] if quick else [])]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIME_LIMIT,
            env=environment(),
            cwd=ROOT,
            preexec_fn=placement.pin_subject,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return _parse(error.stdout or b""), f"not done within {TIME_LIMIT:.0f} s"
    # 1 says that a cell was steep, which the gates judge from the figures.
    problem = "" if done.returncode in (0, 1) else f"exit status {done.returncode}"
    timings = _parse(done.stdout)
    return timings, problem if timings else done.stderr.decode(errors="replace").strip()[-300:]


def _parse(output: bytes) -> list[Timing]:
    decoder = msgspec.json.Decoder(Timing)
    return [decoder.decode(line) for line in output.splitlines() if line.endswith(b"}")]
