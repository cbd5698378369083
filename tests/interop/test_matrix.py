"""Every pair of a modern, dual or legacy client and server over stdio: what works, and how the rest fails.

The client is ours.  Servers are ours where ours can be restricted to what the pair needs, else strict fakes of one era.
X-1 to X-7 are the rows of the specification's compatibility matrix; `test_server_answers.py` has the servers' side.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.interop.official_schema import check_conversation
from tests.interop.wire_record import WireRecord
from trio_mcp_transport import (
    Client,
    Deadlines,
    RestartPolicy,
    RpcError,
    StdioClientTransport,
    TransportError,
    UnsupportedRevision,
    open_client,
)

PROGRAMS = Path(__file__).with_name("programs")
MODERN, LEGACY = "2026-07-28", "2025-11-25"
LATER = "2027-01-01"
META = "io.modelcontextprotocol/"
BOUND = 15.0


def server(record: WireRecord, program: str, *arguments: str) -> StdioClientTransport:
    """Return the transport that starts one of the programs, with the tap in front of it."""
    command = record.command([sys.executable, str(PROGRAMS / f"{program}.py"), *arguments])
    return StdioClientTransport(command, cwd=record.folder, stderr="capture")


async def say(client: Client, text: str) -> None:
    """Fail unless the tool ``echo`` answers with the text."""
    result = await client.request("tools/call", {"name": "echo", "arguments": {"text": text}})
    assert result["content"] == [{"type": "text", "text": text}]


# modern client, modern server.


@pytest.mark.requirement("M-VN-05", "X-01")
@pytest.mark.parametrize("discover", [True, False])
async def test_x1_modern_with_modern(discover: bool, record: WireRecord) -> None:
    with trio.fail_after(BOUND):
        async with open_client(server(record, "our_server", "modern"), era="modern", discover=discover) as client:
            assert client.revision == MODERN
            await say(client, "one")
            await say(client, "two")
    # Discovery is optional: without it the first line is the call itself.
    assert record.methods("client") == ["server/discover"] * discover + ["tools/call", "tools/call"]
    check_conversation(MODERN, record.messages("server"), record.messages("client"))


@pytest.mark.requirement("M-VN-03", "M-BC-02", "X-01")
@pytest.mark.parametrize("program", [("fake_modern_server", "ok", MODERN), ("our_server", "modern")])
@pytest.mark.parametrize(("era", "discover"), [("modern", True), ("modern", False), ("auto", True)])
async def test_x1_a_version_error_leads_to_one_retry_with_the_common_version(
    era: Any, discover: bool, program: tuple[str, ...], record: WireRecord
) -> None:
    options = {"discover": discover, "revisions": (LATER, MODERN)}
    with trio.fail_after(BOUND):
        async with open_client(server(record, *program), era=era, **options) as client:
            await say(client, "one")
            assert client.revision == MODERN
            await say(client, "two")
    sent = record.messages("client")
    asked = [(message["method"], message["params"]["_meta"][META + "protocolVersion"]) for message in sent]
    first = "server/discover" if discover else "tools/call"
    assert asked[:2] == [(first, LATER), (first, MODERN)]
    assert asked[2:] == [("tools/call", MODERN)] * (2 if discover else 1)
    ids = [message["id"] for message in sent]
    assert len(set(ids)) == len(ids)


@pytest.mark.requirement("M-VN-03", "X-01")
@pytest.mark.parametrize("era", ["modern", "auto"])
async def test_x1_no_common_version_is_a_clear_error_and_no_loop(era: Any, record: WireRecord) -> None:
    with trio.fail_after(BOUND):
        with pytest.raises(UnsupportedRevision) as caught:
            async with open_client(server(record, "fake_modern_server", "ok", LATER), era=era):
                pass
    assert caught.value.supported == (LATER,) and caught.value.requested == MODERN
    assert LATER in str(caught.value) and MODERN in str(caught.value)
    assert record.methods("client") == ["server/discover"]


@pytest.mark.requirement("M-VN-03", "X-01")
async def test_x1_no_common_version_without_a_probe_reaches_the_caller(record: WireRecord) -> None:
    with trio.fail_after(BOUND):
        async with open_client(
            server(record, "fake_modern_server", "ok", LATER), era="modern", discover=False
        ) as client:
            with pytest.raises(RpcError) as caught:
                await say(client, "one")
    assert caught.value.code == -32022 and caught.value.data["supported"] == [LATER]
    assert record.methods("client") == ["tools/call"]


# modern client, legacy server.


@pytest.mark.requirement("M-BC-04", "X-02")
@pytest.mark.parametrize("probe", ["-32601", "-32600", "empty", "silent"])
async def test_x2_modern_with_legacy_fails_before_any_call(probe: str, record: WireRecord) -> None:
    transport = server(record, "fake_legacy_server", probe, LEGACY)
    with trio.fail_after(BOUND):
        with pytest.raises(UnsupportedRevision) as caught:
            async with open_client(transport, era="modern", deadlines=Deadlines(probe=0.3)) as client:
                await say(client, "never")
    # The message says what is missing and which switch would change it.
    assert MODERN in str(caught.value) and "legacy" in str(caught.value)
    assert record.methods("client")[0] == "server/discover"
    assert not {"initialize", "tools/call"} & set(record.methods("client"))


# dual client, modern server.


@pytest.mark.requirement("M-BC-01", "M-BC-02", "M-BC-07", "X-03")
async def test_x3_dual_with_modern_probes_once_and_stays_modern(record: WireRecord) -> None:
    with trio.fail_after(BOUND):
        async with open_client(server(record, "our_server", "modern")) as client:
            assert (client.era, client.revision) == ("modern", MODERN)
            for number in range(3):
                await say(client, f"number {number}")
    assert record.methods("client") == ["server/discover", "tools/call", "tools/call", "tools/call"]
    meta = record.messages("client")[0]["params"]["_meta"]
    assert meta[META + "protocolVersion"] == MODERN
    assert meta[META + "clientCapabilities"] == {}
    assert set(meta[META + "clientInfo"]) == {"name", "version"}
    check_conversation(MODERN, record.messages("server"), record.messages("client"))


@pytest.mark.requirement("M-BC-02", "X-03")
@pytest.mark.parametrize("code", ["-32020", "-32021"])
async def test_x3_a_recognised_modern_error_is_a_modern_server(code: str, record: WireRecord) -> None:
    with trio.fail_after(BOUND):
        async with open_client(server(record, "fake_modern_server", code, MODERN)) as client:
            assert (client.era, client.revision) == ("modern", MODERN)
            await say(client, "hello")
    assert record.methods("client") == ["server/discover", "tools/call"]


@pytest.mark.requirement("X-03")
async def test_x3_dual_with_dual_is_modern(record: WireRecord) -> None:
    with trio.fail_after(BOUND):
        async with open_client(server(record, "our_server", "both")) as client:
            assert (client.era, client.revision) == ("modern", MODERN)
            await say(client, "hello")
    assert record.methods("client") == ["server/discover", "tools/call"]


# dual client, legacy server.


@pytest.mark.requirement("M-BC-01", "M-BC-03", "M-BC-07", "X-04")
@pytest.mark.parametrize("probe", ["-32601", "-32602", "-32603", "-32600", "-32000", "1", "empty", "silent", "late"])
async def test_x4_dual_with_legacy_falls_back_whatever_the_probe_meets(probe: str, record: WireRecord) -> None:
    transport = server(record, "fake_legacy_server", probe, LEGACY)
    with trio.fail_after(BOUND):
        async with open_client(transport, deadlines=Deadlines(probe=0.3)) as client:
            assert (client.era, client.revision) == ("legacy", LEGACY)
            assert client.server_info == {"name": "fake-legacy", "version": "1"}
            for number in range(3):
                await say(client, f"number {number}")
    sent = record.messages("client")
    # Giving up the silent probe may be told to the server as well; apart from that nothing else is sent.
    methods = [message["method"] for message in sent if message["method"] != "notifications/cancelled"]
    assert methods == ["server/discover", "initialize", "notifications/initialized"] + ["tools/call"] * 3
    assert sent[0]["params"]["_meta"].keys() >= {META + "protocolVersion", META + "clientCapabilities"}
    rest = [message for message in sent[1:] if message["method"] != "notifications/cancelled"]
    assert rest[0]["params"]["protocolVersion"] == LEGACY
    assert check_conversation(LEGACY, record.messages("server"), rest) == 0


@pytest.mark.requirement("M-BC-07", "X-04")
async def test_x4_the_era_is_kept_per_process_and_asked_again_of_the_next(record: WireRecord, home: Path) -> None:
    (home / "dies.py").write_text(DIES_ONCE)
    command = record.command([sys.executable, str(home / "dies.py"), str(PROGRAMS)])
    restart = RestartPolicy(initial=0.01)
    transport = StdioClientTransport(command, cwd=home, stderr="capture", restart=restart)
    with trio.fail_after(BOUND):
        async with open_client(transport) as client:
            assert client.era == "modern"
            await say(client, "one")
            with pytest.raises(TransportError):
                await client.request("tools/call", {"name": "echo"})  # a modern server that dies of it
            await say(client, "two")
            assert client.era == "legacy"
    assert record.methods("client").count("server/discover") == 2


DIES_ONCE = f"""\
import pathlib, runpy, sys
first = pathlib.Path("second")
programs = sys.argv[1]
if first.exists():
    sys.argv[1:] = ["-32601", "{LEGACY}"]
    runpy.run_path(programs + "/fake_legacy_server.py", run_name="__main__")
