"""``trio-mcp echo stdio``: its options, by real processes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.commands import trio_mcp
from tests.processes import encode, handshake, modern, notification, request


def echo(*messages: Any, options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Give messages to a fresh echo server and then the end of input; return its answers."""
    status, output, errors = trio_mcp("echo", "stdio", *options, stdin=encode(*messages))
    assert (status, errors) == (0, "")
    return [json.loads(line) for line in output.splitlines()]


def by_id(answers: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    assert len({answer.get("id") for answer in answers}) == len(answers)
    return {answer.get("id"): answer for answer in answers}


def test_plain_requests_are_served_before_any_handshake() -> None:
    answers = by_id(echo(request(1, "echo", n=[1, None]), request("a", "ping"), request(2, "nothing")))
    assert answers[1]["result"] == {"n": [1, None]}
    assert answers["a"]["result"] == {}
    assert answers[2]["error"]["code"] == -32601


@pytest.mark.requirement("M-ME-04")
def test_strict_refuses_what_carries_no_envelope() -> None:
    answers = by_id(echo(request(1, "echo"), request(2, "ping"), modern(3, "echo", n=1), options=("--strict",)))
    assert answers[1]["error"]["code"] == -32602
    assert answers[2]["error"]["code"] == -32602
    assert answers[3]["result"]["n"] == 1


def test_strict_serves_the_legacy_era() -> None:
    answers = by_id(echo(*handshake(), request(1, "echo", n=1), options=("--strict",)))
    assert answers[0]["result"]["serverInfo"]["name"] == "trio-mcp-echo"
    assert answers[1]["result"] == {"n": 1}


@pytest.mark.requirement("M-VN-04")
def test_discovery_is_answered_with_everything_it_has_to_have() -> None:
    (answer,) = echo(modern(1, "server/discover"))
    result = answer["result"]
    assert "2026-07-28" in result["supportedVersions"]
    assert result["capabilities"] == {"tools": {}}
    assert result["resultType"] == "complete"
    assert type(result["ttlMs"]) is int and result["ttlMs"] >= 0
    assert result["cacheScope"] in ("public", "private")


def test_the_largest_message_is_exact_and_the_next_one_is_served() -> None:
    limit = 400
    padding = limit - len(encode(request(1, "echo", text=""))) + 1  # the line end does not count
    fits, over = "x" * padding, "x" * (padding + 1)
    answers = by_id(
        echo(
            request(1, "echo", text=fits),
            request(2, "echo", text=over),
            request(3, "echo", text="next"),
            options=("--max-message-size", str(limit)),
        )
    )
    assert answers[1]["result"] == {"text": fits}
    assert answers[None]["error"]["code"] == -32600
    assert "400" in answers[None]["error"]["message"]
    assert answers[3]["result"] == {"text": "next"}
    assert 2 not in answers


def test_the_framing_can_be_named() -> None:
    assert by_id(echo(request(1, "echo"), options=("--framing", "newline")))[1]["result"] == {}


def test_a_notification_is_not_answered() -> None:
    assert echo(notification("echo", n=1)) == []


def test_without_its_descriptors_it_ends_with_3_and_one_line() -> None:
    status, _, errors = trio_mcp("echo", "stdio", preexec_fn=_close_standard_input)
    assert status == 3
    assert errors.startswith("trio-mcp: ")
    assert errors.count("\n") == 1


def _close_standard_input() -> None:
    import os

    os.close(0)
