"""The program serves a probe over standard input and output, keeps a journal, and obeys two signals."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Literal

import pytest
import trio

from trio_mcp_transport import Limits, RpcError, StdioClientTransport, TransportError, open_client
from trio_mcp_transport.testing.transport_checks.program import ProbeProgram
from trio_mcp_transport.testing.transport_checks.served import ServeOptions

SECONDS = 10.0


def test_options_reach_the_command(tmp_path: Path) -> None:
    program = ProbeProgram(tmp_path)
    assert program.prepare(ServeOptions(limits=Limits(max_running=3), drain=0.5)) == ("stdio:",)
    first = program.command
    assert first[0] == sys.executable
    options = json.loads(first[-1])
    assert options["drain"] == 0.5 and Limits(**options["limits"]) == Limits(max_running=3)
    program.prepare(ServeOptions())
    assert program.command[-2] != first[-2]  # a journal of its own
    assert program.journal.events() == []
    program.shutdown()  # nobody is there
    program.cancel()


@pytest.mark.parametrize("ending", ["shutdown", "cancel"])
async def test_a_conversation(ending: Literal["shutdown", "cancel"], tmp_path: Path) -> None:
    program = ProbeProgram(tmp_path)
    program.prepare(ServeOptions(drain=0.1))
    transport = StdioClientTransport(program.command, inherit_env=True)
    with trio.fail_after(SECONDS):
        async with open_client(transport) as client, trio.open_nursery() as nursery:
            await client.request("check/echo", {"key": "first"})
            assert program.journal.select("served")[0].detail == str(transport.pid)

            async def wait() -> None:
                with pytest.raises((TransportError, RpcError)):
                    await client.request("check/wait", {"key": "open"})

            nursery.start_soon(wait)
            await program.journal.wait("began", key="open")
            (program.shutdown if ending == "shutdown" else program.cancel)()
            await program.journal.wait("done")
        cause = program.journal.select("cancelled", key="open")[0].detail
    assert cause == ("drain" if ending == "shutdown" else "service")
    assert [event.kind for event in program.journal.events()][-2:] == ["close", "done"]
