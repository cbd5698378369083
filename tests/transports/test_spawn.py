"""Starting a child: what it gets, what it does not get, and one clear error when it cannot be started."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_mcp_transport.errors import ConfigError, ConnectionClosed, ConnectionFailed
from trio_mcp_transport.transports.child import Child
from trio_mcp_transport.transports.spawn import spawn

DEADLINE = 10.0


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def has_children() -> bool:
    """Return whether this process has children, zombies included."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


async def read_all(child: Child) -> bytes:
    """Read standard output to its end, draining standard error meanwhile, and end the child."""
    chunks = []
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.drain_stderr)
            while chunk := await child.stdout.receive_some():
                chunks.append(chunk)
            await child.settle()
            await child.shutdown()
    return b"".join(chunks)


@pytest.mark.requirement("M-IO-01")
async def test_a_child_talks_over_its_standard_input_and_output() -> None:
    child = await spawn(["cat"])
    await child.pair.send_all(b"ping\n")
    assert await child.pair.receive_some() == b"ping\n"
    await child.pair.send_eof()
    assert await read_all(child) == b""
    assert child.exit_status == 0


async def test_arguments_reach_the_program_unchanged_and_no_shell_sees_them() -> None:
    arguments = ["; echo owned", "$HOME", "*", "two words", "'", ""]
    child = await spawn(["printf", "<%s>", *arguments])
    assert await read_all(child) == "".join(f"<{argument}>" for argument in arguments).encode()


async def test_paths_are_taken_as_elements_of_the_command() -> None:
    child = await spawn([Path("/bin/echo"), Path("/some/where")], cwd=Path("/"))
    assert await read_all(child) == b"/some/where\n"


async def test_a_child_leads_its_own_group_and_session() -> None:
    child = await spawn(["cat"])
    assert os.getpgid(child.pid) == os.getsid(child.pid) == child.pid
    await child.shutdown()


async def test_a_child_inherits_its_three_descriptors_and_no_more() -> None:
    first = await spawn(["cat"], stderr="capture")
    inheritable, other = os.pipe()
    os.set_inheritable(inheritable, True)
    second = await spawn(["ls", "/proc/self/fd"], stderr="capture")
    assert (await read_all(second)).split() == [b"0", b"1", b"2", b"3"]  # 3 is the folder that ls reads.
    await first.shutdown()
    os.close(inheritable)
    os.close(other)


@pytest.mark.requirement("M-SC-05", "M-IO-20")
async def test_a_child_gets_the_chosen_environment_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "x")
    assert b"SECRET" not in await read_all(await spawn(["env"]))
    output = await read_all(await spawn(["env"], env={"API_KEY": "given"}))
    assert b"API_KEY=given" in output.splitlines()
    assert b"PATH=" in output
    assert b"SECRET" not in output
    assert b"SECRET_OF_THE_PARENT=x" in (await read_all(await spawn(["env"], inherit_env=True))).splitlines()


async def test_a_child_starts_in_the_given_folder(tmp_path: Path) -> None:
    child = await spawn(["pwd"], cwd=tmp_path)
    assert await read_all(child) == os.fsencode(tmp_path) + b"\n"


def not_executable(folder: Path) -> list[str]:
    (folder / "data").write_text("data")
    return [str(folder / "data")]


def no_program(folder: Path) -> list[str]:
    (folder / "garbage").write_bytes(b"\x00\x01\x02\x03")
    (folder / "garbage").chmod(0o755)
    return [str(folder / "garbage")]


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda folder: ["no-such-program-anywhere"], FileNotFoundError),
        (lambda folder: [str(folder / "missing")], FileNotFoundError),
        (lambda folder: [str(folder)], PermissionError),
        (not_executable, PermissionError),
        (no_program, OSError),
    ],
)
async def test_a_program_that_cannot_start_is_one_error_naming_it_and_the_cause(
    make: Any, cause: type[OSError], tmp_path: Path
) -> None:
    command = make(tmp_path)
    before = open_fds()
    with pytest.raises(ConnectionFailed) as caught:
        await spawn([*command, "--token=secret"], stderr="capture")
    assert not isinstance(caught.value, ConnectionClosed)
    assert isinstance(caught.value.__cause__, cause)
    assert str(caught.value) == f"cannot start {command[0]!r}: {os.strerror(caught.value.__cause__.errno or 0)}"
    assert caught.value.exit_status is None
    assert open_fds() == before


