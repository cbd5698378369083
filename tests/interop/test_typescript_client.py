"""The client of the TypeScript SDK v1, on Node, drives our echo server over stdio; it speaks the legacy era only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.interop.install_peers import FOLDER, node, peer_environment
from tests.interop.official_schema import check_conversation
from tests.interop.wire_record import WireRecord

ECHO = [sys.executable, "-m", "trio_mcp_transport", "echo", "stdio"]
SDK = FOLDER / "node_modules" / "@modelcontextprotocol" / "sdk"
PROGRAM = Path(__file__).with_name("programs") / "typescript_client.mjs"
BOUND = 20.0


def test_a_session_of_the_typescript_client(record: WireRecord, home: Path) -> None:
    done = subprocess.run(
        [node(), str(PROGRAM), str(SDK), *record.command(ECHO)],
        cwd=home,
        env=peer_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    seen = json.loads(done.stdout)
    assert seen["server"]["name"] == "trio-mcp-echo"
    assert seen["tools"] == ["echo", "sleep", "progress", "fail", "big"]
    assert seen["echo"]["content"] == [{"type": "text", "text": "hé 🐍"}]
    check_progress([step["progress"] for step in seen["progress"]], record)
    assert seen["cancelled"] is True
    assert seen["big"] == 8_000_000
    assert seen["failed"] is True
    assert seen["unknown"] == -32602
    assert seen["hundred"] is True
    # The cancelled sleep ended at the server: it did not hold up the end.
    status, seconds = record.end()
    assert status == 0 and seconds < 1.5
    assert "notifications/cancelled" in record.methods("client")
    assert check_conversation("2025-11-25", record.messages("client"), record.messages("server")) > 100


def check_progress(delivered: list[int], record: WireRecord) -> None:
    """Fail unless all steps were on the wire before the result, and the client's callback got them in order.

    This client drops progress that it reads in one chunk with the result (typescript-sdk#2580, seen in 1.32.2): hence
    more steps than fit into one chunk, of which only the last may be missing at the callback.
    """
    answers = record.messages("server")
    steps = [at for at, message in enumerate(answers) if message.get("method") == "notifications/progress"]
    (result,) = [at for at, message in enumerate(answers) if "1000 steps" in json.dumps(message.get("result"))]
    assert [answers[at]["params"]["progress"] for at in steps] == list(range(1, 1001))
    assert max(steps) < result
    assert delivered == list(range(1, len(delivered) + 1)) and delivered
