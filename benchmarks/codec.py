"""How long framing takes, without a transport: one JSON line per cell, and exit status 1 when it is not linear.

``python benchmarks/codec.py`` feeds each framing 16 MiB and 32 MiB, as one frame and as frames of 100 bytes, in chunks
of several sizes.  The judge is the ratio t(32 MiB) / t(16 MiB): 2 for linear code, 4 for quadratic.  Must never import
trio: what is measured here has no event loop in it.

Both sizes must meet the allocator in the same state.  Left alone, glibc raises the size from which it takes a block
fresh from the kernel, up to 32 MiB: a repeated 16 MiB frame then lands in warm memory (1 ms), a 32 MiB one never does
(11 ms, all of it page faults), and a bare ``b"".join`` shows the same ratio of 10.  The program therefore starts itself
again with that size fixed, which makes every repeat pay; ``page_faults`` in each line shows that it did.

``--quick`` takes a sixteenth of everything; ``--repeat N`` keeps the best of N (3); ``--framing NAME`` measures one.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from trio_mcp_transport.wire.content_length import ContentLengthCodec
from trio_mcp_transport.wire.length_prefix import LengthPrefixCodec
from trio_mcp_transport.wire.newline import NewlineCodec
from trio_mcp_transport.wire.signals import Signal
from trio_mcp_transport.wire.websocket import WebSocketCodec

if TYPE_CHECKING:
    from trio_mcp_transport.abc import FrameCodec

MIB = 1024 * 1024
LIMIT = 64 * MIB
STEEPEST = 3.0
"""The gate: between linear (2) and quadratic (4), with room for a noisy machine."""

FRESH_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
"""glibc's initial threshold; setting it, to any value, is what stops it from moving (mallopt(3))."""

FRAMINGS: dict[str, Callable[[], FrameCodec]] = {
    "newline": lambda: NewlineCodec(LIMIT),
    "length-prefix": lambda: LengthPrefixCodec(LIMIT),
    "content-length": lambda: ContentLengthCodec(LIMIT),
    "websocket": lambda: WebSocketCodec("server", LIMIT),
}
# Who writes what a framing reads, where the two sides differ: a client masks, which is the dearer way.
WRITERS: dict[str, Callable[[], FrameCodec]] = {
    "websocket": lambda: WebSocketCodec("client", LIMIT),
}
# Payload of one frame in bytes (None: all of it) and chunk in bytes (None: all of it).
CELLS: tuple[tuple[int | None, int | None], ...] = (
    (None, 1),
    (None, 64 * 1024),
    (None, None),
    (99, 64 * 1024),
    (99, None),
    (10_000, 64 * 1024),
)


def stream_of(codec: FrameCodec, size: int, payload: int | None) -> tuple[bytes, int]:
    """Return about ``size`` bytes of frames, and how many frames they are."""
    if payload is None:
        return codec.encode(b"x" * (size - 64)), 1
    frame = codec.encode(b"x" * payload)
    count = size // len(frame)
    return frame * count, count


def seconds(make: Callable[[], FrameCodec], stream: bytes, count: int, chunk: int) -> tuple[float, int]:
    """Return how long feeding and pulling all frames takes, and the page faults on the way.

    Raises:
        RuntimeError: The codec lost or invented frames.
    """
    chunks = [stream[start : start + chunk] for start in range(0, len(stream), chunk)] if chunk > 1 else None
    codec = make()
    feed, next_frame, need_data = codec.feed, codec.next_frame, Signal.NEED_DATA
    frames = 0
    gc.collect()
    gc.disable()
    try:
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        begin = time.perf_counter()
        for piece in chunks if chunks is not None else (stream[i : i + 1] for i in range(len(stream))):
            feed(piece)
            while next_frame() is not need_data:
                frames += 1
        taken = time.perf_counter() - begin
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    finally:
        gc.enable()
    if frames != count:
        raise RuntimeError(f"{frames} frames of {count}")
    return taken, faults


def measure(framing: str, payload: int | None, chunk: int | None, sizes: tuple[int, ...], repeat: int) -> float:
    """Print one line per size and return the ratio of the last to the first."""
    make = FRAMINGS[framing]
    best = []
    for size in sizes:
        stream, count = stream_of(WRITERS.get(framing, make)(), size, payload)
        # One byte at a time takes many seconds, long enough to need no second try.
        runs = [seconds(make, stream, count, chunk or len(stream)) for _ in range(1 if chunk == 1 else repeat)]
        best.append(min(taken for taken, _ in runs))
        cell = {
            "framing": framing,
            "size": size,
            "frame": len(stream) // count,
            "frames": count,
            "chunk": chunk or len(stream),
            "seconds": round(best[-1], 6),
            "repeats": [round(taken, 6) for taken, _ in runs],
            "page_faults": [faults for _, faults in runs],
            "ns_per_frame": round(best[-1] / count * 1e9),
        }
        if len(best) > 1:
            cell["ratio"] = round(best[-1] / best[0], 2)
        print(json.dumps(cell), flush=True)
    return best[-1] / best[0]


def main() -> None:
    """Measure every cell; exit 1 when one is steeper than the gate."""
    parser = argparse.ArgumentParser(description="Time the frame codecs.")
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the sizes")
    parser.add_argument("--repeat", type=int, default=3, help="keep the best of so many")
    parser.add_argument("--framing", choices=FRAMINGS, help="only this framing")
    options = parser.parse_args()
    if not FRESH_BLOCKS.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | FRESH_BLOCKS)
    sizes = (MIB, 2 * MIB) if options.quick else (16 * MIB, 32 * MIB)
    steep = [
        (framing, payload, chunk)
        for framing in ([options.framing] if options.framing else FRAMINGS)
        for payload, chunk in CELLS
        if measure(framing, payload, chunk, sizes, options.repeat) > STEEPEST
    ]
    for cell in steep:
        print(f"not linear: {cell}", file=sys.stderr)
    sys.exit(bool(steep))


if __name__ == "__main__":
    main()
