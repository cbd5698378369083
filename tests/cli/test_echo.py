"""``trio-mcp echo``: on every transport, its options, what it prints and how it ends, by real processes."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.certificates import authority
from tests.commands import start, trio_mcp
from tests.processes import encode, handshake, modern, notification, request
from trio_mcp_transport import open_client
from trio_mcp_transport.registry import client_transport_for


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


def test_stdio_takes_the_other_framings() -> None:
    body = encode(request(1, "echo", n=1)).strip()
    header = f"Content-Length: {len(body)}\r\n\r\n".encode()
    status, output, errors = trio_mcp("echo", "stdio", "--framing", "content-length", stdin=header + body)
    assert (status, errors) == (0, "")
    assert output.startswith("Content-Length: ")
    assert json.loads(output.partition("\r\n\r\n")[2])["result"] == {"n": 1}
    length = len(body).to_bytes(4, "big")
    status, output, errors = trio_mcp("echo", "stdio", "--framing", "length-prefix", stdin=length + body)
    assert (status, errors) == (0, "")
    assert json.loads(output[4:])["result"] == {"n": 1}


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


# On sockets.

KINDS = [
    ("tcp",),
    ("tcp", "--framing", "content-length"),
    ("tcp", "--framing", "length-prefix"),
    ("tcp", "--host", "::1"),
    ("unix", "--path", "{folder}/a socket"),
    ("unix", "--path", "{folder}/socket", "--framing", "content-length"),
    ("unix", "--path", "{folder}/socket", "--framing", "length-prefix"),
    ("ws",),
    ("ws", "--host", "::1", "--path", "/deep/path"),
    ("ws", "--engine", "native"),
]


@contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run an echo server for a block, with the address it prints; it has to end by SIGTERM, in silence."""
    with start("echo", *options) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
            assert line.endswith("\n"), process.stderr and process.stderr.read()
            yield process, line.removesuffix("\n")
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=10) == (b"", b"")
            assert process.returncode == 0
        finally:
            process.kill()


def call(address: str, *options: str) -> tuple[int, str, str]:
    return trio_mcp("call", "echo", '{"text": "h\u00e9"}', "--to", address, *options)


@pytest.mark.parametrize("options", KINDS, ids=" ".join)
def test_the_address_it_prints_is_where_it_can_be_called(options: tuple[str, ...], tmp_path: Path) -> None:
    with serving(*(option.replace("{folder}", str(tmp_path)) for option in options)) as (_, address):
        for era in ("modern", "legacy"):
            status, output, errors = call(address, "--era", era)
            assert (status, errors) == (0, "")
            assert json.loads(output)["text"] == "h\u00e9"
    assert list(tmp_path.iterdir()) == []


def test_the_addresses_follow_the_one_grammar(tmp_path: Path) -> None:
    with serving("tcp", "--framing", "length-prefix") as (_, address):
        assert address.startswith("tcp://127.0.0.1:") and address.endswith("?framing=length-prefix")
    with serving("unix", "--path", f"{tmp_path}/x") as (_, address):
        assert address == f"unix:{tmp_path}/x"
        assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600
    with serving("ws", "--path", "/deep/path") as (_, address):
        assert address.startswith("ws://127.0.0.1:") and address.endswith("/deep/path")


def test_plain_requests_are_served_on_a_socket_and_a_half_close_is_answered() -> None:
    with serving("tcp") as (_, address):
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(encode(request(1, "echo", n=1)))
            connection.shutdown(socket.SHUT_WR)
            assert json.loads(connection.makefile("rb").read()) == {"jsonrpc": "2.0", "id": 1, "result": {"n": 1}}


def test_the_largest_message_is_an_option_on_tcp() -> None:
    with serving("tcp", "--max-message-size", "400") as (_, address):
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=10) as connection:
            connection.sendall(encode(request(1, "echo", text="x" * 400), request(2, "echo", text="next")))
            connection.shutdown(socket.SHUT_WR)
            answers = by_id([json.loads(line) for line in connection.makefile("rb")])
    assert answers[None]["error"]["code"] == -32600
    assert answers[2]["result"] == {"text": "next"}


