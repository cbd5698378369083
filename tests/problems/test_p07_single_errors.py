"""User problem 7: what went wrong with a server is one typed error that names the cause, never a group."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.processes import PROGRAMS, ROOT, has_children
from trio_mcp_transport import (
    ClientTransport,
    ConnectionClosed,
    ConnectionFailed,
    StdioClientTransport,
    TransportError,
    open_client,
    run_client,
)

SOON = 5.0
"""Seconds within which the caller knows; the longest way is a child that ignores the end of its input."""


def child(behaviour: str, **options: Any) -> StdioClientTransport:
    options = {"stderr": "capture", "env": {"PYTHONPATH": str(ROOT)}, **options}
    return StdioClientTransport([sys.executable, str(PROGRAMS / "child.py"), behaviour], **options)


async def failure_of_block(transport: ClientTransport, era: Any) -> BaseException:
    """Return what a caller of `open_client` sees."""
    with trio.fail_after(SOON):
        try:
            async with open_client(transport, era=era):
                raise AssertionError("it connected")
        except BaseException as error:
            return error


async def failure_of_start(transport: ClientTransport, era: Any) -> BaseException:
    """Return what a caller of ``nursery.start(run_client, ...)`` sees."""
    seen: list[BaseException] = []
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(lambda task_status: run_client(transport, era=era, task_status=task_status))
            except BaseException as error:
                seen.append(error)
    return seen[0]


every_door = pytest.mark.parametrize("fail", [failure_of_block, failure_of_start])
every_era = pytest.mark.parametrize("era", ["auto", "legacy"])


def check(error: BaseException, kind: type[TransportError], *words: str) -> None:
    assert type(error) is kind
    for word in words:
        assert word in str(error)
    assert not has_children()


@every_door
async def test_a_missing_binary(fail: Callable[..., Any]) -> None:
    error = await fail(StdioClientTransport(["/nowhere/no-such-server", "--token", "secret"]), "auto")
    check(error, ConnectionFailed, "/nowhere/no-such-server", "No such file or directory")
    assert type(error.__cause__) is FileNotFoundError
    assert "secret" not in str(error)


@every_door
async def test_a_file_that_is_not_executable(fail: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "server"
    path.write_text("#!/bin/sh\n")
    error = await fail(StdioClientTransport([str(path)]), "auto")
    check(error, ConnectionFailed, str(path), "Permission denied")
    assert type(error.__cause__) is PermissionError


@every_door
async def test_a_working_directory_that_does_not_exist(fail: Callable[..., Any]) -> None:
    error = await fail(StdioClientTransport([sys.executable], cwd="/nowhere"), "auto")
    check(error, ConnectionFailed, "/nowhere", "No such file or directory")
    assert type(error.__cause__) is FileNotFoundError


@every_era
@every_door
async def test_a_child_that_exits_with_3_and_a_traceback(fail: Callable[..., Any], era: str) -> None:
    error = await fail(child("crash"), era)
    check(error, ConnectionFailed, "exited with status 3", "ValueError: the configuration names no database")
    assert isinstance(error, ConnectionFailed)
    assert error.exit_status == 3
    assert error.stderr_tail[0] == "starting up"
    assert error.stderr_tail[1] == "Traceback (most recent call last):"
    assert error.stderr_tail[-1] == "ValueError: the configuration names no database"


@every_era
async def test_a_child_that_closes_standard_output_but_lives(era: str) -> None:
    error = await failure_of_block(child("mute", eof_grace=0.1), era)
    check(error, ConnectionFailed, "closed its standard output and still runs", "going quiet")
    assert isinstance(error, ConnectionFailed)
    assert error.stderr_tail == ("going quiet",)


async def test_a_child_that_dies_during_a_call_fails_the_call_and_not_the_block() -> None:
    async with open_client(child("after-one"), era="modern") as client:
        with pytest.raises(ConnectionClosed) as first:
            await client.request("tools/call", {"name": "any", "arguments": {}})
        with pytest.raises(ConnectionClosed) as later:
            await client.request("tools/call", {"name": "any", "arguments": {}})
        await trio.lowlevel.checkpoint()  # The block itself goes on.
    for error in (first.value, later.value):
        check(error, ConnectionClosed, "exited with status 4", "last words")
        assert error.exit_status == 4
        assert error.stderr_tail == ("last words",)
    assert first.value is not later.value


async def test_a_child_that_is_killed_names_the_signal() -> None:
    transport = StdioClientTransport(["sh", "-c", "kill -SEGV $$"])
    error = await failure_of_block(transport, "auto")
    check(error, ConnectionFailed, "was killed by SIGSEGV")
    assert isinstance(error, ConnectionFailed)
    assert error.exit_status == -signal.SIGSEGV


async def test_an_exception_of_the_body_leaves_unwrapped_and_the_child_is_reaped() -> None:
    with pytest.raises(KeyError, match="the program's own"):
        async with open_client(child("after-one"), era="modern"):
            raise KeyError("the program's own")
    assert not has_children()
