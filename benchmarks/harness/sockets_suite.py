"""The sockets suite: servers over TCP, Unix sockets and WebSocket, one connection each.

Only a list of what is to be done; nothing here may measure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .accounting import Placement
from .cells import SOCKET_CELLS, Effort
from .contenders import socket_contenders
from .record import version_of
from .server_cells import measure_server
from .suite import Plan, message_entries

PACKAGES = ("trio-websocket", "wsproto", "websockets")


def plan(wanted: Collection[str] | None, ours: Sequence[str], effort: Effort, where: Placement) -> Plan:
    """List all cells of the suite.

    Args:
        wanted: Names of the contenders that take part; None for all.
        ours: Not used: every cell starts our program with options of its own.
        effort: What the run spends.
        where: CPUs of driver and subject.
    """
    cells = []
    for cell in SOCKET_CELLS:
        servers = [one for one in socket_contenders(cell) if wanted is None or one.name in wanted]
        cells.append((message_entries(cell, servers, measure_server, effort, where), effort.rounds))
    return Plan(
        [(entries, rounds) for entries, rounds in cells if entries], {name: version_of(name) for name in PACKAGES}
    )