async def test_a_folder_that_does_not_exist_is_named_in_the_error(tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    with pytest.raises(ConnectionFailed) as caught:
        await spawn(["cat"], cwd=folder)
    assert str(caught.value) == f"cannot start 'cat' in directory {str(folder)!r}: No such file or directory"
    assert isinstance(caught.value.__cause__, FileNotFoundError)


async def test_running_out_of_descriptors_is_the_same_error_and_leaks_none() -> None:
    await read_all(await spawn(["true"]))  # Threads and epolls exist from here on.
    before = open_fds()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for room in range(8):  # Three pipes, and the one over which `subprocess` learns that the program was found.
        limit = limit_with_room_for(room)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            with pytest.raises(ConnectionFailed, match="Too many open files"):
                await spawn(["cat"], stderr="capture")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert open_fds() == before


def limit_with_room_for(count: int) -> int:
    """Return the limit under which exactly ``count`` more descriptors can be opened."""
    limit = 0
    while True:
        try:
            os.fstat(limit)
        except OSError:
            if count == 0:
                return limit
            count -= 1
        limit += 1


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("cat -u", {}),
        (b"cat", {}),
        (Path("cat"), {}),
        ([], {}),
        ([""], {}),
        (["cat", 1], {}),
        ([b"cat"], {}),
        (["cat", "a\0b"], {}),
        (["cat"], {"cwd": "a\0b"}),
        (["cat"], {"env": {"A=B": ""}}),
        (["cat"], {"stderr": "everywhere"}),
    ],
)
async def test_what_cannot_be_an_argument_is_a_configuration_error(
    command: Sequence[str], options: dict[str, Any]
) -> None:
    before = open_fds()
    with pytest.raises(ConfigError):
        await spawn(command, **options)
    assert open_fds() == before


async def test_a_spawn_cancelled_at_any_checkpoint_has_started_nothing_or_returns_its_child() -> None:
    await read_all(await spawn(["true"], stderr="capture"))
    before = open_fds()
    outcomes = []
    for step in range(6):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def cancel(step: int = step, scope: trio.CancelScope = scope) -> None:
                    for _ in range(step):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                if step == 0:
                    scope.cancel()
                else:
                    nursery.start_soon(cancel)
                child = None
                try:
                    child = await spawn(["cat"], stderr="capture")
                finally:
                    if child is not None:
                        await child.shutdown()
                outcomes.append("started")
        assert open_fds() == before
        assert not has_children()
    assert len(outcomes) < 6  # The first, at least, was cancelled before it started anything.


@pytest.mark.requirement("M-IO-07", "M-IO-08")
@pytest.mark.parametrize("policy", ["inherit", "devnull", "capture", "callback"])
async def test_megabytes_on_standard_error_before_the_answer_do_not_stop_the_child(
    policy: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    size = 0

    def count(line: str) -> None:
        nonlocal size
        size += len(line)

    flood = 10 * 1024 * 1024 if policy != "capture" else 200_000_000
    if policy == "inherit":
        flood = 100_000  # The reader is pytest's own temporary file.
    script = f"head -c {flood} /dev/zero >&2; echo last words >&2; echo answer"
    child = await spawn(["sh", "-c", script], stderr=count if policy == "callback" else policy)
    assert await read_all(child) == b"answer\n"
    assert child.exit_status == 0
    captured = capfd.readouterr().err
    if policy in ("capture", "callback"):
        assert child.stderr_tail[-1].endswith("last words")
        assert captured == ""
    else:
        assert child.stderr_tail == ()
        assert captured.endswith("last words\n") == (policy == "inherit")
    assert size == (flood + len("last words") if policy == "callback" else 0)


async def test_a_callback_that_raises_neither_stops_the_child_nor_loses_the_tail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(line: str) -> None:
        raise RuntimeError(line)

    child = await spawn(["sh", "-c", "for i in $(seq 50000); do echo $i; done >&2; echo answer"], stderr=fail)
    assert await read_all(child) == b"answer\n"
    assert child.stderr_tail[-1] == "50000"
    assert len(caplog.records) == 1
