"""``trio-mcp call``: one JSON document on standard output, or one line on standard error and the right exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import COMMAND, ECHO, ENVIRONMENT, trio_mcp
from trio_mcp_transport.cli import main

CALL_ECHO = ("tools/call", '{"name": "echo", "arguments": {"text": "hé \\u2028"}}')
CONTENT = [{"type": "text", "text": "hé \u2028"}]

LEGACY_ONLY = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "old", "version": "0"}}
    elif message["method"] == "answer":
        result = {"n": 1}
    else:
        continue
    text = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})
    print(text.replace('{"n": 1}', '{"n":12345678901234567890123,  "f":1.50}'), flush=True)
"""
"""Knows nothing of discovery, not even how to refuse it."""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("era", ["auto", "modern", "legacy"])
def test_the_result_is_one_document_on_standard_output(era: str) -> None:
    status, output, errors = trio_mcp("call", *CALL_ECHO, "--era", era, "--", *ECHO)
    assert (status, errors) == (0, "")
    assert output.endswith("\n") and output.count("\n") == 1
    result = json.loads(output)
    assert result["content"] == CONTENT
    assert ("resultType" in result) is (era != "legacy")


def test_the_result_is_exactly_what_was_received() -> None:
    status, output, _ = trio_mcp("call", "answer", "--deadline", "3", "--", *python(LEGACY_ONLY))
    # The probe met silence, and half the deadline was left for the handshake.
    assert (status, output) == (0, '{"n":12345678901234567890123,  "f":1.50}\n')


def test_params_keep_their_numbers() -> None:
    status, output, _ = trio_mcp("call", "echo", '{"n": 123456789012345678901234567890}', "--", *ECHO)
    assert status == 0
    assert '"n":123456789012345678901234567890' in output


def test_a_tool_that_failed_is_a_result_all_the_same() -> None:
    status, output, errors = trio_mcp("call", "tools/call", '{"name": "fail"}', "--", *ECHO)
    assert (status, errors) == (0, "")
    assert json.loads(output)["isError"] is True


def test_an_error_answer_is_1_and_json_on_standard_error() -> None:
    status, output, errors = trio_mcp("call", "nothing", "--", *ECHO)
    assert (status, output) == (1, "")
    assert json.loads(errors) == {"code": -32601, "message": "nothing is not known here"}


def test_the_data_of_an_error_is_told() -> None:
    answer = {"jsonrpc": "2.0", "id": 1, "error": {"code": 7, "message": "no\nway", "data": [None]}}
    code = f"import json, sys; a = {answer!r}; a['id'] = json.loads(sys.stdin.readline())['id']; print(json.dumps(a))"
    status, output, errors = trio_mcp("call", "x", "--era", "legacy", "--", *python(code + "; sys.stdin.read()"))
    assert (status, output) == (1, "")
    assert json.loads(errors) == {"code": 7, "message": "no\nway", "data": [None]}
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["x", "{", "--", "server"], "params: not a JSON text"),
        (["x", "[1]", "--", "server"], "params must be a JSON object"),
        (["x", "null", "--", "server"], "params must be a JSON object"),
        (["x", '{"a": 1e400}', "--", "server"], "params: not a JSON text"),
        (["x", '{"a": NaN}', "--", "server"], "params: not a JSON text"),
        (["x"], "either --to ADDRESS"),
        (["x", "--"], "a command is missing"),
        (["x", "--to", "stdio:"], "give its command behind --"),
        (["x", "--to", "stdio:", "--", "server"], "exclude each other"),
        (["x", "--to", "http://127.0.0.1:1/mcp"], "what exists for a client: tcp://HOST:PORT"),
        (["x", "--to", "pigeon:post"], "pigeon: is no scheme"),
        (["x", "--to", "localhost"], "'localhost' is no address"),
    ],
)
def test_wrong_usage_is_2_in_the_style_of_argparse(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["call", *arguments])
    assert caught.value.code == 2
    output, errors = capsys.readouterr()
    assert output == ""
    usage, error = errors.splitlines()
    assert usage.startswith("usage: trio-mcp call METHOD")
    assert error.startswith("trio-mcp call: error: ")
    assert told in error


def test_params_that_are_no_text_are_wrong_usage() -> None:
    command = [*COMMAND, "call", "x", b'{"a": "\xff"}', "--", "server"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=30, check=False)
    assert done.returncode == 2
    assert b"params: not UTF-8" in done.stderr


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["/nowhere/server"], "'/nowhere/server'"),
        (python("raise SystemExit(7)"), "exited with status 7"),
        (python("raise ValueError('the reason')"), "ValueError: the reason"),
        (python("import os; os.kill(os.getpid(), 9)"), "was killed by SIGKILL"),
    ],
)
def test_a_transport_failure_is_3_and_one_line(command: list[str], told: str) -> None:
    status, output, errors = trio_mcp("call", "x", "--", *command)
    assert (status, output) == (3, "")
    assert errors.startswith("trio-mcp: ")
    assert errors.count("\n") == 1
    assert told in errors


def test_the_deadline_covers_the_answer() -> None:
    began = time.monotonic()
    status, output, errors = trio_mcp("call", "sleep", '{"seconds": 60}', "--deadline", "0.8", "--", *ECHO)
    assert (status, output, errors) == (3, "", "trio-mcp: no answer to sleep within 0.8 s\n")
    # The server was told, so that nothing kept it from ending at the end of its input.
    assert time.monotonic() - began < 3.0


def test_the_deadline_covers_connecting() -> None:
    began = time.monotonic()
    silent = python("import sys; sys.stdin.read()")
    status, _, errors = trio_mcp("call", "x", "--deadline", "0.5", "--", *silent)
    assert status == 3
    assert "connect deadline of 0.5 s has passed" in errors
    assert errors.count("\n") == 1
    assert time.monotonic() - began < 3.0


def test_what_the_server_says_on_standard_error_does_not_mix_with_the_error() -> None:
    code = (
        "import sys; from trio_mcp_transport.cli import main; print('chat', file=sys.stderr); main(['echo', 'stdio'])"
    )
    status, _, errors = trio_mcp("call", "nothing", "--", *python(code))
    assert status == 1
    assert json.loads(errors)["code"] == -32601


def test_the_program_gets_the_environment_of_the_shell(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    code = f"import os, pathlib; pathlib.Path({str(marker)!r}).write_text(os.environ['OF_THE_SHELL'])"
    command = [*COMMAND, "call", "x", "--", *python(code)]
    environment = {**ENVIRONMENT, "OF_THE_SHELL": "yes"}
    subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False)
    assert marker.read_text() == "yes"


def test_a_reader_that_left_is_told_in_one_line() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    status, _, errors = trio_mcp("call", *CALL_ECHO, "--", *ECHO, stdout=theirs)
    os.close(theirs)
    assert (status, errors) == (3, "trio-mcp: standard output cannot be written: Broken pipe\n")
