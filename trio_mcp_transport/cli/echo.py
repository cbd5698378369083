"""``trio-mcp echo``: the echo server on a transport of choice.

Must never print anything to standard output on stdio, where it is the wire.
"""

from __future__ import annotations

import argparse

from ..errors import TransportError
from ..limits import Limits
from ..service import run
from ..transports.eras import EraPolicy
from ..transports.stdio import StdioServerTransport
from .echo_server import ECHO_INFO, Echo
from .terminal import SUCCESS, TRANSPORT_FAILURE, complain

__all__ = ["run_echo"]


def run_echo(options: argparse.Namespace) -> int:
    """Serve until end of input or a signal; return the exit code."""
    limits = Limits(max_message_size=options.max_message_size)
    try:
        run(
            Echo(),
            StdioServerTransport(),
            server_info=ECHO_INFO,
            limits=limits,
            eras=EraPolicy(plain=not options.strict),
        )
    except TransportError as error:
        complain(error)
        return TRANSPORT_FAILURE
    return SUCCESS
