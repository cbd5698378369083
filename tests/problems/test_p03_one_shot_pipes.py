"""User problem 3: what was asked before the end of input is answered, however the input ends."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.processes import (
    DEADLINE,
    ECHO,
    ENVIRONMENT,
    ROOT,
    encode,
    handshake,
    journal,
    modern,
    notification,
    request,
    running,
    server,
)

RUNS = 100
AT_ONCE = 2


def legacy_requests() -> list[dict[str, Any]]:
    """Return a handshake and ten calls: eleven requests and a notification."""
    calls = [request(n, "tools/call", name="echo", arguments={"text": f"text {n}"}) for n in range(1, 11)]
    return [*handshake(), *calls]


def modern_requests() -> list[dict[str, Any]]:
    """Return a discovery and ten calls."""
    calls = [modern(n, "tools/call", name="echo", arguments={"text": f"text {n}"}) for n in range(1, 11)]
    return [modern(0, "server/discover"), *calls]


async def one_run(command: list[str], stdin: Any) -> list[dict[str, Any]]:
    """Run a program once and return what it wrote; it has to end with 0 and to say nothing else."""
    with trio.fail_after(DEADLINE):
        done = await trio.run_process(
            command, stdin=stdin, capture_stdout=True, capture_stderr=True, check=False, env=ENVIRONMENT, cwd=ROOT
        )
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(answers: list[dict[str, Any]]) -> None:
    assert sorted(answer["id"] for answer in answers) == list(range(11))
    texts = {answer["id"]: answer["result"]["content"][0]["text"] for answer in answers if answer["id"]}
    assert texts == {n: f"text {n}" for n in range(1, 11)}


@pytest.mark.parametrize("through", ["file", "cat"])
async def test_a_hundred_of_a_hundred_one_shot_runs_give_every_answer(through: str, tmp_path: Path) -> None:
    paths = [tmp_path / "11-requests-legacy.jsonl", tmp_path / "11-requests-modern.jsonl"]
    for path, requests in zip(paths, [legacy_requests(), modern_requests()], strict=True):
        path.write_bytes(encode(*requests))
    left = list(range(RUNS))
    good = 0

    async def runs() -> None:
        nonlocal good
        while left:
            path = paths[left.pop() % 2]
            if through == "file":
                with path.open("rb") as file:
                    answers = await one_run(list(ECHO), file)
            else:
                command = ["sh", "-c", f"cat {shlex.quote(str(path))} | {shlex.join(ECHO)}"]
                answers = await one_run(command, subprocess.DEVNULL)
            check(answers)
            good += 1

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(runs)
    assert good == RUNS


async def test_slow_answers_are_waited_for(tmp_path: Path) -> None:
    content = encode(*[request(n, "sleep", seconds=0.05 * (n % 3)) for n in range(11)], notification("ignored"))
    async with running(server(tmp_path), tmp_path, stdin="file", content=content) as program:
        assert sorted(answer["id"] for answer in await program.rest()) == list(range(11))
        assert await program.wait() == 0


async def test_a_torn_last_line_is_reported_and_never_executed(tmp_path: Path) -> None:
    content = encode(request(1, "echo"), request(2, "echo")).rstrip(b"\n")
    async with running(server(tmp_path), tmp_path, stdin="file", content=content) as program:
        answers = await program.rest()
        assert await program.wait() == 0
    assert [answer.get("id") for answer in answers if "result" in answer] == [1]
    assert [answer["error"]["code"] for answer in answers if "error" in answer] == [-32700]
    assert len(journal(tmp_path, "error")) == 1


@pytest.mark.parametrize("stdin", ["file", "pipe"])
async def test_a_handler_that_never_ends_is_cut_at_the_drain_and_answered(stdin: Any, tmp_path: Path) -> None:
    content = encode(request(1, "echo"), request("endless", "forever"), request(3, "sleep", seconds=0.1))
    drain = 0.5
    async with running(server(tmp_path, "--drain", str(drain)), tmp_path, stdin=stdin, content=content) as program:
        if stdin == "pipe":
            await program.send_bytes(content)
            await program.end_input()
        answers = {answer["id"]: answer for answer in await program.rest()}
        assert await program.wait() == 0
    assert set(answers) == {1, "endless", 3}
    assert answers[3]["result"] == {}
    error = answers["endless"]["error"]
    assert (error["code"], error["data"]) == (-32603, {"reason": "shutdown"})
    (began,), (cancelled,) = journal(tmp_path, "began"), journal(tmp_path, "cancelled")
    assert cancelled["cause"] == "drain"
    assert drain - 0.1 < cancelled["at"] - began["at"] < 3 * drain
    assert journal(tmp_path, "cleaned up")
    assert program.stderr == ""


async def test_eleven_hundred_requests_in_one_pipe_give_eleven_hundred_answers(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    path.write_bytes(encode(*[request(n, "echo", n=n) for n in range(1100)]))
    with path.open("rb") as file:
        answers = await one_run([sys.executable, *ECHO[1:]], file)
    assert sorted(answer["result"]["n"] for answer in answers) == list(range(1100))
