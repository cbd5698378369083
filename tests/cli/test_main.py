"""Parsing and exit codes of the command, and its two names."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import sysconfig

import pytest

from tests.commands import ECHO, start, trio_mcp, wait_for_server
from tests.processes import alive
from trio_mcp_transport.cli import main


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["echo"], "required: TRANSPORT"),
        (["echo", "pigeon"], "invalid choice: 'pigeon'"),
        (["echo", "stdio", "--framing", "none"], "invalid choice: 'none'"),
        (["echo", "stdio", "--max-message-size", "0"], "'0' is no integer of at least 1"),
        (["echo", "stdio", "--max-message-size", "1.5"], "'1.5' is no integer of at least 1"),
        (["echo", "stdio", "--port", "1"], "unrecognized arguments: --port 1"),
        (["echo", "tcp", "--port", "65536"], "'65536' is no port from 0 to 65535"),
        (["echo", "ws", "--port", "-1"], "'-1' is no port"),
        (["echo", "tcp", "--port", "٣"], "'٣' is no port"),
        (["echo", "tcp", "--framing", "none"], "invalid choice: 'none'"),
        (["echo", "unix"], "required: --path"),
        (["echo", "ws", "--path", "x"], "'x' does not begin with a slash"),
        (["echo", "ws", "--engine", "steam"], "invalid choice: 'steam'"),
        (["call", "m", "--to", "tls://h:1", "--ca", "x", "--no-verify"], "not allowed with argument"),
        (["echo", "stdio", "--", "x"], "echo takes no command behind --"),
        (["demo", "--"], "demo takes no command behind --"),
        (["demo", "--round-trips", "none"], "'none' is no integer of at least 1"),
        (["call"], "required: METHOD"),
        (["call", "m", "{}", "more", "--", "x"], "unrecognized arguments: more"),
        (["call", "m", "--era", "stone", "--", "x"], "invalid choice: 'stone'"),
        (["call", "m", "--deadline", "nan", "--", "x"], "'nan' is no positive number of seconds"),
        (["call", "m", "--deadline", "inf", "--", "x"], "'inf' is no positive number of seconds"),
        (["call", "m", "--deadline", "-1", "--", "x"], "'-1' is no positive number of seconds"),
        (["call", "m", "--deadline", "soon", "--", "x"], "'soon' is no positive number of seconds"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("usage: trio-mcp")
    assert told in output.err


def test_help_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert [name for name in ("echo", "call", "demo") if name not in told] == []


def test_everything_behind_the_first_dashes_belongs_to_the_program() -> None:
    # Were one of them ours, `--era` would be refused and `--` taken away.
    code = "import sys; sys.exit(0 if sys.argv[1:] == ['--era', 'stone', '--', 'x'] else 7)"
    status, _, errors = trio_mcp("call", "m", "--", sys.executable, "-c", code, "--era", "stone", "--", "x")
    assert status == 3
    assert "exited with status 0" in errors


def test_the_installed_command_is_the_module() -> None:
    script = shutil.which("trio-mcp", path=sysconfig.get_path("scripts"))
    assert script is not None
    done = subprocess.run([script, "call", "nothing"], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == trio_mcp("call", "nothing")


def test_an_interrupt_is_130_without_a_traceback_and_leaves_no_child() -> None:
    with start("call", "sleep", '{"seconds": 60}', "--", *ECHO) as process:
        server = wait_for_server(process.pid)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (130, b"", b"")
    assert not alive(server)


def test_an_interrupt_of_the_demo_is_130_as_well() -> None:
    with start("demo", "--round-trips", "1000") as process:
        server = wait_for_server(process.pid)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, b"")
    assert output.count(b"\n") == 3, "the head, and the rows of the memory transport"
    assert not alive(server)
