"""The benchmark harness: a smoke run through real processes, and its judgement on made-up lines."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import wsproto
import wsproto.events

from benchmarks.harness import accounting, cells, codec_cells, command, framing, gates, record, rendering
from benchmarks.harness.driver import drive
from benchmarks.harness.peers import ContenderFailed, PipePeer, SocketPeer
from benchmarks.harness.suite import Entry, play
from benchmarks.harness.workload import LEGACY, MODERN, Workload, WrongAnswer

ROOT = Path(__file__).resolve().parents[1]
PROVENANCE = record.Provenance("0" * 40, False, "2026-11-21T00:00:00+00:00", {"python": "3.11"}, {"cpu": "some"})


def line(contender: str, figure: float | None, *, cell: str = "server-100B-64", era: str = MODERN) -> record.Line:
    """Make a line whose repeats are `figure` and a worse one."""
    repeats = [] if figure is None else [record.Repeat(figure), record.Repeat(figure), record.Repeat(figure * 2)]
    median, best = record.summarise(repeats)
    return record.Line(
        suite="stdio",
        cell=cell,
        contender=contender,
        era=era,
        unit="cpu_us_per_message",
        median=median,
        best=best,
        repeats=repeats,
        absent=None if figure is not None else "no Node",
        provenance=PROVENANCE,
    )


def gate(**changes: object) -> gates.Gate:
    """Make the gate "ours at most 8 times raw, aim 4", changed as told."""
    row = {"what": "w", "cell": "server-100B-64", "figure": "ratio", "of": "ours", "to": "raw", "gate_at_most": 8.0}
    return msgspec.convert(row | {"aim_at_most": 4.0} | changes, gates.Gate)


def verdict(row: gates.Gate, *lines: record.Line) -> str:
    """Judge one gate."""
    return gates.judge([row], lines)[0].verdict


def test_quick_run_of_the_raw_limit_writes_lines_that_parse(tmp_path: Path) -> None:
    output = tmp_path / "lines.jsonl"
    run = [sys.executable, str(ROOT / "benchmarks" / "run"), "stdio", "--quick", "--contenders", "raw"]
    done = subprocess.run([*run, "--output", str(output)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lines = record.read_lines(output)
    assert [one.absent for one in lines if one.absent] == []
    measured = {(one.cell, one.era) for one in lines if one.contender == "raw"}
    assert {
        ("server-100B-64", MODERN),
        ("server-100B-64", LEGACY),
        ("server-100B-1", MODERN),
        ("server-10KB-16", MODERN),
        ("server-1MB-4", MODERN),
        ("client-100B-64", MODERN),
    } <= measured
    assert all(one.median is not None and one.median > 0 and one.quick and one.repeats for one in lines)
    assert {"python", "trio", "msgspec", "mcp", "node"} <= lines[0].provenance.versions.keys()
    assert rendering.tables(lines, []).count(".. list-table::") == 1 + len(rendering.cells_in_order(lines))


def test_quick_run_over_sockets_measures_every_cell(tmp_path: Path) -> None:
    output = tmp_path / "lines.jsonl"
    run = [sys.executable, str(ROOT / "benchmarks" / "run"), "sockets", "--quick", "--output", str(output)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = record.read_lines(output)
    assert [one.absent for one in lines if one.absent] == []
    assert {one.suite for one in lines} == {"sockets"}
    measured = {(one.cell, one.contender) for one in lines}
    assert {(cell.name, name) for cell in cells.SOCKET_CELLS for name in ("raw", "ours")} <= measured
    assert {("ws-100B-64", name) for name in ("native", "bare", "websockets")} <= measured
    assert all(one.median is not None and one.median > 0 for one in lines)
    assert {"trio-websocket", "wsproto", "websockets"} <= lines[0].provenance.versions.keys()
    judged = gates.judge(gates.load_gates(command.gates_of("sockets")), lines)
    assert [item.reason for item in judged if item.reason] == []


def test_another_server_in_our_place_is_for_stdio_only() -> None:
    with pytest.raises(SystemExit):
        command.parse(["sockets", "--ours", "cat"])
    assert command.parse(["stdio", "--ours", "cat"]).ours == "cat"


@pytest.mark.parametrize(
    ("ours", "expected"),
    [(4.0, "aim met"), (4.01, "gate met"), (8.0, "gate met"), (8.01, "FAILED")],
)
def test_at_most_gate_is_judged_by_the_ratio_of_medians(ours: float, expected: str) -> None:
    assert verdict(gate(), line("raw", 1.0), line("ours", ours)) == expected


@pytest.mark.parametrize(
    ("sdk", "expected"),
    [(50.0, "aim met"), (49.9, "gate met"), (25.0, "gate met"), (24.9, "FAILED")],
)
def test_at_least_gate_is_judged_the_other_way_round(sdk: float, expected: str) -> None:
    row = gate(of="sdk", to="ours", gate_at_most=None, aim_at_most=None, gate_at_least=25.0, aim_at_least=50.0)
    assert verdict(row, line("sdk", sdk), line("ours", 1.0)) == expected


def test_missing_figure_fails_a_gate_but_not_an_aim() -> None:
    judged = gates.judge([gate()], [line("raw", 1.0)])[0]
    assert (judged.verdict, judged.failed, judged.reason) == ("MISSING", True, "ours: no line")
    aim = gate(of="typescript@2025-11-25", gate_at_most=None)
    judged = gates.judge([aim], [line("raw", 1.0), line("typescript", None, era=LEGACY)])[0]
    assert (judged.verdict, judged.failed, judged.reason) == ("not measured", False, "typescript@2025-11-25: no Node")


def test_missed_aim_without_a_gate_does_not_fail() -> None:
    judged = gates.judge([gate(gate_at_most=None)], [line("raw", 1.0), line("ours", 5.0)])[0]
    assert (judged.verdict, judged.failed) == ("short of aim", False)


def test_eras_and_cells_are_not_mixed_up() -> None:
    other_era, other_cell = line("ours", 1.0, era=LEGACY), line("ours", 1.0, cell="server-100B-1")
    assert verdict(gate(), line("raw", 1.0), other_era, other_cell) == "MISSING"
    assert verdict(gate(of="ours@2025-11-25"), line("raw", 1.0), other_era, other_cell) == "aim met"


def test_difference_and_value() -> None:
    row = gate(figure="difference", gate_at_most=20.0, aim_at_most=10.0)
    assert verdict(row, line("raw", 90.0), line("ours", 105.0)) == "gate met"
    assert verdict(row, line("raw", 90.0), line("ours", 111.0)) == "FAILED"
    assert verdict(gate(figure="value", to=""), line("ours", 9.0)) == "FAILED"


@pytest.mark.parametrize(("suite", "at_least"), [("stdio", 9), ("sockets", 7)])
def test_gate_files_are_valid_and_name_known_cells(suite: str, at_least: int) -> None:
    rows = gates.load_gates(command.gates_of(suite))
    known = {"server-100B-64", "server-100B-1", "server-10KB-16", "server-1MB-4", "client-100B-64"}
    known |= {"startup-import", "startup-first-reply"}
    if suite == "sockets":
        known = {cell.name for cell in cells.SOCKET_CELLS}
    assert {row.cell for row in rows if not row.cell.startswith("codec-")} == known
    assert sum(row.binding for row in rows) >= at_least
    assert all(row.binding or row.aim_at_most is not None or row.aim_at_least is not None for row in rows)
    assert command.relevant(rows, "raw") == []


def test_codec_timings_become_lines_that_their_gates_find() -> None:
    timings = [
        codec_cells.Timing("newline", size << 20, 1, (size << 20) - 63, chunk, [size / 1000, size / 500])
        for size in (16, 32)
        for chunk in (1, 65536)
    ]
    lines = codec_cells.codec_lines(timings, PROVENANCE, False)
    assert [(one.cell, one.contender) for one in lines] == [
        ("codec-newline-one-1", "16MiB"),
        ("codec-newline-one-1", "32MiB"),
        ("codec-newline-one-65536", "16MiB"),
        ("codec-newline-one-65536", "32MiB"),
    ]
    assert lines[0].best == 16.0
    rows = [row for row in gates.load_gates(command.gates_of("stdio")) if row.cell == "codec-newline-one-1"]
    assert [(item.figure, item.verdict) for item in gates.judge(rows, lines)] == [(2.0, "gate met")]


def test_codec_cell_names_tell_frames_and_feeds_apart() -> None:
    assert codec_cells.Timing("newline", 1000, 10, 100, 64, [1.0]).cell == "codec-newline-100-64"
    assert codec_cells.Timing("newline", 1000, 10, 100, 1000, [1.0]).cell == "codec-newline-100-all"


def test_failed_gate_makes_the_run_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = [line("raw", 1.0), line("ours", 9.0)]
    monkeypatch.setattr(command, "measure", lambda options: lines)
    monkeypatch.setattr(gates, "load_gates", lambda path: [gate()])
    arguments = ["stdio", "--output", str(tmp_path / "lines.jsonl")]
    assert command.main(arguments) == 1
    lines[1] = line("ours", 7.0)
    assert command.main(arguments) == 0


def test_failing_contender_is_out_and_says_why() -> None:
    calls: list[str] = []

    def fail() -> record.Repeat:
        calls.append("failing")
        raise ContenderFailed("fell over")

    def succeed() -> record.Repeat:
        calls.append("fine")
        return record.Repeat(1.0)

    entries = [Entry("c", "failing", "", "u", fail), Entry("c", "fine", "", "u", succeed)]
    play(entries, 3, random.Random(1))
    bad, good = (entry.line("stdio", PROVENANCE, False) for entry in entries)
    assert (bad.median, bad.absent, good.median, good.absent) == (None, "fell over", 1.0, None)
    assert (calls.count("failing"), calls.count("fine")) == (1, 3)


@pytest.mark.parametrize("era", [MODERN, LEGACY])
def test_wrong_answers_never_become_figures(era: str) -> None:
    work = Workload(size=20, era=era)
    text = work.text(7)
    right = (
        f'{{"jsonrpc":"2.0","id":7,"result":{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}]}}}}'
    )
    assert work.check(right.encode()) == 7
    assert work.check(b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}') is None
    for wrong in (
        right.replace('"id":7', '"id":8'),
        right.replace("x", "y"),
        '{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"no"}}',
        '{"jsonrpc":"2.0","id":7,"method":"ping"}',
        right.replace('"resultType"', '"isError":true,"resultType"'),
        right[:-1],
    ):
        with pytest.raises(WrongAnswer):
            work.check(wrong.encode())


def test_contender_that_ends_early_is_reported_with_its_last_words() -> None:
    script = "import sys; sys.stdin.readline(); sys.exit('enough')"
    where = accounting.Placement.choose()
    with PipePeer([sys.executable, "-c", script], where, os.environ, str(ROOT), framing=framing.Newline()) as peer:
        with pytest.raises(ContenderFailed, match=r"exit status 1.*enough"):
            drive(peer, Workload(size=100, era=MODERN), first=1, count=2, in_flight=1)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("raise SystemExit('no port')", r"before it said where it listens.*exit status 1.*no port"),
        ("print('tcp://127.0.0.1:1', flush=True); input()", "cannot connect"),
        ("print('somewhere else', flush=True)", "cannot connect to 'somewhere'"),
    ],
)
def test_server_that_cannot_be_reached_is_reported(script: str, problem: str) -> None:
    where = accounting.Placement.choose()
    peer = SocketPeer([sys.executable, "-c", script], where, os.environ, str(ROOT), framing=framing.Newline())
    with pytest.raises(ContenderFailed, match=problem):
        with peer:
            pass


@pytest.mark.parametrize("name", ["newline", "length-prefix"])
@pytest.mark.parametrize("size", [1, 3, 7, 10_000])
def test_framings_read_what_they_wrote_in_any_pieces(name: str, size: int) -> None:
    payloads = [b"a", b"b" * 300, b"c" * 70_000]
    stream = framing.FRAMINGS[name]().wrap(payloads)
    reader = framing.FRAMINGS[name]()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [message for piece in pieces for message in reader.cut(piece)] == payloads


@pytest.mark.parametrize("size", [1, 3, 7, 10_000, 1_000_000])
def test_websocket_frames_are_read_in_any_pieces(size: int) -> None:
    stream = (
        b"\x81\x01a"  # RFC 6455 section 5.2: FIN and text, length 1
        b"\x89\x02hi"  # a ping
        b"\x01\x02bb\x8a\x00\x80\x01b"  # a message in two fragments, a pong in between
        b"\x81\x7e\x01\x2c" + b"c" * 300 + b"\x81\x7f" + (70_000).to_bytes(8, "big") + b"d" * 70_000
    )
    reader = framing.WebSocketText()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    read = [message for piece in pieces for message in reader.cut(piece)]
    assert read == [b"a", b"bbb", b"c" * 300, b"d" * 70_000]


@pytest.mark.parametrize("stream", [b"\x88\x02\x03\xe9", b"\x80\x01a", b"\xc1\x01a", b"\x01\x01a\x81\x01b"])
def test_close_and_broken_websocket_frames_are_noticed(stream: bytes) -> None:
    with pytest.raises(framing.FramingBroken):
        framing.WebSocketText().cut(stream)


@pytest.mark.parametrize("size", [0, 5, 125, 126, 65_535, 65_536])
def test_websocket_requests_are_what_wsproto_reads(size: int) -> None:
    connection = wsproto.Connection(wsproto.ConnectionType.SERVER)
    connection.receive_data(framing.WebSocketText().wrap([b"x" * size, b"next"]))
    texts = [event.data for event in connection.events() if isinstance(event, wsproto.events.TextMessage)]
    assert "".join(texts) == "x" * size + "next"


def test_upgrade_is_checked_with_the_key_that_was_sent() -> None:
    assert base64.b64encode(framing.KEY) in framing.upgrade_request("127.0.0.1:1")
    right = base64.b64encode(hashlib.sha1(base64.b64encode(framing.KEY) + framing.GUID).digest())
    framing.check_upgrade(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + right)
    for wrong in (b"HTTP/1.1 403 Forbidden\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"):
        with pytest.raises(framing.FramingBroken, match="no upgrade"):
            framing.check_upgrade(wrong)


def test_cpu_of_new_threads_counts_and_of_ended_threads_is_an_error() -> None:
    assert accounting.cpu_between({1: 100}, {1: 150, 2: 30}) == 80
    with pytest.raises(accounting.AccountingError):
        accounting.cpu_between({1: 100, 2: 5}, {1: 150})


def test_settling_waits_until_the_figure_stands_still() -> None:
    readings = iter([{1: 10}, {1: 20}, {1: 30}, {1: 30}])
    assert accounting.settle(0, read=lambda pid: next(readings)) == {1: 30}


def test_splice_replaces_what_is_between_the_markers() -> None:
    begin, end = rendering.BEGIN.format(suite="stdio"), rendering.END.format(suite="stdio")
    document = f"before\n\n{begin}\n\nold\n{end}\n\nafter\n"
    once = rendering.splice(document, "stdio", "new")
    assert once == f"before\n\n{begin}\n\nnew\n{end}\n\nafter\n"
    assert rendering.splice(once, "stdio", "new") == once
    with pytest.raises(ValueError, match="no line"):
        rendering.splice("no markers", "stdio", "new")
