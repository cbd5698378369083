"""Measures clients and start-up: processes that account for themselves, or die and leave their CPU time behind.

Each function measures once; who takes part and how often is the suite's business.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import msgspec

from .accounting import Placement
from .cells import Cell, Effort
from .contenders import SCRIPTS, Contender, environment
from .peers import ContenderFailed
from .record import ROOT, Repeat
from .workload import Workload

CLIENT_LIMIT = 60.0  # seconds a client may take in all

IMPORTS = {
    "base": "import trio, msgspec, attrs",
    # Without its __init__ the name would still import, as an empty namespace package, and beat every gate.
    "ours": "import trio_mcp_transport; assert trio_mcp_transport.__file__",
    "ours-stdio": "from trio_mcp_transport import StdioServerTransport, serve",
    "sdk": "import mcp",
}


class Plan(msgspec.Struct):
    """What a client script is asked to do, as JSON in its only argument.

    Attributes:
        server: Command of the cheapest server there is.
        era: Revision to speak.
        size: Length of the text argument in bytes.
        concurrency: Number of callers; each makes one call at a time.
        warm_up: Seconds of calls before the measurement.
        measure: Seconds of calls in it.
        least: Fewest calls per caller.
    """

    server: list[str]
    era: str
    size: int
    concurrency: int
    warm_up: float
    measure: float
    least: int


class ClientReport(msgspec.Struct):
    """What a client script prints: its own CPU time (not its child's) and what its callers saw."""

    calls: int
    cpu_ns: int
    seconds: float
    p50_us: float
    p99_us: float


def measure_client(contender: Contender, era: str, cell: Cell, effort: Effort, placement: Placement) -> Repeat:
    """Run one client against the raw server, which pins itself to the driver's CPU.

    Raises:
        ContenderFailed: The client failed, hung or got a wrong answer.
    """
    Workload(size=cell.size, era=era)  # the same checks as for servers
    server = [sys.executable, str(SCRIPTS / "raw_server.py"), "--cpu", str(placement.driver)]
    plan = Plan(server, era, cell.size, cell.in_flight, effort.warm_up, effort.measure, effort.least)
    output = _run([*contender.command, msgspec.json.encode(plan).decode()], placement)
    try:
        report = msgspec.json.decode(output, type=ClientReport)
    except msgspec.MsgspecError as error:
        raise ContenderFailed(f"no report: {error}: {output[-300:]!r}") from error
    return Repeat(
        figure=round(report.cpu_ns / 1000 / report.calls, 4),
        messages=report.calls,
        rate=round(report.calls / report.seconds, 1),
        p50_us=round(report.p50_us, 1),
        p99_us=round(report.p99_us, 1),
    )


def _run(command: Sequence[str], placement: Placement) -> bytes:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CLIENT_LIMIT,
            env=environment(),
            cwd=ROOT,
            preexec_fn=placement.pin_subject,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ContenderFailed(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip()[-600:].replace("\n", " | ")
        raise ContenderFailed(f"exit status {done.returncode}: {last}")
    return done.stdout


def measure_import(statement: str, placement: Placement) -> Repeat:
    """Measure the CPU milliseconds of an interpreter that executes one import statement.

    Raises:
        ContenderFailed: The statement failed.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", statement],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
        cwd=ROOT,
        preexec_fn=placement.pin_subject,
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise ContenderFailed(errors.decode(errors="replace").strip().rpartition("\n")[2])
    return Repeat(figure=round((usage.ru_utime + usage.ru_stime) * 1000, 3))
