"""Our stdio server, read line by line without a client: discovery, the eras side by side, and refused handshakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.interop.official_schema import check, check_conversation

MODERN, LEGACY = "2026-07-28", "2025-11-25"
META = "io.modelcontextprotocol/"
ENVELOPE = {META + "protocolVersion": MODERN, META + "clientCapabilities": {}}
OUR_SERVER = str(Path(__file__).with_name("programs") / "our_server.py")
ECHO = ["-m", "trio_mcp_transport", "echo", "stdio"]
SERVERS = {
    "echo": ECHO,
    "echo --strict": [*ECHO, "--strict"],
    "both": [OUR_SERVER, "both"],
    "modern": [OUR_SERVER, "modern"],
}
BOUND = 10.0


def converse(home: Path, server: str, *messages: dict[str, Any]) -> dict[Any, dict[str, Any]]:
    """Send messages to a server in one go and return its answers by id; it must end by itself, with success."""
    lines = "".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages)
    command = [sys.executable, *SERVERS[server]]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, cwd=home, timeout=BOUND)
    assert (done.returncode, done.stderr) == (0, "")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert all("method" not in answer for answer in answers)
    assert len({json.dumps(answer["id"]) for answer in answers}) == len(answers)
    return {answer["id"]: answer for answer in answers}


def request(id_: int, method: str, *, modern: bool, **params: Any) -> dict[str, Any]:
    if modern:
        params["_meta"] = ENVELOPE
    return {"id": id_, "method": method, "params": params}


def initialize(id_: int, revision: str) -> dict[str, Any]:
    client = {"name": "lines", "version": "1"}
    return request(id_, "initialize", modern=False, protocolVersion=revision, capabilities={}, clientInfo=client)


def say(id_: int, text: str, *, modern: bool) -> dict[str, Any]:
    return request(id_, "tools/call", modern=modern, name="echo", arguments={"text": text})


INITIALIZED = {"method": "notifications/initialized"}


@pytest.mark.requirement("M-VN-04", "M-VN-06")
@pytest.mark.parametrize("server", list(SERVERS))
def test_discover_is_answered_as_the_schema_says(server: str, home: Path) -> None:
    result = converse(home, server, request(1, "server/discover", modern=True))[1]["result"]
    check(MODERN, "DiscoverResult", result)
    assert result["supportedVersions"] == [MODERN]
    assert result["capabilities"] == {"tools": {}}
    assert result["resultType"] == "complete"
    assert type(result["ttlMs"]) is int and result["cacheScope"] in ("public", "private")
    assert type(result["instructions"]) is str
    assert result["_meta"][META + "serverInfo"]["name"] == "trio-mcp-echo"
    assert "serverInfo" not in result


@pytest.mark.requirement("M-BC-09", "M-BC-11")
@pytest.mark.parametrize("revision", [LEGACY, "2024-11-05", MODERN, "1900-01-01"])
def test_a_modern_server_names_its_versions_to_initialize(revision: str, home: Path) -> None:
    answer = converse(home, "modern", initialize(1, revision), INITIALIZED, say(2, "hello", modern=True))
    check(MODERN, "JSONRPCErrorResponse", answer[1])
    assert answer[1]["error"]["data"]["supported"] == [MODERN]
    assert MODERN in answer[1]["error"]["message"]
    # The refusal changed nothing.
    assert answer[2]["result"]["content"][0]["text"] == "hello"


@pytest.mark.parametrize("revision", [LEGACY, "2025-06-18", "2025-03-26", "2024-11-05"])
@pytest.mark.parametrize("server", ["echo", "both"])
def test_a_dual_server_speaks_every_legacy_revision(revision: str, server: str, home: Path) -> None:
    answers = converse(home, server, initialize(1, revision), INITIALIZED, say(2, "hello", modern=False))
    assert answers[1]["result"]["protocolVersion"] == revision
    assert answers[2]["result"] == {"content": [{"type": "text", "text": "hello"}]}


@pytest.mark.requirement("M-BC-10")
@pytest.mark.parametrize("server", ["echo", "both"])
def test_a_session_and_modern_requests_share_a_pipe_without_influence(server: str, home: Path) -> None:
    messages = [
        say(1, "modern before the session", modern=True),
        initialize(2, LEGACY),
        say(3, "modern inside the handshake", modern=True),
        INITIALIZED,
        say(4, "legacy", modern=False),
        say(5, "modern", modern=True),
        request(6, "ping", modern=False),
        request(7, "ping", modern=True),
        request(8, "tools/list", modern=False),
        request(9, "tools/list", modern=True),
        request(10, "server/discover", modern=True),
        say(11, "legacy again", modern=False),
    ]
    answers = converse(home, server, *messages)
    texts = {id_: answer["result"]["content"][0]["text"] for id_, answer in answers.items() if id_ in (1, 3, 4, 5, 11)}
    assert texts == {
        1: "modern before the session",
        3: "modern inside the handshake",
        4: "legacy",
        5: "modern",
        11: "legacy again",
    }
    assert answers[6]["result"] == {}
    assert answers[7]["error"]["code"] == -32601
    legacy, modern = [2, 4, 6, 8, 11], [1, 3, 5, 7, 9, 10]
    assert check_conversation(LEGACY, messages, [answers[id_] for id_ in legacy]) == 5
    assert check_conversation(MODERN, messages, [answers[id_] for id_ in modern]) == 5
    # Nothing of one era shows in the other.
    assert not any("resultType" in answers[id_]["result"] or "_meta" in answers[id_]["result"] for id_ in legacy)
    assert all(answers[id_]["result"]["resultType"] == "complete" for id_ in (1, 3, 5, 9, 10))
