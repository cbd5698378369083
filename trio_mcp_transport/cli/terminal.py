"""What the commands share: their exit codes, and writing to streams that may be gone.

Must never raise because nobody reads: a closed standard error costs a message, never the exit code.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

__all__ = [
    "ERROR_ANSWER",
    "INTERRUPTED",
    "SUCCESS",
    "TRANSPORT_FAILURE",
    "complain",
    "one_line",
    "tell",
    "write_out",
]

SUCCESS: Final = 0
ERROR_ANSWER: Final = 1
"""The other program said no, or a row of the demo failed.  (2 is argparse's, for wrong usage.)"""
TRANSPORT_FAILURE: Final = 3
INTERRUPTED: Final = 130
"""128 and SIGINT, as a shell reports it."""


def one_line(text: str) -> str:
    """Return a message as one line; of more than two only the first and the last are kept."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 2:
        lines = [lines[0], "…", lines[-1]]
    return " ".join(lines)


def complain(problem: object) -> None:
    """Say in one line on standard error what went wrong."""
    tell(f"trio-mcp: {one_line(str(problem))}")


def tell(line: str) -> None:
    """Write a line to standard error, if there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)


def write_out(data: bytes) -> bool:
    """Write bytes to standard output; return whether they arrived, after a complaint if they did not."""
    try:
        if sys.stdout is None:
            raise BrokenPipeError("it is closed")
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except OSError as error:
        complain(f"standard output cannot be written: {error.strerror or error}")
        if sys.stdout is not None:
            # What is left in Python's buffer must not be written at exit, which would fail once more and show.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.close(null)
        return False
    return True
