"""The WebSocket client of the TypeScript SDK v1, the last official WebSocket peer, calls tools on our server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.install_peers import FOLDER, node, peer_environment

SDK = FOLDER / "node_modules" / "@modelcontextprotocol" / "sdk"
PROGRAM = Path(__file__).with_name("programs") / "typescript_websocket_client.mjs"
BOUND = 30.0


@pytest.fixture(params=["trio-websocket", "native"])
def url(request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    """Run our echo server on each engine; afterwards it has to end by itself when it is told to."""
    command = [sys.executable, "-m", "trio_mcp_transport", "echo", "ws", "--engine", request.param]
    with subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
            server.send_signal(signal.SIGTERM)
            _, stderr = server.communicate(timeout=BOUND)
        finally:
            server.kill()
    assert (server.returncode, stderr) == (0, "")


def test_a_session_of_the_typescript_client(url: str, home: Path) -> None:
    done = subprocess.run(
        [node(), str(PROGRAM), str(SDK), url],
        cwd=home,
        env=peer_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["server"]["name"] == "trio-mcp-echo"
    assert seen["tools"] == ["echo", "sleep", "progress", "fail", "big"]
    assert seen["echo"]["content"] == [{"type": "text", "text": "hé 🐍"}]
    # This client drops progress that it reads in one chunk with the result (typescript-sdk#2580, seen in 1.32.2).
    assert seen["progress"] == list(range(1, len(seen["progress"]) + 1)) and seen["progress"]
    assert seen["cancelled"] is True
    assert seen["big"] == 3_000_000
    assert seen["large"] is True
    assert seen["failed"] is True
    assert seen["unknown"] == -32602
    assert seen["hundred"] is True
    assert seen["closing"] < 1.0  # the close handshake was answered at once
