"""Listens that outlive their connection, and listens nobody reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import modern_request, serve_bytes
from trio_mcp_transport import (
    Limits,
    MessageContext,
    Notification,
    Request,
    RestartPolicy,
    StdioClientTransport,
    Subscriptions,
    open_client,
)
from trio_mcp_transport.testing import byte_stream_pair

LISTEN = "subscriptions/listen"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
TOOLS = "notifications/tools/list_changed"
EVERYTHING = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}


def listen(id_: Any, filter_: Any) -> Any:
    return modern_request(id_, LISTEN, {"notifications": filter_})


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def call(request: Request, context: MessageContext) -> Any:
    return {}


DYING_SERVER = """
import json, pathlib, sys
lives = pathlib.Path(sys.argv[1])
life = int(lives.read_text()) + 1 if lives.exists() else 1
lives.write_text(str(life))
for line in sys.stdin:
    message = json.loads(line)
    with open(sys.argv[2], "a") as log:
        log.write(json.dumps([life, message["method"], message.get("id")]) + chr(10))
    key = "io.modelcontextprotocol/subscriptionId"
    if message["method"] == "subscriptions/listen":
        params = {"_meta": {key: message["id"]}, "life": life}
        note = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params}
        print(json.dumps(note), flush=True)
        if life == 1:
            sys.exit(3)
"""


@pytest.mark.requirement("M-SU-12", "M-SU-13")
async def test_after_a_restart_listens_are_sent_again_with_new_ids(tmp_path: Path) -> None:
    lives, log = tmp_path / "lives", tmp_path / "log"
    command = [sys.executable, "-S", "-c", DYING_SERVER, str(lives), str(log)]
    transport = StdioClientTransport(command, stderr="devnull", restart=RestartPolicy(initial=0.01, cap=0.05))
    with trio.fail_after(10):
        async with open_client(transport, era="modern", discover=False) as client:
            async with client.open_exchange(LISTEN, {"notifications": EVERYTHING}) as replies:
                seen = [await replies.receive(), await replies.receive()]
    assert [message.params["life"] for message in seen if isinstance(message, Notification)] == [1, 2]
    listens = [line for line in log.read_text().splitlines() if LISTEN in line]
    assert len(listens) == 2
    tags = [message.meta[SUBSCRIPTION] for message in seen if isinstance(message, Notification)]
    assert [f", {tag}]" in line for tag, line in zip(tags, listens, strict=True)] == [True, True]


@pytest.mark.requirement("M-SU-16")
async def test_a_listen_nobody_reads_is_bounded_and_holds_up_no_other_connection() -> None:
    subscriptions = Subscriptions(buffer=10)
    near, far = byte_stream_pair(500)
    async with serve_bytes(
        call, subscriptions=subscriptions, streams=(near, far), limits=Limits(outbox_bytes=500)
    ) as wire:
        await wire.ask(listen(1, EVERYTHING))
        for number in range(1000):
            subscriptions.publish(TOOLS, {"n": number})
            await trio.lowlevel.checkpoint()
        await settle()
        assert subscriptions.statistics().dropped > 900
        async with serve_bytes(call, subscriptions=subscriptions) as other:
            assert (await other.ask(modern_request(1)))["id"] == 1
        numbers = []
        while not numbers or numbers[-1] != 999:
            numbers.append((await wire.receive())["params"]["n"])
        assert numbers == sorted(numbers)
        assert (await wire.ask(modern_request(2)))["id"] == 2, "and the connection itself lives on"
