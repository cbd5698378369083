"""User problem 2: a stdio server stops from inside, and at a signal, while its peer holds standard input open."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest
import trio

from tests.processes import Kind, Program, journal, noted, request, running, server

ENDED_IN = 1.0
"""Published: seconds from a signal to the exit of an idle server."""
CANCELLED_IN = 1.1
"""Published: seconds of a service in a scope of one second."""

every_stdin = pytest.mark.parametrize("stdin", ["pipe", "socket", "pty"])
every_signal = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def nonblocking(program: Program) -> bool:
    """Return the bit on the open file description that the program shares with the test."""
    return bool(fcntl.fcntl(program.its_stdin, fcntl.F_GETFL) & os.O_NONBLOCK)


async def ready(program: Program) -> None:
    """Wait until the server answers."""
    assert (await program.ask(request(1, "echo", text="a")))["result"] == {"text": "a"}


@every_stdin
async def test_a_scope_around_the_service_is_honoured(stdin: Kind, tmp_path: Path) -> None:
    async with running(server(tmp_path, "--embedded", "--within", "1"), tmp_path, stdin=stdin) as program:
        assert await program.wait() == 0
        assert not nonblocking(program)
    (left,) = journal(tmp_path, "left")
    assert left["cancelled"]
    assert 1.0 <= left["seconds"] < CANCELLED_IN
    assert journal(tmp_path)[-1]["event"] == "finally"
    assert program.stderr == ""


async def test_a_scope_around_a_busy_service_lets_the_handlers_clean_up_first(tmp_path: Path) -> None:
    async with running(server(tmp_path, "--embedded", "--within", "0.3"), tmp_path) as program:
        await program.send(request(1, "forever"))
        assert await program.wait() == 0
        assert await program.rest() == []
    (left,) = journal(tmp_path, "left")
    assert 0.3 <= left["seconds"] < 0.3 + 0.1
    assert [entry["cause"] for entry in journal(tmp_path, "cancelled")] == ["service"]
    events = [entry["event"] for entry in journal(tmp_path)]
    assert events.index("cleaned up") < events.index("closed") < events.index("left")


@every_signal
@every_stdin
async def test_a_signal_ends_an_idle_server_with_all_its_cleanup(
    stdin: Kind, number: signal.Signals, tmp_path: Path
) -> None:
    async with running(server(tmp_path), tmp_path, stdin=stdin) as program:
        await ready(program)
        program.signal(number)
        assert await program.wait(ENDED_IN) == 0
        assert not nonblocking(program)
    assert [entry["event"] for entry in journal(tmp_path)] == ["started", "closed", "finally"]
    assert program.stderr == ""


@every_signal
async def test_the_first_signal_lets_a_call_finish_and_refuses_nothing_it_had_begun(
    number: signal.Signals, tmp_path: Path
) -> None:
    async with running(server(tmp_path), tmp_path) as program:
        await ready(program)
        await program.send(request(2, "sleep", seconds=0.3))
        await ready_for(program, 2)
        program.signal(number)
        assert [answer["result"] for answer in await program.rest()] == [{}]
        assert await program.wait() == 0


async def ready_for(program: Program, id_: int) -> None:
    """Wait until the server has read the request ``id_``: answers to later ones say so."""
    assert (await program.ask(request(id_ + 100, "echo")))["id"] == id_ + 100


@every_signal
async def test_a_second_signal_cancels_a_busy_server_at_once(number: signal.Signals, tmp_path: Path) -> None:
    async with running(server(tmp_path, "--drain", "60"), tmp_path) as program:
        await program.send(request(1, "forever"))
        await noted(tmp_path, "began")
        program.signal(number)
        await trio.sleep(0.1)
        assert not journal(tmp_path, "cancelled")
        program.signal(number)
        assert await program.wait(ENDED_IN) == 0
        assert not nonblocking(program)
        assert await program.rest() == []
    assert [entry["cause"] for entry in journal(tmp_path, "cancelled")] == ["service"]
    events = [entry["event"] for entry in journal(tmp_path)]
    assert events.index("cleaned up") < events.index("closed") < events.index("finally")
    assert program.stderr == ""
