"""A sign of life from the server at regular intervals, for connections on which silence proves nothing.

Must never run unless a program starts it, and must never take an error answer for a dead peer: who answers, lives.
"""

from __future__ import annotations

import logging

import trio

from .client import Client
from .deadlines import DeadlineExceeded
from .errors import ConfigError, RpcError, TransportError

__all__ = ["keep_alive"]

logger: logging.Logger = logging.getLogger("trio_mcp_transport")


async def keep_alive(
    client: Client,
    interval: float = 30.0,
    timeout: float = 10.0,  # noqa: ASYNC109 - of every question, not of the call
) -> None:
    """Ask the server for a sign of life every ``interval`` seconds, until the client is closed.

    On a legacy connection it sends ``ping`` (2025-11-25, utilities/ping), on a modern one, where ping does not exist,
    ``server/discover``, which every modern server answers.  Start it beside the work, in the same nursery.  When no
    answer comes in time it logs that, closes the client, whose open calls then fail, and raises.

    A checkpoint.  Cancelled, it leaves the client open.

    Args:
        client: An open client.
        interval: Seconds between an answer and the next question (30 s; websockets pings after 20 s).
        timeout: Seconds an answer may take (10 s).

    Raises:
        DeadlineExceeded: No answer came within ``timeout``; its ``deadline`` is ``ping``.
        TransportError: The connection was lost.
        ConfigError: ``interval`` or ``timeout`` is not above 0.
    """
    for name, seconds in (("interval", interval), ("timeout", timeout)):
        if not seconds > 0:
            raise ConfigError(f"{name} is a number of seconds above 0, not {seconds!r}")
    method = "ping" if client.era == "legacy" else "server/discover"
    while True:
        with trio.move_on_after(interval):
            await client.closing.wait()
            return
        with trio.move_on_after(timeout) as waiting:
            try:
                await client.request(method)
            except RpcError as error:
                logger.debug("%s was answered with an error, so somebody is there: %s", method, error)
            except TransportError as error:
                if client.closing.is_set():
                    return
                logger.warning("%s failed: %s", method, error)
                raise
        if waiting.cancelled_caught:
            logger.warning("%s was not answered within %g s; closing the client", method, timeout)
            client.close()
            raise DeadlineExceeded("ping", timeout, method)
