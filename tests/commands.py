"""The command ``trio-mcp`` as a process, for tests of its parts; every warning in it is an error."""

from __future__ import annotations

import os
import subprocess
import sys
import time
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


def servers_of(pid: int, kind: str = "stdio") -> list[int]:
    """Return the process ids of the echo servers of a kind that a process has started and that still run."""
    return [child for child in children_of(pid) if f"\0echo\0{kind}\0" in _read(child, "cmdline")]


def wait_for_server(pid: int, kind: str = "stdio") -> int:
    """Wait until a process has started an echo server of a kind, and return the server's process id.

    Other children come and go: Trio has the C library looked up by ``ldconfig`` when it is imported.
    """
    until = time.monotonic() + 10
    while not (found := servers_of(pid, kind)):
        assert time.monotonic() < until, "no server was started"
        time.sleep(0.005)
    return found[0]


def children_of(pid: int) -> list[int]:
    """Return the process ids of the running children of a process."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        state, parent = (*_read(int(name), "stat").rpartition(") ")[2].split(), "Z", "0")[:2]
        if int(parent) == pid and state not in "ZX":
            found.append(int(name))
    return found


def _read(pid: int, name: str) -> str:
    """Return a file of /proc, "" for a process that is gone."""
    try:
        with open(f"/proc/{pid}/{name}") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""
