"""Every example runs as a process of its own and writes exactly what it should, with every warning an error."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.package_tree import ROOT

EXAMPLES = ROOT / "examples"
PYTHON = [sys.executable, "-X", "dev", "-W", "error"]
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def run(name: str, *messages: dict[str, Any], arguments: Sequence[str] = ()) -> tuple[int, str, str]:
    """Run an example, give it messages and then the end of input; return its exit status, output and errors."""
    done = subprocess.run(
        [*PYTHON, str(EXAMPLES / name), *arguments],
        input="".join(json.dumps(message) + "\n" for message in messages),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def modern(id_: int, method: str, **params: Any) -> dict[str, Any]:
    """Return a request of the modern era."""
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": {**params, "_meta": ENVELOPE}}


def initialize(id_: int) -> dict[str, Any]:
    """Return the request that begins a legacy session."""
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    return {"jsonrpc": "2.0", "id": id_, "method": "initialize", "params": params}


def stamp(name: str) -> dict[str, Any]:
    """Return what the library adds to a modern result."""
    identity = {"io.modelcontextprotocol/serverInfo": {"name": name, "version": "1.0"}}
    return {"resultType": "complete", "_meta": identity}


def answers(output: str) -> list[dict[str, Any]]:
    """Return the messages of an output, in the order of their ids."""
    return sorted((json.loads(line) for line in output.splitlines()), key=lambda message: message["id"])


def test_every_example_has_a_test() -> None:
    told = {
        "client_timeout.py",
        "custom_transport.py",
        "echo_stdio.py",
        "echo_tcp.py",
        "echo_unix.py",
        "echo_websocket.py",
        "embed_in_app.py",
    }
    assert {path.name for path in EXAMPLES.glob("*.py")} == told


def test_echo_stdio() -> None:
    status, output, errors = run("echo_stdio.py", modern(1, "echo", text="hé"), modern(2, "other"))
    assert (status, errors) == (0, "")
    assert answers(output) == [
        {"jsonrpc": "2.0", "id": 1, "result": {"text": "hé", **stamp("echo")}},
        {"jsonrpc": "2.0", "id": 2, "error": {"code": -32601, "message": "no such method: other"}},
    ]


def test_echo_stdio_in_the_legacy_era() -> None:
    initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    request = {"jsonrpc": "2.0", "id": 2, "method": "echo", "params": {"text": "x"}}
    status, output, errors = run("echo_stdio.py", initialize(1), initialized, request)
    assert (status, errors) == (0, "")
    result = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "serverInfo": {"name": "echo", "version": "1.0"},
    }
    assert answers(output) == [
        {"jsonrpc": "2.0", "id": 1, "result": result},
        {"jsonrpc": "2.0", "id": 2, "result": {"text": "x"}},
    ]


def test_embed_in_app_answers_and_ends_with_its_input() -> None:
    request = modern(1, "tools/call", name="count", arguments={"at_least": 3})
    status, output, errors = run("embed_in_app.py", request)
    assert (status, errors) == (0, "the input ended, and so did the counting\n")
    content = [{"type": "text", "text": "counted to at least 3"}]
    assert answers(output) == [{"jsonrpc": "2.0", "id": 1, "result": {"content": content, **stamp("counter")}}]


def test_embed_in_app_lists_its_tool() -> None:
    status, output, _ = run("embed_in_app.py", modern(1, "tools/list"))
    assert status == 0
    assert [tool["name"] for tool in answers(output)[0]["result"]["tools"]] == ["count"]


def test_embed_in_app_without_input_writes_nothing() -> None:
    assert run("embed_in_app.py") == (0, "", "the input ended, and so did the counting\n")


def test_echo_tcp() -> None:
    told = "serving: tcp 127.0.0.1 newline\nanswered: one, three, two\nconnections: 1\n"
    assert run("echo_tcp.py") == (0, told, "")


def test_echo_unix() -> None:
    told = "mode of the socket: 0o600\nanswered: hello\nknown to be this process: True\nleft behind: []\n"
    assert run("echo_unix.py") == (0, told, "")


def test_echo_websocket() -> None:
    told = "".join(
        f"answered on {engine}: hello\na foreign page is refused: True\n" for engine in ("trio-websocket", "native")
    )
    assert run("echo_websocket.py") == (0, told, "")


def test_custom_transport_is_certified_with_nothing_left_out() -> None:
    assert run("custom_transport.py") == (0, "answered: hello\nleft out: nothing\ncertified\n", "")


def test_custom_transport_takes_no_more_lines_than_it_says() -> None:
    text = (EXAMPLES / "custom_transport.py").read_text(encoding="utf-8")
    _, transport, _ = re.split(r"^# The transport (?:begins|ends) here\.$", text, flags=re.M)
    lines = [line for line in transport.splitlines() if line.strip()]
    assert len(lines) <= 25
    assert "serve_stream" in transport and ";" not in transport and "#" not in transport


def test_client_timeout() -> None:
    assert run("client_timeout.py") == (
        0,
        "answered: counted to at least 3\n"
        "the caller's deadline fired\n"
        "the client's 'total' deadline fired: tools/call: the total deadline of 0.2 s has passed\n"
        "the client's 'idle' deadline fired: tools/call: the idle deadline of 0.2 s has passed\n"
        "still connected: counted to at least 5\n",
        "",
    )


FROM_AIRS = {
    "stdio_ping.py": 'Received: {"jsonrpc":"2.0","id":"1","result":{}}\n',
    "custom_transport_template.py": (
        "answered: over a transport of one's own\n"
        "refused, and nothing was sent\n"
        "still connected: small\n"
        "failed: ConnectionFailed, because of Io\n"
    ),
    "buffered_transport.py": "AIRS' own: buffered\nbuffer efficiency: 100.00%\nthe library's: buffered\n",
    "monitored_transport.py": (
        "client: 3 sent, 3 received, 0 errors\n"
        "server: 3 sent, 3 received, 0 errors\n"
        "the same bytes at both ends: True\n"
    ),
    "mock_transport_test.py": (
        "passed: test_mock_transport\npassed: test_under_a_server\npassed: test_under_a_client\n"
    ),
    "integration_test.py": "passed: modern\npassed: legacy\n",
    "callback_transport.py": 'answered: pushed\npushed: {"jsonrpc": "2.0", "method": "notifications/hello"}\n',
}
"""What the example programs of AIRS write; `secure_transport.py` takes arguments and has a test of its own."""


def test_every_example_from_airs_has_a_test() -> None:
    told = {*FROM_AIRS, "secure_transport.py", "airs_errors.py"}  # the last is no program, but imported by the others
    assert {path.name for path in EXAMPLES.joinpath("from_airs").glob("*.py")} == told


@pytest.mark.parametrize("name", FROM_AIRS)
def test_from_airs(name: str) -> None:
    assert run(f"from_airs/{name}") == (0, FROM_AIRS[name], "")


def test_from_airs_secure_transport(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    files = [str(tmp_path / name) for name in ("certificate.pem", "key.pem", "authority.pem")]
    for blob, file in zip((issued.cert_chain_pems[0], issued.private_key_pem, authority.cert_pem), files, strict=True):
        blob.write_to_path(file)
    status, output, errors = run("from_airs/secure_transport.py", arguments=files)
    assert (status, errors) == (0, "")
    verified, refused, warned, unverified = output.splitlines()
    assert (verified, unverified) == ("verified: encrypted", "unverified: encrypted")
    assert refused.startswith("refused: ")
    assert "CERTIFICATE_VERIFY_FAILED" in refused
    assert warned.startswith("warned: TLS without verification")
