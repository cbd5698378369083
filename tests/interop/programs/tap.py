"""Stand between an MCP client and a server on stdio, and write down every line that passes and how the server ended.

``python tap.py RECORD COMMAND...``: each line of RECORD is a JSON object, ``{"from": "client"|"server", "line": text}``
or, as the last one, ``{"exit": status, "seconds": from the end of input to the exit}``.  Lines of more than 64 KiB are
recorded as ``{"from": ..., "bytes": length}``.  Must never change a byte, and ends as the server ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import IO, Any

LONGEST = 64 * 1024


class Record:
    def __init__(self, path: str) -> None:
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the program runs
        self._lock = threading.Lock()

    def write(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()


def copy(source: IO[bytes], target: IO[bytes], side: str, record: Record) -> None:
    for line in source:
        # Written down first: whoever sees an effect of the line finds the line in the record.
        if len(line) > LONGEST:
            record.write({"from": side, "bytes": len(line)})
        else:
            record.write({"from": side, "line": line.decode("utf-8", "backslashreplace").removesuffix("\n")})
        try:
            target.write(line)
            target.flush()
        except BrokenPipeError:
            return


def main() -> None:
    record = Record(sys.argv[1])
    child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    end_of_input: list[float] = []

    def upwards(stdin: IO[bytes]) -> None:
        copy(sys.stdin.buffer, stdin, "client", record)
        end_of_input.append(time.monotonic())
        with contextlib.suppress(BrokenPipeError):
            stdin.close()

    threading.Thread(target=upwards, args=(child.stdin,), daemon=True).start()
    copy(child.stdout, sys.stdout.buffer, "server", record)
    status = child.wait()
    seconds = time.monotonic() - end_of_input[0] if end_of_input else None
    record.write({"exit": status, "seconds": seconds})
    # Not sys.exit: the other thread may be reading standard input for ever.
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
