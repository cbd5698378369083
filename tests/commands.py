"""The command ``trio-mcp`` as a process, for tests of its parts; every warning in it is an error."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from tests.package_tree import ROOT

COMMAND = [sys.executable, "-X", "dev", "-W", "error", "-m", "trio_mcp_transport"]
ECHO = [*COMMAND, "echo", "stdio"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def trio_mcp(*arguments: str, stdin: bytes = b"", **options: Any) -> tuple[int, str, str]:
    """Run the command to its end; return its exit status, output and errors."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    done = subprocess.run([*COMMAND, *arguments], input=stdin, env=ENVIRONMENT, timeout=30, check=False, **options)
    return done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode()


def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start the command and return the process, its streams being pipes; for ``with``, which waits for its end."""
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([*COMMAND, *arguments], env=ENVIRONMENT, **options)


def children_of(pid: int) -> list[int]:
    """Return the process ids of the running children of a process."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and (status := _status(int(name))) is not None:
            state, parent = status
            if parent == pid and state not in "ZX":
                found.append(int(name))
    return found


def _status(pid: int) -> tuple[str, int] | None:
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, parent = file.read().rpartition(") ")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return state, int(parent)
