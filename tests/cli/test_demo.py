"""``trio-mcp demo``: a table of what works, and one row's trouble is one row's only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.commands import COMMAND, ENVIRONMENT, children_of, start, trio_mcp, wait_for_server
from tests.processes import alive
from trio_mcp_transport import StdioClientTransport
from trio_mcp_transport.cli import demo

TRANSPORTS = ["memory", "stdio", "tcp", "unix", "ws", "ws-native"]
ROWS = [(transport, era) for transport in TRANSPORTS for era in ("modern", "legacy")]


def test_the_table_has_a_row_for_every_transport_and_era() -> None:
    status, output, errors = trio_mcp("demo", "--round-trips", "20")
    assert (status, errors) == (0, "")
    head, *lines = output.splitlines()
    assert head.split() == ["transport", "era", "round", "trips", "p50", "outcome"]
    assert [tuple(line.split()[:2]) for line in lines] == ROWS
    for line in lines:
        round_trips, p50, unit, outcome = line.split()[2:]
        assert (round_trips, outcome) == ("20", "ok")
        assert float(p50) > 0
        assert unit in ("us", "ms")


def test_json_is_one_object_per_row() -> None:
    status, output, errors = trio_mcp("demo", "--json", "--round-trips", "3")
    assert (status, errors) == (0, "")
    rows = [json.loads(line) for line in output.splitlines()]
    assert [(row["transport"], row["era"]) for row in rows] == ROWS
    for row in rows:
        assert (row["round_trips"], row["outcome"], row["reason"]) == (3, "ok", None)
        assert row["p50_us"] > 0


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("stdio", "was killed by SIGKILL"), ("tcp", ""), ("unix", ""), ("ws", "")],
)
def test_a_server_that_is_killed_fails_its_own_row_and_no_other(kind: str, reason: str) -> None:
    began = time.monotonic()
    with start("demo", "--json", "--round-trips", "1000") as process:
        victim = wait_for_server(process.pid, kind)
        os.kill(victim, signal.SIGKILL)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (1, b"")
    assert time.monotonic() - began < 20
    rows = [json.loads(line) for line in output.splitlines()]
    assert [(row["transport"], row["era"]) for row in rows] == ROWS
    (failed,) = [row for row in rows if row["outcome"] == "failed"]
    assert (failed["transport"], failed["era"]) == (kind, "modern")
    assert reason in failed["reason"]
    assert failed["reason"] and "\n" not in failed["reason"]
    assert not alive(victim)


def test_it_leaves_neither_processes_nor_files(tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([*COMMAND, "demo", "--round-trips", "1"], env=environment, stdout=subprocess.PIPE) as process:
        servers = {kind: wait_for_server(process.pid, kind) for kind in ("stdio", "tcp", "unix", "ws")}
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []
    assert [kind for kind, pid in servers.items() if alive(pid)] == []


def test_the_failed_row_is_told_in_the_table() -> None:
    row = demo.Row("stdio", "modern", [0.000_5, 0.001_5], reason="it died")
    assert row.as_line().split() == ["stdio", "modern", "2", "1000", "us", "FAILED:", "it", "died"]
    assert demo.Row("stdio", "modern", [0.25]).as_line().split()[3:] == ["250.0", "ms", "ok"]
    assert demo.Row("stdio", "modern").as_line().split()[3:] == ["-", "ok"]


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Put another program in the place of the stdio server."""

    def put(code: str) -> None:
        async def drive_it(drive: demo.Drive) -> None:
            await drive(StdioClientTransport([sys.executable, "-c", code], eof_grace=0.1, term_grace=0.1))

        monkeypatch.setitem(demo.SERVERS, "stdio", drive_it)

    yield put
    assert children_of(os.getpid()) == []


async def test_a_server_that_hangs_fails_its_row_in_time(child: Any) -> None:
    child("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    began = trio.current_time()
    row = await demo.run_row("stdio", "modern", 5, 0.3)
    assert row.reason == "not done after 0.3 s, with 0 of 5 round trips"
    assert trio.current_time() - began < 2


async def test_a_server_that_never_says_where_it_is_fails_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(demo.SERVERS, "tcp", lambda drive: demo._with_echo(drive, "tcp", "--port", "none"))
    row = await demo.run_row("tcp", "modern", 5, 5)
    assert row.reason == "the server ended before it was ready"


async def test_a_server_that_ignores_its_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x:', flush=True); time.sleep(60)"
    monkeypatch.setattr(demo, "client_transport_for", lambda address, **options: StdioClientTransport(["/nowhere"]))
    monkeypatch.setattr(demo, "ECHO_COMMAND", ["-c", code])
    began = trio.current_time()
    row = await demo.run_row("tcp", "modern", 5, 5)
    assert row.reason is not None and "/nowhere" in row.reason
    assert trio.current_time() - began < 3
    assert children_of(os.getpid()) == []


async def test_a_server_that_cannot_start_fails_its_row(child: Any) -> None:
    child("raise SystemExit(5)")
    row = await demo.run_row("stdio", "modern", 5, 5)
    assert row.reason is not None
    assert "exited with status 5" in row.reason


LIAR = """
import sys
from trio_mcp_transport import MessageHandler, RpcError, ServerInfo, StdioServerTransport, run

class Liar(MessageHandler):
    async def handle_message(self, message, context):
        if message.params["name"] == "echo":
            text = message.params["arguments"]["text"]
            return {"content": [{"type": "text", "text": TEXT}]}
        MORE

run(Liar(), StdioServerTransport(), server_info=ServerInfo("liar", "1"))
"""


@pytest.mark.parametrize(
    ("text", "more", "reason"),
    [
        ('"lie"', "", "echo of 'round trip 0' answered"),
        ("text", 'raise RpcError(5, "no such thing")', "[5] no such thing"),
        ("text", "return {}", "progress in 5 steps was reported as []"),
        (
            "text",
            "\n        for n in range(1, 6): await context.progress(n, 5)\n        return {}",
            "a call that takes an hour was over at once",
        ),
    ],
)
async def test_every_answer_is_checked(child: Any, text: str, more: str, reason: str) -> None:
    child(LIAR.replace("TEXT", text).replace("MORE", more))
    row = await demo.run_row("stdio", "modern", 2, 5)
    assert row.reason is not None
    assert reason in row.reason


def test_one_failed_row_makes_the_exit_code(child: Any, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    from trio_mcp_transport.cli import main

    child("raise SystemExit(5)")
    assert main(["demo", "--json", "--round-trips", "2"]) == 1
    rows = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert [row["transport"] for row in rows if row["outcome"] == "failed"] == ["stdio", "stdio"]
    assert len(rows) == len(ROWS)


def test_the_time_is_shared_between_the_rows_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    now = 100.0

    async def hang(name: str, era: Any, round_trips: int, seconds: float) -> demo.Row:
        nonlocal now
        given.append(seconds)
        now += seconds
        return demo.Row(name, era, reason="hung")

    monkeypatch.setattr(demo, "run_row", hang)
    monkeypatch.setattr(demo.time, "monotonic", lambda: now)
    monkeypatch.setattr(demo, "SERVERS", dict.fromkeys("abcdefgh"))
    assert len(list(demo._rows(1))) == 16
    assert given == pytest.approx([demo.TOTAL / 16] * 16)
    monkeypatch.setattr(demo, "SERVERS", {"a": None})
    given.clear()
    list(demo._rows(1))
    assert given == pytest.approx([demo.LONGEST_ROW] * 2)
