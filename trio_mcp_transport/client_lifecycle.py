"""`run_client`: the client's primitive, one task that owns everything a client needs.

Must never hold state: what lives as long as a client is `client_runner.ClientRunner`.
"""

from __future__ import annotations

from functools import partial

import trio

from .abc import ClientTransport, MessageHandler
from .client import Client
from .client_runner import ClientRunner
from .deadlines import Deadlines
from .handlers import Handlers
from .limits import Limits
from .transports.negotiation import Era, Negotiator
from .wire.envelope import ClientInfo
from .wire.revisions import MODERN

__all__ = ["run_client"]

DEFAULT_INFO = ClientInfo("trio-mcp-transport", "0")


async def run_client(
    transport: ClientTransport,
    *,
    client_info: ClientInfo | None = None,
    handler: MessageHandler | None = None,
    era: Era = "auto",
    limits: Limits | None = None,
    deadlines: Deadlines | None = None,
    discover: bool = True,
    extensions: frozenset[str] = frozenset(),
    send_info: bool = True,
    revisions: tuple[str, ...] = MODERN,
    task_status: trio.TaskStatus[Client] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a client until it is closed; ``task_status.started`` gives the `Client`.

    A checkpoint.  Cancelled, everything it opened is closed within the bounds of the transport.  Once started it
    returns normally even when the connection dies: that is told to the callers of the client.

    Args:
        transport: How to reach the server; runs once.
        client_info: Name, version and capabilities of this program.
        handler: Serves what the server sends of its own accord on legacy connections, and learns of unreadable
            messages.  Default: ping is answered, requests get -32601, notifications are counted.
        era: ``auto`` probes and falls back, ``modern`` and ``legacy`` speak nothing else.
        limits: The bounds; None for the defaults.
        deadlines: The client's own deadlines; None for the defaults.
        discover: Whether a ``modern`` client asks ``server/discover`` first.
        extensions: ``resultType`` values of declared extensions (M-JR-10).
        send_info: Whether requests carry ``clientInfo`` (M-ME-03).
        revisions: Modern revisions to speak, preferred first.
        task_status: Told the client once it can be used.

    Raises:
        TransportError: The connection could not be made, or the two sides share no revision; never in a group.
        RpcError: A legacy server refused ``initialize``.
    """
    deadlines = deadlines or Deadlines()
    negotiator = partial(
        Negotiator,
        info=client_info or DEFAULT_INFO,
        era=era,
        discover=discover,
        probe=deadlines.probe,
        extensions=extensions,
        send_info=send_info,
        revisions=revisions,
    )
    runner = ClientRunner(transport, handler or Handlers(), negotiator, limits or Limits(), deadlines)
    await runner.run(task_status)
