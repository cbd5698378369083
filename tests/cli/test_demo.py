"""``trio-mcp demo``: a table of what works, and one row's trouble is one row's only."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from tests.commands import children_of, start, trio_mcp, wait_for_server
from tests.processes import alive
from trio_mcp_transport import StdioClientTransport
from trio_mcp_transport.cli import demo

ROWS = [("memory", "modern"), ("memory", "legacy"), ("stdio", "modern"), ("stdio", "legacy")]


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


def test_a_server_that_is_killed_fails_its_own_row_and_no_other() -> None:
    began = time.monotonic()
    with start("demo", "--json", "--round-trips", "2000") as process:
        victim = wait_for_server(process.pid)
        os.kill(victim, signal.SIGKILL)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (1, b"")
    assert time.monotonic() - began < 20
    rows = [json.loads(line) for line in output.splitlines()]
    assert [(row["transport"], row["era"], row["outcome"]) for row in rows] == [
        ("memory", "modern", "ok"),
        ("memory", "legacy", "ok"),
        ("stdio", "modern", "failed"),
        ("stdio", "legacy", "ok"),
    ]
    assert "was killed by SIGKILL" in rows[2]["reason"]
    assert "\n" not in rows[2]["reason"]
    assert not alive(victim)


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
    assert [row["outcome"] for row in rows] == ["ok", "ok", "failed", "failed"]


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
