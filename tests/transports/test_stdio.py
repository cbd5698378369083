"""Both sides of stdio as contracts, through real processes: what ends when, what crosses the wire, what is left."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.processes import (
    ECHO,
    PROGRAMS,
    ROOT,
    Kind,
    Program,
    alive,
    encode,
    has_children,
    journal,
    modern,
    noted,
    notification,
    request,
    running,
    server,
    until,
    within,
)
from trio_mcp_transport import (
    Client,
    ClientInfo,
    ConnectionClosed,
    Handlers,
    LocalProtocolError,
    MessageContext,
    Notification,
    Request,
    RestartPolicy,
    StdioClientTransport,
    StdioServerTransport,
    TransportError,
    open_client,
    serve,
)
from trio_mcp_transport.errors import MessageError

MIB = 1 << 20
SOON = 0.3
"""Seconds for what the specification calls soon (100 ms), with room for a busy machine."""

every_era = pytest.mark.parametrize("era", ["modern", "legacy"])


def check_end(program: Program, tmp_path: Path) -> None:
    """Check that the server ended in order, without a word on standard error."""
    assert program.stderr == ""
    assert [entry["event"] for entry in journal(tmp_path)][-2:] == ["closed", "finally"]


# The server: every kind of descriptor.


@pytest.mark.requirement("M-IO-16")
@pytest.mark.parametrize("stdout", ["pipe", "socket", "pty"])
@pytest.mark.parametrize("stdin", ["pipe", "socket", "pty"])
async def test_requests_and_answers_pass_whatever_the_descriptors_are(
    stdin: Kind, stdout: Kind, tmp_path: Path
) -> None:
    async with running(server(tmp_path), tmp_path, stdin=stdin, stdout=stdout) as program:
        for n in range(3):
            assert (await program.ask(request(n, "echo", n=n)))["result"] == {"n": n}
        await program.send(request(7, "big", bytes=MIB))
        assert len((await program.message())["result"]["text"]) == MIB
        await program.end_input()
        assert await within(1.0, program.wait) < 1.0
        assert await program.wait() == 0
        assert await program.rest() == []
    check_end(program, tmp_path)


@pytest.mark.parametrize("stdout", ["pipe", "socket", "pty", "file", "null"])
async def test_a_regular_file_is_read_to_its_end_and_everything_is_answered(stdout: Kind, tmp_path: Path) -> None:
    content = encode(*[request(n, "echo", n=n) for n in range(20)])
    async with running(server(tmp_path), tmp_path, stdin="file", stdout=stdout, content=content) as program:
        answers = await program.rest() if stdout in ("pipe", "socket", "pty") else []
        assert await program.wait() == 0
    if stdout == "file":
        answers = [json.loads(line) for line in (tmp_path / "stdout.jsonl").read_text().splitlines()]
    if stdout != "null":
        assert sorted(answer["result"]["n"] for answer in answers) == list(range(20))
    check_end(program, tmp_path)


@pytest.mark.parametrize("stdout", ["pipe", "file", "null"])
async def test_dev_null_as_input_is_an_idle_server_at_its_end(stdout: Kind, tmp_path: Path) -> None:
    async with running(server(tmp_path), tmp_path, stdin="null", stdout=stdout) as program:
        assert await program.wait(3.0) == 0
    check_end(program, tmp_path)


# The server: its end.


@pytest.mark.requirement("M-IO-16")
async def test_a_busy_server_answers_what_it_can_and_exits_within_the_drain(tmp_path: Path) -> None:
    async with running(server(tmp_path, "--drain", "0.3"), tmp_path) as program:
        await program.send(request(1, "forever"), request(2, "sleep", seconds=0.1))
        await noted(tmp_path, "began")
        await program.end_input()
        began = trio.current_time()
        answers = {answer["id"]: answer for answer in await program.rest()}
        assert await program.wait() == 0
        assert trio.current_time() - began < 3 * 0.3
    assert answers[2]["result"] == {}
    assert answers[1]["error"]["data"] == {"reason": "shutdown"}


async def test_a_reader_that_left_ends_the_server_without_a_word(tmp_path: Path) -> None:
    async with running(server(tmp_path), tmp_path) as program:
        await program.ask(request(1, "echo"))
        assert program.stdout is not None
        await program.stdout.aclose()
        await program.send(request(2, "forever"))
        await noted(tmp_path, "began")
        await program.send(request(3, "echo"))
        assert await program.wait(1.0) == 0
    assert [entry["cause"] for entry in journal(tmp_path, "cancelled")] == ["closed"]
    (failure,) = journal(tmp_path, "error")
    assert failure["kind"] == "ConnectionFailed"
    assert "Broken pipe" in failure["text"]
    check_end(program, tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "socket", "pty"])
async def test_a_peer_that_closed_both_ends_is_not_drained_for(kind: Kind, tmp_path: Path) -> None:
    async with running(server(tmp_path, "--drain", "60"), tmp_path, stdin=kind, stdout=kind) as program:
        await program.send(request(1, "forever"))
        await noted(tmp_path, "began")
        assert program.stdout is not None
        await program.stdout.aclose()
        await program.end_input()
        assert await program.wait(1.0) == 0
    assert [entry["cause"] for entry in journal(tmp_path, "cancelled")] == ["closed"]
    check_end(program, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_after_the_end_of_input_cancels(number: signal.Signals, tmp_path: Path) -> None:
    async with running(server(tmp_path, "--drain", "60"), tmp_path) as program:
        await program.send(request(1, "forever"))
        await noted(tmp_path, "began")
        await program.end_input()
        await trio.sleep(0.05)
        assert not journal(tmp_path, "cancelled")
        program.signal(number)
        assert await program.wait(1.0) == 0
        assert await program.rest() == []
    assert [entry["cause"] for entry in journal(tmp_path, "cancelled")] == ["service"]
    check_end(program, tmp_path)


async def test_a_cancelled_service_returns_at_once_although_a_write_is_stuck(tmp_path: Path) -> None:
    async with running(server(tmp_path, "--embedded", "--within", "0.5"), tmp_path) as program:
        await program.send(*[request(n, "big", bytes=MIB) for n in range(5)])
        assert await program.wait(3.0) == 0
    (left,) = journal(tmp_path, "left")
    assert 0.5 <= left["seconds"] < 0.5 + SOON


async def test_a_transport_object_runs_once() -> None:
    transport = StdioServerTransport()
    transport._used = True
    with pytest.raises(LocalProtocolError, match="once"):
        await serve(Handlers(), transport)


# The server: what reaches the wire.


@pytest.mark.requirement("M-IO-04")
async def test_nothing_a_handler_writes_to_standard_output_reaches_the_wire(tmp_path: Path) -> None:
    async with running(server(tmp_path), tmp_path) as program:
        assert "result" in await program.ask(request(1, "pollute"))
        assert (await program.ask(request(2, "echo", n=2)))["result"] == {"n": 2}
        await program.end_input()
        assert await program.rest() == []
        assert await program.wait() == 0
    for stray in ("stray print", "stray flushed print", "stray write", "stray os.write", "stray child"):
        assert stray in program.stderr


@pytest.mark.requirement("M-IO-06")
async def test_the_library_logs_to_standard_error(tmp_path: Path) -> None:
    async with running(server(tmp_path), tmp_path) as program:
        answer = await program.ask(request(1, "fail"))
        assert answer["error"] == {"code": -32603, "message": "internal error", "data": {"reason": "internal"}}
    assert "the handler of fail failed" in program.stderr
    assert "a bug in the handler" in program.stderr


@pytest.mark.requirement("M-IO-13", "M-IO-14")
async def test_a_cancelled_request_ends_soon_and_says_nothing_more(tmp_path: Path) -> None:
    noisy = modern(2, "progress_forever")
    noisy["params"]["_meta"] = {**noisy["params"]["_meta"], "progressToken": "token"}
    async with running(server(tmp_path), tmp_path) as program:
        await program.send(modern(1, "forever"), noisy)
        await noted(tmp_path, "began")
        for _ in range(3):
            assert (await program.message())["params"]["progressToken"] == "token"
        sent = time.monotonic()
        await program.send(*[notification("notifications/cancelled", requestId=id_) for id_ in (1, 2)])
        (cancelled,) = await noted(tmp_path, "cancelled")
        assert cancelled["at"] - sent < SOON
        assert cancelled["cause"] == "peer"
        await program.send(modern("marker", "echo"))
        while (message := await program.message()).get("id") != "marker":
            assert message["params"]["progressToken"] == "token"  # Sent before the cancellation was read.
        await trio.sleep(1.0)
        await program.send(modern("other", "echo"))
        await program.end_input()
        assert [message.get("id") for message in await program.rest()] == ["other"]


@pytest.mark.requirement("L25-IO-01")
async def test_requests_flow_both_ways_with_a_legacy_client() -> None:
    asked: list[int] = []

    async def answer(asking: Request, context: MessageContext) -> dict[str, Any]:
        asked.append(asking.params["n"])
        return {"n": asking.params["n"] * 2}

    info = ClientInfo("asked", "1", capabilities={"sampling": {}})
    command = [sys.executable, str(PROGRAMS / "server.py"), os.devnull]
    async with open_client(
        StdioClientTransport(command, env=PATH), era="legacy", handler=Handlers(answer), client_info=info
    ) as client:
        for n in range(5):
            assert (await client.request("ask", {"n": n}))["answer"] == {"n": 2 * n}
    assert asked == list(range(5))


# The server: limits.


async def test_a_slow_reader_bounds_memory_and_gets_every_answer_in_the_end(tmp_path: Path) -> None:
    calls, size = 300, MIB
    async with running(server(tmp_path), tmp_path) as program:
        await program.ask(request(0, "echo"))
        before = program.memory()
        sent = 0

        async def send_all() -> None:
            nonlocal sent
            for n in range(calls):
                await program.send(request(n, "big", bytes=size, padding="p" * 20_000))
                sent += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all)
            await trio.sleep(1.0)
            assert sent < calls
            assert program.memory() - before < 24 * MIB
            seen = set()
            while len(seen) < calls:
                message = await program.message()
                assert len(message["result"]["text"]) == size
                seen.add(message["id"])
        assert seen == set(range(calls))
        await program.end_input()
        assert await program.wait() == 0


async def test_a_line_over_the_limit_is_refused_at_constant_memory_between_two_that_are_served(
    tmp_path: Path,
) -> None:
    limit = MIB
    async with running(server(tmp_path, "--max-message-size", str(limit)), tmp_path) as program:
        await program.ask(request(0, "echo"))
        before = program.memory()
        long = encode(request("long", "echo", text="x" * 12 * limit))
        await program.send_bytes(encode(request(1, "echo")) + long + encode(request(2, "echo")))
        answers = [await program.message() for _ in range(3)]
        assert program.memory() - before < 3 * limit
        assert {answer["id"] for answer in answers if "result" in answer} == {1, 2}
        (refusal,) = [answer["error"] for answer in answers if "error" in answer]
        assert refusal["code"] == -32600
        assert str(limit) in refusal["message"]
        await program.end_input()
        assert await program.wait() == 0
    (noted_error,) = journal(tmp_path, "error")
    assert noted_error["kind"] == "MessageError"


# The client: a child and its end.

PATH = {"PYTHONPATH": str(ROOT)}


def child(behaviour: str, *arguments: str, **options: Any) -> StdioClientTransport:
    """Return a transport to one of the children of the tests."""
    return StdioClientTransport(
        [sys.executable, str(PROGRAMS / "child.py"), behaviour, *arguments], env=PATH, **options
    )


def echo(**options: Any) -> StdioClientTransport:
    return StdioClientTransport(ECHO, env=PATH, **options)


@every_era
@pytest.mark.requirement("M-IO-01")
async def test_a_round_trip_with_a_server_that_the_client_starts(era: Any) -> None:
    transport = echo()
    async with open_client(transport, era=era) as client:
        assert client.era == era
        assert (await client.request("echo", {"text": "there and back"}))["text"] == "there and back"
        assert transport.pid is not None
        assert alive(transport.pid)
    assert not alive(transport.pid)
    assert not has_children()


@pytest.mark.requirement("M-IO-15", "L25-LC-11")
@pytest.mark.parametrize(
    ("behaviour", "least", "most"),
    [("echo", 0.0, 0.3), ("stubborn", 0.3, 0.6), ("immortal", 0.6, 0.9)],
    ids=["ends-at-end-of-input", "ignores-end-of-input", "ignores-sigterm"],
)
async def test_the_end_of_a_child_takes_the_stage_it_needs(behaviour: str, least: float, most: float) -> None:
    graces = {"eof_grace": 0.3, "term_grace": 0.3, "kill_grace": 0.3}
    transport = echo(**graces) if behaviour == "echo" else child(behaviour, **graces)
    async with trio.open_nursery() as nursery:
        block = open_client(transport, nursery=nursery)
        client = await block.__aenter__()
        assert (await client.request("echo", {"n": 1}))["n"] == 1
        pid = transport.pid
        assert pid is not None
        began = trio.current_time()
        await block.__aexit__(None, None, None)
        assert least <= trio.current_time() - began < most + SOON
    assert not alive(pid)
    assert not has_children()


async def test_a_cancelled_client_ends_its_child_within_the_same_bounds() -> None:
    transport = child("immortal", eof_grace=0.1, term_grace=0.1, kill_grace=0.1)
    with trio.CancelScope() as scope:
        async with open_client(transport):
            pid = transport.pid
            began = trio.current_time()
            scope.cancel()
            await trio.sleep_forever()
    assert trio.current_time() - began < 3 * 0.1 + 2 * SOON
    assert pid is not None
    assert not alive(pid)
    assert not has_children()


@pytest.mark.requirement("M-IO-17")
@pytest.mark.parametrize("status", [0, 7])
async def test_a_server_that_ends_by_itself_fails_the_pending_calls_and_is_reaped(status: int, tmp_path: Path) -> None:
    failures: list[ConnectionClosed] = []
    transport = StdioClientTransport(server(tmp_path), env=PATH, stderr="capture")

    async def call(client: Client) -> None:
        with pytest.raises(ConnectionClosed, match=f"exited with status {status}") as caught:
            await client.request("forever")
        failures.append(caught.value)

    async with open_client(transport, era="modern") as client:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call, client)
            await noted(tmp_path, "began", 3)
            with pytest.raises(ConnectionClosed, match=f"exited with status {status}"):
                await client.request("crash", {"status": status})
    assert [failure.exit_status for failure in failures] == [status] * 3
    assert [failure.stderr_tail for failure in failures] == [("about to crash",)] * 3
    assert not has_children()


# The client: what reaches the child, and what comes from it.


@pytest.mark.requirement("M-IO-05", "M-IO-12")
async def test_everything_the_child_reads_is_whole_messages_through_probe_cancel_and_shutdown(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    async with open_client(child("recorder", str(record))) as client:
        await client.request("echo", {"text": "one\ntwo\u2028three"})
        with trio.move_on_after(0.05):
            await client.request("swallow")
        await client.request("pause")
        with trio.move_on_after(0.1) as torn:
            # The child reads nothing now and the pipe holds 64 KiB: this one is cancelled in the middle of its line.
            await client.request("swallow", {"text": "x" * 2 * MIB})
        assert torn.cancelled_caught
        await client.request("echo")
        async with trio.open_nursery() as nursery:
            exchange = client.open_exchange("swallow")
            await exchange.__aenter__()
            nursery.start_soon(client.aclose)
    data = record.read_bytes()
    assert data.endswith(b"\n")
    messages = [json.loads(line) for line in data.split(b"\n")[:-1]]
    assert {message["jsonrpc"] for message in messages} == {"2.0"}
    methods = [message["method"] for message in messages]
    assert methods[:2] == ["server/discover", "echo"]
    swallowed = [message["id"] for message in messages if message["method"] == "swallow"]
    cancelled = [m["params"]["requestId"] for m in messages if m["method"] == "notifications/cancelled"]
    assert len(swallowed) == 3
    assert cancelled == swallowed
    assert [type(id_) for id_ in cancelled] == [type(id_) for id_ in swallowed]


@pytest.mark.requirement("M-IO-07", "M-IO-08")
@pytest.mark.parametrize("policy", ["inherit", "capture", "devnull", "callback"])
async def test_ten_mebibytes_on_standard_error_hinder_no_answer(policy: Any, tmp_path: Path) -> None:
    lines: list[str] = []
    stderr = lines.append if policy == "callback" else policy
    transport = StdioClientTransport(server(tmp_path), env=PATH, stderr=stderr)
    async with open_client(transport, era="modern") as client:
        with trio.fail_after(5):
            await client.request("noisy", {"bytes": 10 * MIB})
            assert (await client.request("echo", {"n": 1}))["n"] == 1
    if policy == "callback":
        assert sum(len(line) + 1 for line in lines) >= 10 * MIB
    if policy == "capture":
        assert set(transport.stderr_tail) == {"noise " * 20}


async def test_a_line_that_is_no_protocol_is_an_event_and_the_connection_lives() -> None:
    events: list[TransportError] = []

    async def note(error: TransportError, context: MessageContext) -> None:
        events.append(error)

    async with open_client(child("banner"), handler=Handlers(error=note)) as client:
        assert (await client.request("echo", {"n": 1}))["n"] == 1
    assert [type(event) for event in events] == [MessageError, MessageError]
    frames = {event.frame for event in events if isinstance(event, MessageError)}
    assert frames == {b"Welcome to the server \xff\xfe", b"Listening on stdio ..."}


# The client: starting again.


def kill(transport: StdioClientTransport) -> int:
    """Kill the child without warning and return its process id."""
    pid = transport.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def restarting(tmp_path: Path, **policy: Any) -> StdioClientTransport:
    restart = RestartPolicy(initial=0.05, cap=0.1, **policy)
    return StdioClientTransport(server(tmp_path), env=PATH, restart=restart)


@pytest.mark.requirement("M-IO-18")
async def test_a_killed_child_is_started_again_and_the_next_call_works() -> None:
    transport = echo(restart=RestartPolicy(initial=0.05, cap=0.1))
    async with open_client(transport) as client:
        await client.request("echo")
        first = kill(transport)
        with trio.fail_after(5):
            await until(lambda: transport.pid != first)
            assert (await client.request("echo", {"n": 2}))["n"] == 2
        assert not alive(first)
    assert not has_children()


@pytest.mark.requirement("M-IO-18")
async def test_restarts_are_limited_and_then_every_call_fails_with_the_cause() -> None:
    transport = echo(restart=RestartPolicy(initial=0.01, cap=0.02, limit=2))
    async with open_client(transport) as client:
        for _ in range(2):
            pid = kill(transport)
            await until(lambda pid=pid: transport.pid != pid)
            await client.request("echo")
        kill(transport)
        for _ in range(2):
            with trio.fail_after(5), pytest.raises(ConnectionClosed, match="SIGKILL"):
                await until_it_fails(client)
    assert not has_children()


async def until_it_fails(client: Client) -> None:
    while True:
        await client.request("echo")


async def next_notification(replies: Any) -> Notification:
    with trio.fail_after(5):
        message = await replies.receive()
    assert isinstance(message, Notification)
    return message


@pytest.mark.requirement("M-IO-19", "M-SU-13")
async def test_a_call_is_lost_with_its_process_and_a_listen_is_sent_again(tmp_path: Path) -> None:
    transport = restarting(tmp_path)
    lost: list[ConnectionClosed] = []

    async def call(client: Client) -> None:
        with pytest.raises(ConnectionClosed, match="SIGKILL") as caught:
            await client.request("forever")
        lost.append(caught.value)

    filter_ = {"notifications": {"toolsListChanged": True}}
    async with open_client(transport, era="modern") as client, client.open_exchange(LISTEN, filter_) as replies:
        assert (await next_notification(replies)).method == ACKNOWLEDGED
        first_id = replies.request_id
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, client)
            await noted(tmp_path, "began")
            kill(transport)
        assert len(lost) == 1
        again = await next_notification(replies)
        assert again.method == ACKNOWLEDGED
        assert replies.request_id != first_id
        assert again.meta[SUBSCRIPTION_ID] == replies.request_id
        await client.request("publish")
        changed = await next_notification(replies)
        assert changed.method == "notifications/tools/list_changed"
        assert changed.meta[SUBSCRIPTION_ID] == replies.request_id
    assert len(journal(tmp_path, "began")) == 1
    assert len(journal(tmp_path, "started")) == 2


LISTEN = "subscriptions/listen"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"