else:
    first.touch()
    sys.argv[1:] = ["ok", "{MODERN}"]
    runpy.run_path(programs + "/fake_modern_server.py", run_name="__main__")
"""


# legacy client, modern server.


@pytest.mark.requirement("M-BC-11", "M-BC-09", "X-05")
async def test_x5_legacy_with_modern_fails_with_the_versions_named(record: WireRecord) -> None:
    with trio.fail_after(BOUND):
        with pytest.raises(UnsupportedRevision) as caught:
            async with open_client(server(record, "our_server", "modern"), era="legacy"):
                pass
    assert MODERN in str(caught.value) and LEGACY in str(caught.value)
    assert caught.value.supported == (MODERN,)
    assert record.methods("client") == ["initialize"]
    check_conversation(MODERN, record.messages("client"), record.messages("server"))


# legacy client, dual server.


@pytest.mark.requirement("X-06")
async def test_x6_legacy_with_dual_speaks_the_negotiated_revision(record: WireRecord) -> None:
    with trio.fail_after(BOUND):
        async with open_client(server(record, "our_server", "both"), era="legacy") as client:
            assert (client.era, client.revision) == ("legacy", LEGACY)
            await say(client, "hello")
            assert await client.request("ping") == {}
    assert record.methods("client") == ["initialize", "notifications/initialized", "tools/call", "ping"]
    assert check_conversation(LEGACY, record.messages("client"), record.messages("server")) == 3


# legacy client, legacy server.


@pytest.mark.requirement("X-07")
@pytest.mark.parametrize("revision", [LEGACY, "2025-06-18", "2025-03-26", "2024-11-05"])
async def test_x7_legacy_with_legacy(revision: str, record: WireRecord) -> None:
    with trio.fail_after(BOUND):
        async with open_client(server(record, "fake_legacy_server", "-32601", revision), era="legacy") as client:
            assert (client.era, client.revision) == ("legacy", revision)
            await say(client, "hello")
    assert record.methods("client") == ["initialize", "notifications/initialized", "tools/call"]


@pytest.mark.requirement("L25-LC-08", "X-07")
@pytest.mark.parametrize("era", ["legacy", "auto"])
@pytest.mark.parametrize("revision", ["2099-01-01", MODERN])
async def test_x7_an_unsupported_answer_to_initialize_disconnects(era: Any, revision: str, record: WireRecord) -> None:
    with trio.fail_after(BOUND):
        with pytest.raises(UnsupportedRevision) as caught:
            async with open_client(server(record, "fake_legacy_server", "-32601", revision), era=era):
                pass
    assert revision in str(caught.value) and LEGACY in str(caught.value)
    assert record.methods("client")[-1] == "initialize"
    # Disconnected: the server saw the end of its input and ended by itself.
    assert record.end()[0] == 0


# Across the matrix: an application that remembers the era of a server.


@pytest.mark.requirement("M-BC-08")
@pytest.mark.parametrize(
    ("remembered", "program", "found"),
    [
        ("legacy", ("our_server", "modern"), "modern"),
        ("modern", ("fake_legacy_server", "-32601", LEGACY), "legacy"),
    ],
)
async def test_a_wrongly_remembered_era_fails_typed_and_one_probe_recovers(
    remembered: Any, program: tuple[str, ...], found: str, record: WireRecord
) -> None:
    with trio.fail_after(BOUND):
        with pytest.raises((UnsupportedRevision, RpcError)):
            async with open_client(server(record, *program), era=remembered, discover=True):
                pass
        before = record.methods("client").count("server/discover")
        async with open_client(server(record, *program), era="auto") as client:
            assert client.era == found
            await say(client, "recovered")
    assert record.methods("client").count("server/discover") == before + 1
