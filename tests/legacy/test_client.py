"""The handshake seen from the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio

from trio_mcp_transport import ClientInfo, RpcError
from trio_mcp_transport.errors import UnsupportedRevision
from trio_mcp_transport.legacy.client import LegacyTerms, handshake
from trio_mcp_transport.wire.revisions import LATEST_LEGACY, LEGACY, MODERN

INFO = ClientInfo("c", "1", {"roots": {}})


class Server:
    """Answers ``initialize`` and keeps the order of events."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.events: list[Any] = []

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        await trio.lowlevel.checkpoint()
        self.events.append((method, params))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def notify(self, method: str) -> None:
        await trio.lowlevel.checkpoint()
        self.events.append(method)

    async def shake(self) -> LegacyTerms:
        return await handshake(self.call, self.notify, INFO)


@pytest.mark.parametrize("revision", LEGACY)
async def test_the_newest_is_asked_for_and_any_legacy_revision_is_taken(revision: str) -> None:
    server = Server({"protocolVersion": revision, "capabilities": {"tools": {}}, "serverInfo": {"name": "s"}})
    terms = await server.shake()
    assert server.events == [
        (
            "initialize",
            {
                "protocolVersion": LATEST_LEGACY,
                "capabilities": {"roots": {}},
                "clientInfo": {"name": "c", "version": "1"},
            },
        ),
        "notifications/initialized",
    ]
    assert (terms.revision, terms.modern) == (revision, False)
    assert (terms.server_info, terms.server_capabilities, terms.instructions) == ({"name": "s"}, {"tools": {}}, None)


@pytest.mark.parametrize("revision", ["2099-01-01", *MODERN, None, 7, ["2025-11-25"]], ids=str)
async def test_any_other_revision_ends_the_handshake_before_initialized(revision: Any) -> None:
    server = Server({"protocolVersion": revision})
    with pytest.raises(UnsupportedRevision, match="spoken here") as caught:
        await server.shake()
    assert len(server.events) == 1
    assert caught.value.supported == (str(revision),)


@pytest.mark.parametrize(("code", "data"), [(-32602, None), (-32602, {"supported": "x"}), (-32603, {"supported": []})])
async def test_a_refusal_for_another_reason_passes(code: int, data: Any) -> None:
    server = Server(RpcError(code, "no", data))
    with pytest.raises(RpcError, match="no"):
        await server.shake()
    assert len(server.events) == 1


async def test_a_refusal_of_the_revision_names_what_the_server_speaks() -> None:
    server = Server(RpcError(-32602, "no", {"supported": ["2024-11-04"], "requested": LATEST_LEGACY}))
    with pytest.raises(UnsupportedRevision, match="2024-11-04") as caught:
        await server.shake()
    assert caught.value.supported == ("2024-11-04",)


def test_params_get_a_token_only_where_one_is_wanted_and_results_are_not_judged() -> None:
    terms = LegacyTerms({"protocolVersion": LATEST_LEGACY})
    params = {"a": 1}
    assert terms.prepare(params, None) is params
    assert terms.prepare(params, 7) == {"a": 1, "_meta": {"progressToken": 7}}
    assert terms.prepare(None, 0) == {"_meta": {"progressToken": 0}}
    assert params == {"a": 1}
    terms.check({"resultType": "whatever"})
