"""The official Inspector's command line, a Node program, drives our echo server over stdio in both eras."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.interop.install_peers import peer_command, peer_environment
from tests.interop.official_schema import check_conversation
from tests.interop.wire_record import WireRecord

ECHO = [sys.executable, "-m", "trio_mcp_transport", "echo", "stdio"]
REVISION = {"legacy": "2025-11-25", "modern": "2026-07-28", "auto": "2026-07-28"}
BOUND = 20.0

pytestmark = pytest.mark.parametrize("era", list(REVISION))


def inspect(era: str, record: WireRecord, home: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run one command of the Inspector; return its exit status and the JSON document it printed."""
    command = [*peer_command("@modelcontextprotocol/inspector", "mcp-inspector"), "--cli", *record.command(ECHO)]
    command += ["--protocol-era", era, "-q", "--format", "json", *options]
    # A home of its own, so that nothing of the machine is read and nothing is left in it.
    environment = {**peer_environment(), "HOME": str(home), "MCP_CATALOG_PATH": str(home / "catalog.json")}
    done = subprocess.run(
        command, cwd=home, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BOUND
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def check_wire(era: str, record: WireRecord) -> None:
    """Fail unless the server spoke the era, by the schema, and ended by itself."""
    assert ("initialize" in record.methods("client")) == (era == "legacy")
    assert check_conversation(REVISION[era], record.messages("client"), record.messages("server")) >= 2
    status, seconds = record.end()
    assert status == 0 and seconds < 1.5


def test_tools_list(era: str, record: WireRecord, home: Path) -> None:
    status, document = inspect(era, record, home, "--method", "tools/list")
    assert status == 0
    assert [tool["name"] for tool in document["result"]["tools"]] == ["echo", "sleep", "progress", "fail", "big"]
    check_wire(era, record)


def test_tools_call(era: str, record: WireRecord, home: Path) -> None:
    call = ["--method", "tools/call", "--tool-name", "echo", "--tool-arg", "text=hé 🐍"]
    status, document = inspect(era, record, home, *call)
    assert status == 0
    assert document["result"]["content"] == [{"type": "text", "text": "hé 🐍"}]
    check_wire(era, record)


def test_an_error_result_is_told_from_a_result(era: str, record: WireRecord, home: Path) -> None:
    status, document = inspect(era, record, home, "--method", "tools/call", "--tool-name", "fail")
    assert status != 0
    assert "this tool always fails" in json.dumps(document)
    check_wire(era, record)
