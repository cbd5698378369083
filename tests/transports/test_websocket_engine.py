"""The options of both engines, and which link each of them gives."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import trio

from trio_mcp_transport.errors import ConfigError
from trio_mcp_transport.limits import Limits
from trio_mcp_transport.metrics import TransportMetrics
from trio_mcp_transport.testing.streams import byte_stream_pair
from trio_mcp_transport.transports.websocket_engine import ENGINES, EngineOptions, open_link
from trio_mcp_transport.transports.websocket_library import LibraryLink
from trio_mcp_transport.transports.websocket_native import NativeLink


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize(("engine", "kind"), [("trio-websocket", LibraryLink), ("native", NativeLink)])
async def test_each_engine_gives_its_link(engine: Any, kind: type[object], role: Any) -> None:
    ours, _ = byte_stream_pair()
    async with trio.open_nursery() as nursery:
        link = await open_link(
            nursery,
            ours,
            role,
            EngineOptions(engine=engine),
            limit=1000,
            limits=Limits(),
            metrics=TransportMetrics(),
            leftover=b"",
        )
        assert type(link) is kind
        assert link.resynchronises is False
        await link.aclose()  # leaves the stream to its owner
        await ours.send_all(b"x")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "options",
    [
        {"engine": "websockets"},
        {"ping_interval": 0},
        {"ping_interval": True},
        {"ping_interval": float("inf")},
        {"ping_deadline": None},
        {"ping_deadline": -1},
        {"close_deadline": "5"},
        {"close_deadline": float("nan")},
    ],
)
def test_an_option_out_of_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        EngineOptions(**options)


def test_no_pings_is_an_option() -> None:
    assert EngineOptions(ping_interval=None).ping_interval is None
    assert ENGINES == ("trio-websocket", "native")


def test_the_library_is_not_imported_before_it_is_wanted() -> None:
    code = "import trio_mcp_transport.transports.websocket, sys; sys.exit('trio_websocket' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
