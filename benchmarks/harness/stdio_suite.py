"""The stdio suite: servers and clients over pipes, and start-up.

Only a list of what is to be done; nothing here may measure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from . import contenders
from .accounting import Placement
from .cells import CLIENT_CELL, SERVER_CELLS, Effort
from .contenders import Contender
from .other_cells import IMPORTS, measure_client, measure_import
from .server_cells import measure_first_reply, measure_server
from .suite import Entry, Plan, message_entries


def first_reply_entries(contenders: Sequence[Contender], placement: Placement) -> list[Entry]:
    """List the entries of the cell that times the first answer of a fresh server."""

    def entry(contender: Contender) -> Entry:
        era = contender.eras[0]
        return Entry(
            cell="startup-first-reply",
            contender=contender.name,
            era=era,
            unit="wall_ms",
            measure=lambda: measure_first_reply(contender, era, placement),
            absent=contender.absent,
            payload_bytes=100,
            in_flight=1,
        )

    return [entry(contender) for contender in contenders]


def import_entries(names: Sequence[str], placement: Placement) -> list[Entry]:
    """List the entries of the cell that accounts for the CPU time of imports."""

    def entry(name: str) -> Entry:
        statement = IMPORTS[name]
        return Entry(
            cell="startup-import",
            contender=name,
            era="",
            unit="cpu_ms",
            measure=lambda: measure_import(statement, placement),
        )

    return [entry(name) for name in names]


def plan(wanted: Collection[str] | None, ours: Sequence[str], effort: Effort, where: Placement) -> Plan:
    """List all cells of the suite.

    Args:
        wanted: Names of the contenders that take part; None for all.
        ours: Command of our echo server.
        effort: What the run spends.
        where: CPUs of driver and subject.
    """
    needs_node = wanted is None or "typescript" in wanted
    node = contenders.find_node() if needs_node else contenders.Node("", "not used", "not asked for")
    servers = [one for one in contenders.server_contenders(node, ours) if wanted is None or one.name in wanted]
    clients = [one for one in contenders.client_contenders(node) if wanted is None or one.name in wanted]
    imports = [name for name in IMPORTS if wanted is None or name == "base" or name.partition("-")[0] in wanted]
    cells = [(message_entries(cell, servers, measure_server, effort, where), effort.rounds) for cell in SERVER_CELLS]
    cells.append((message_entries(CLIENT_CELL, clients, measure_client, effort, where), effort.rounds))
    cells.append((first_reply_entries(servers, where), effort.rounds))
    cells.append((import_entries(imports, where), effort.startup_rounds))
    return Plan(
        [(entries, rounds) for entries, rounds in cells if entries],
        {"node": node.version, "typescript-sdk": contenders.TYPESCRIPT_SDK},
    )