@pytest.mark.parametrize("engine", ["trio-websocket", "native"])
def test_the_largest_message_is_an_option_on_websockets(engine: str) -> None:
    with serving("ws", "--max-message-size", "400", "--engine", engine) as (_, address):
        assert call(address)[0] == 0
        status, output, errors = trio_mcp("call", "echo", json.dumps({"text": "x" * 400}), "--to", address)
        assert (status, output) == (3, "")
        assert "1009" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["tcp", "ws"])
async def test_a_signal_lets_it_answer_what_was_asked_and_end(kind: str, number: signal.Signals) -> None:
    with start("echo", kind) as process:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        results: list[Any] = []
        with trio.fail_after(10):
            async with open_client(client_transport_for(address)) as client, trio.open_nursery() as nursery:

                async def sleep() -> None:
                    results.append(await client.request("sleep", {"seconds": 0.3}))

                nursery.start_soon(sleep)
                await trio.testing.wait_all_tasks_blocked()
                await client.request("echo")  # behind the other one on the wire, so that one has arrived too
                assert results == []
                process.send_signal(number)
        assert len(results) == 1
        assert process.communicate(timeout=10) == (b"", b"")
        assert process.returncode == 0


def test_a_port_in_use_is_3_and_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for kind in ("tcp", "ws"):
            status, output, errors = trio_mcp("echo", kind, "--port", str(taken.getsockname()[1]))
            assert (status, output) == (3, "")
            assert errors.startswith("trio-mcp: ") and errors.count("\n") == 1


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """A folder with a certificate, its key, and the authority behind it."""
    certificate = authority().issue_cert("localhost", "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [
        (("tcp",), "tls://"),
        (("ws",), "wss://"),
        (("ws", "--engine", "native"), "wss://"),
        (("unix", "--path", "{folder}/x"), "unix:"),
    ],
    ids=["tcp", "ws", "ws native", "unix"],
)
def test_tls_is_verified_unless_told_otherwise(kind: tuple[str, ...], scheme: str, pem: Path) -> None:
    options = [option.replace("{folder}", str(pem)) for option in kind]
    with serving(*options, "--tls-cert", f"{pem}/cert.pem", "--tls-key", f"{pem}/key.pem") as (_, address):
        assert address.startswith(scheme)
        status, output, errors = call(address, "--ca", f"{pem}/ca.pem")
        assert (status, errors) == (0, "")
        assert json.loads(output)["text"] == "h\u00e9"
        assert call(address, "--no-verify")[0] == 0
        if scheme != "unix:":
            status, output, errors = call(address)
            assert (status, output) == (3, "")
            assert "certificate" in errors and errors.count("\n") == 1


def test_certificate_and_key_may_be_one_file(pem: Path) -> None:
    with serving("tcp", "--tls-cert", f"{pem}/both.pem") as (_, address):
        assert call(address, "--ca", f"{pem}/ca.pem")[0] == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--tls-key", "key.pem"), "--tls-key belongs to a --tls-cert"),
        (("--tls-cert", "nowhere.pem"), "nowhere.pem: no certificate with its key can be read: No such file"),
        (("--tls-cert", "ca.pem", "--tls-key", "key.pem"), "no certificate with its key can be read"),
        (("--tls-cert", "key.pem"), "no certificate with its key can be read"),
        (("--host", "a b"), "is no host name"),
        (("--host", ""), "the host is missing"),
    ],
)
def test_options_that_cannot_be_used_are_wrong_usage(options: tuple[str, ...], told: str, pem: Path) -> None:
    status, output, errors = trio_mcp("echo", "tcp", *(f"{pem}/{o}" if ".pem" in o else o for o in options))
    assert (status, output) == (2, "")
    assert told in errors
