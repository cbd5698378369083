"""The example distribution adds a transport in 25 lines: built, installed, called, and certified."""

from __future__ import annotations

import ast
import importlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.package_tree import ROOT
from trio_mcp_transport import ConfigError, ConnectionFailed, open_client
from trio_mcp_transport.registry import TransportPlugin, client_transport_for, server_transport_for, transport_names
from trio_mcp_transport.testing.check_transport import check_transport

EXAMPLE = ROOT / "examples" / "plugin_tunnel"
MODULE = EXAMPLE / "trio_mcp_tunnel.py"
CARRIER = f"{sys.executable} -ISE {ROOT / 'tests' / 'programs' / 'carrier.py'}"
LONGEST = 25
"""Lines of transport code."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the distribution from a copy and install it into a folder of its own; nothing is downloaded."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for path in EXAMPLE.glob("*.*"):
        (source / path.name).write_bytes(path.read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    done = subprocess.run([*pip, *options, str(source)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def on_path(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(installed))
    yield
    sys.modules.pop("trio_mcp_tunnel", None)


def code_lines(path: Path) -> list[str]:
    """Return the lines that are code: no imports, no docstrings, no comments, no blank lines."""
    text = path.read_text(encoding="utf-8")
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.Import | ast.ImportFrom) or docstring:
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return [line for number, line in lines if number not in left_out and line.split("#")[0].strip()]


def test_a_transport_for_both_sides_takes_no_more_than_it_is_said_to() -> None:
    lines = code_lines(MODULE)
    assert len(lines) <= LONGEST
    assert not [line for line in lines if ";" in line]


def test_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        '"""Two\nlines."""\n\nfrom a import (\n    b,\n)\n\n# why\nx = [\n    1,  # one\n]\n\ndef f():\n    """Do."""\n'
    )
    assert code_lines(path) == ["x = [", "    1,  # one", "]", "def f():"]


def test_it_is_installed_as_a_plugin_and_imported_only_when_it_is_used(on_path: None) -> None:
    assert transport_names()["tunnel"] == ("trio-mcp-tunnel",)
    assert "trio_mcp_tunnel" not in sys.modules
    client_transport_for("tunnel:x")
    assert isinstance(importlib.import_module("trio_mcp_tunnel").plugin, TransportPlugin)


def trio_mcp(installed: Path, tools: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the command with the plug-in installed and a stand-in for ssh: it ignores the host and runs the program."""
    ssh = tools / "ssh"
    ssh.write_text('#!/bin/sh\n[ "$1" = me@example.com ] || exit 255\nshift\nexec "$@"\n')
    ssh.chmod(0o755)
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    python_path = os.pathsep.join([str(installed), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "trio_mcp_transport", *arguments],
        env={**os.environ, "PATH": path, "PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_the_command_calls_through_it(installed: Path, tmp_path: Path, era: str) -> None:
    address = f"tunnel:ssh me@example.com {sys.executable} -m trio_mcp_transport echo stdio"
    call = ("call", "tools/call", '{"name": "echo", "arguments": {"text": "hi"}}')
    status, output, errors = trio_mcp(installed, tmp_path, *call, "--to", address, "--era", era)
    assert (status, errors) == (0, "")
    assert json.loads(output)["content"] == [{"type": "text", "text": "hi"}]


@pytest.mark.parametrize(
    ("command", "told"), [("no-such-program", "No such file"), ("ssh you@example.com x", "closed the connection")]
)
def test_what_goes_wrong_is_a_transport_failure_in_one_line(
    installed: Path, tmp_path: Path, command: str, told: str
) -> None:
    status, output, errors = trio_mcp(installed, tmp_path, "call", "x", "--to", f"tunnel:{command}")
    assert (status, output) == (3, "")
    assert told in errors and errors.count("\n") == 1


def test_without_it_the_name_is_unknown_and_with_it_it_is_offered(installed: Path, tmp_path: Path) -> None:
    status, _, errors = trio_mcp(tmp_path, tmp_path, "call", "x", "--to", "tunnel:x")
    assert status == 2 and "tunnel: is no scheme" in errors
    status, _, errors = trio_mcp(installed, tmp_path, "call", "x", "--to", "pigeon:x")
    assert status == 2 and "tunnel: (a plug-in of trio-mcp-tunnel)" in errors


@pytest.mark.parametrize("rest", ["", "'unbalanced"])
@pytest.mark.parametrize("make", [client_transport_for, server_transport_for])
def test_what_is_no_command_is_refused_with_its_form(on_path: None, make: Any, rest: str) -> None:
    with pytest.raises(ConfigError, match=r"refuses .*its form: tunnel:COMMAND"):
        make(f"tunnel:{rest}")


async def test_what_it_raises_reaches_the_caller_with_its_cause(on_path: None) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        async with open_client(client_transport_for("tunnel:/nowhere/at/all")):
            pytest.fail("there is no connection")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


async def test_it_is_certified(on_path: None, tmp_path: Path) -> None:
    numbers = itertools.count()

    def make_pair() -> tuple[Any, Any]:
        socket = tmp_path / str(next(numbers))

        def client(addresses: tuple[str, ...]) -> Any:
            assert addresses == (f"tunnel:{CARRIER} listen {socket}",)
            return client_transport_for(f"tunnel:{CARRIER} connect {socket}")

        return server_transport_for(f"tunnel:{CARRIER} listen {socket}"), client

    async def connect_stream(addresses: tuple[str, ...]) -> trio.abc.Stream:
        path = addresses[0].split()[-1]
        while not os.path.exists(path):  # noqa: ASYNC110, ASYNC240 - another process makes it
            await trio.sleep(0.002)
        return await trio.open_unix_socket(path)

    report = await check_transport(
        make_pair, connect_stream=connect_stream, several_clients=False, statistics=False, injection_points=5
    )
    assert len(report.passed) > 30
    assert "half_close" in " ".join(name for name, _ in report.passed)
