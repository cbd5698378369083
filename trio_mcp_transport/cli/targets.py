"""From what stands on the command line to a client transport.

Must never open anything: a transport is opened by the client that gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..abc import ClientTransport
from ..addresses import SCHEMES, Address, parse_address
from ..errors import ConfigError
from ..transports.stdio import StdioClientTransport

__all__ = ["client_transport"]

BY_SCHEME: Mapping[str, Callable[[Address], ClientTransport]] = {}
"""Transports that reach a server which already runs; each joins with one line."""

GRACE = 1.0
"""Seconds a program has for each step of its end; the shell waits meanwhile."""


def client_transport(address: str | None, command: Sequence[str] | None) -> ClientTransport:
    """Return the transport to an address, or to a program that is started for the call.

    Args:
        address: What ``--to`` says, or None.
        command: What stands behind ``--``, or None.

    Raises:
        ConfigError: There is not exactly one of the two, the command is empty, or the address leads nowhere.
    """
    if address is None and command is None:
        raise ConfigError("where to? Give either --to ADDRESS, or -- and a command")
    if address is not None and command is not None:
        raise ConfigError("--to and a command behind -- exclude each other")
    if command is not None:
        if not command:
            raise ConfigError("a command is missing behind --")
        # As any program started from a shell it gets the whole environment.  Its standard error is kept for the
        # message of a failure, so that standard error holds nothing but this command's own line.
        return StdioClientTransport(
            command, inherit_env=True, stderr="capture", eof_grace=GRACE, term_grace=GRACE, kill_grace=GRACE
        )
    parsed = parse_address(address or "")
    factory = BY_SCHEME.get(parsed.scheme)
    if factory is None:
        raise ConfigError(_why_not(parsed))
    return factory(parsed)


def _why_not(address: Address) -> str:
    if address.scheme == "stdio":
        return "stdio: reaches a program that is started for the call: give its command behind -- instead of --to"
    if address.scheme == "memory":
        return "memory: reaches a server in the same process only, never from a shell"
    what = "is not served by this version" if address.scheme in SCHEMES else "is no scheme of the address grammar"
    there = ", ".join([*(SCHEMES[scheme] for scheme in BY_SCHEME), "or a command behind --"]).removeprefix("or ")
    return f"{address.scheme}: {what}; what exists: {there}"
