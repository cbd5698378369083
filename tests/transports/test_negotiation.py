"""How a client finds the era of its server: every answer to the probe, and silence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import ClientInfo, RpcError
from trio_mcp_transport.deadlines import DeadlineExceeded
from trio_mcp_transport.errors import ConnectionClosed, LocalProtocolError, MessageError, UnsupportedRevision
from trio_mcp_transport.transports.negotiation import ModernTerms, Negotiator, no_common, supported_of
from trio_mcp_transport.wire.meta import CLIENT_CAPABILITIES, CLIENT_INFO, PROTOCOL_VERSION
from trio_mcp_transport.wire.revisions import LATEST_LEGACY, LEGACY, MODERN

INFO = ClientInfo("c", "1", {"sampling": {}})
FUTURE = "2099-01-01"
DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": list(MODERN),
    "capabilities": {"tools": {}},
    "instructions": "be kind",
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}},
}
INITIALIZED = {
    "protocolVersion": LATEST_LEGACY,
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "s", "version": "1"},
}


class Server:
    """Gives one prepared answer after another and keeps what was asked."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.notified: list[str] = []

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        await trio.lowlevel.checkpoint()
        self.asked.append((method, params))
        answer = self._answers.pop(0)
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def notify(self, method: str) -> None:
        await trio.lowlevel.checkpoint()
        self.notified.append(method)

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.asked]

    async def negotiate(self, **options: Any) -> Any:
        return await Negotiator(call=self.call, notify=self.notify, info=INFO, **options).negotiate()


def unsupported(*supported: str) -> RpcError:
    return RpcError(-32022, "no", {"supported": list(supported), "requested": "x"})


async def test_a_discover_result_makes_the_server_modern() -> None:
    server = Server(DISCOVERED)
    terms = await server.negotiate()
    assert (terms.modern, terms.revision, server.methods) == (True, MODERN[0], ["server/discover"])
    assert (terms.server_info, terms.server_capabilities, terms.instructions) == (
        {"name": "s", "version": "1"},
        {"tools": {}},
        "be kind",
    )
    meta = server.asked[0][1]["_meta"]
    assert meta[PROTOCOL_VERSION] == MODERN[0]
    assert meta[CLIENT_CAPABILITIES] == {"sampling": {}}


@pytest.mark.parametrize(
    "answer",
    [
        *(RpcError(code, "no") for code in (-32601, -32602, -32603, -32600, -32700, -32000, -32001, 1, 0)),
        {"resultType": "complete"},
        DeadlineExceeded("total", 1.0, "server/discover"),
        None,
    ],
    ids=str,
)
async def test_any_other_answer_and_silence_mean_legacy(answer: Any, autojump_clock: trio.testing.MockClock) -> None:
    server = Server(answer, INITIALIZED)
    started = trio.current_time()
    terms = await server.negotiate(probe=5.0)
    assert trio.current_time() - started == pytest.approx(5 if answer is None else 0)
    assert (terms.modern, terms.revision) == (False, LATEST_LEGACY)
    assert server.methods == ["server/discover", "initialize"]
    assert server.notified == ["notifications/initialized"]


@pytest.mark.parametrize("code", [-32020, -32021])
async def test_errors_only_a_modern_server_gives_make_it_modern(code: int) -> None:
    server = Server(RpcError(code, "no"))
    terms = await server.negotiate()
    assert (terms.modern, server.methods) == (True, ["server/discover"])


async def test_a_mutual_revision_is_asked_for_once_more() -> None:
    server = Server(unsupported(MODERN[0]), DISCOVERED)
    terms = await server.negotiate(revisions=(FUTURE, MODERN[0]))
    assert terms.revision == MODERN[0]
    versions = [params["_meta"][PROTOCOL_VERSION] for _, params in server.asked]
    assert versions == [FUTURE, MODERN[0]]


async def test_no_question_is_asked_twice() -> None:
    server = Server(unsupported(MODERN[0]), unsupported(MODERN[0]))
    terms = await server.negotiate()
    assert terms.modern
    assert len(server.asked) == 2


@pytest.mark.parametrize("answer", [unsupported(FUTURE), {**DISCOVERED, "supportedVersions": [FUTURE]}], ids=str)
async def test_without_a_common_revision_both_sides_are_named(answer: Any) -> None:
    with pytest.raises(UnsupportedRevision, match=f"{FUTURE}.*{MODERN[0]}") as caught:
        await Server(answer).negotiate()
    assert caught.value.supported == (FUTURE,)


@pytest.mark.parametrize("data", [None, [], {"supported": None}, {"supported": "2026"}, {"supported": [7]}])
async def test_a_version_error_may_hold_anything(data: Any) -> None:
    error = RpcError(-32022, "no", data)
    with pytest.raises(UnsupportedRevision):
        await Server(error).negotiate()
    assert isinstance(no_common(supported_of(error), MODERN), UnsupportedRevision)


async def test_a_modern_client_fails_on_a_legacy_server_before_it_asks_anything_else() -> None:
    server = Server(RpcError(-32601, "no"))
    with pytest.raises(UnsupportedRevision, match="switched off"):
        await server.negotiate(era="modern")
    assert server.methods == ["server/discover"]


async def test_a_modern_client_may_ask_nothing_at_all() -> None:
    server = Server()
    with trio.testing.assert_checkpoints():
        terms = await server.negotiate(era="modern", discover=False)
    assert (terms.modern, server.asked) == (True, [])


async def test_a_legacy_client_never_probes() -> None:
    server = Server(INITIALIZED)
    terms = await server.negotiate(era="legacy")
    assert (terms.modern, server.methods) == (False, ["initialize"])


async def test_a_lost_connection_is_no_era() -> None:
    for era in ("auto", "modern", "legacy"):
        with pytest.raises(ConnectionClosed):
            await Server(ConnectionClosed("gone")).negotiate(era=era)


async def test_without_a_deadline_the_probe_waits(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(10_000) as scope:
        await Server(None).negotiate(probe=None)
    assert scope.cancelled_caught
    assert trio.current_time() < math.inf


def test_modern_params_carry_the_envelope_and_keep_what_the_caller_wrote() -> None:
    terms = ModernTerms(INFO)
    prepared = terms.prepare({"a": 1, "_meta": {"own": 2}}, "token")
    assert prepared["a"] == 1
    assert prepared["_meta"]["own"] == 2
    assert prepared["_meta"]["progressToken"] == "token"
    assert prepared["_meta"][CLIENT_INFO] == {"name": "c", "version": "1"}
    assert CLIENT_INFO not in ModernTerms(INFO, send_info=False).prepare(None, None)["_meta"]
    with pytest.raises(LocalProtocolError):
        terms.prepare({"_meta": {"io.modelcontextprotocol/own": 1}}, None)


def test_results_are_checked_by_what_was_declared() -> None:
    terms = ModernTerms(INFO)
    terms.check({})
    terms.check({"resultType": "input_required"})
    with pytest.raises(MessageError):
        terms.check({"resultType": "task"})
    ModernTerms(INFO, result_types={"task"}).check({"resultType": "task"})


def test_every_legacy_revision_is_known() -> None:
    assert LATEST_LEGACY in LEGACY
    assert not set(LEGACY) & set(MODERN)
