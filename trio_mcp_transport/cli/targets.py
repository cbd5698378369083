"""From what stands on the command line to a client transport.

Must never open anything but the file of certificates: a transport is opened by the client that gets it.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

from ..abc import ClientTransport
from ..addresses import parse_address
from ..errors import ConfigError
from ..registry import client_transport_for
from ..transports.stdio import StdioClientTransport

__all__ = ["client_transport"]

GRACE = 1.0
"""Seconds a program has for each step of its end; the shell waits meanwhile."""

WITH_TLS = ("tls", "wss", "https", "unix")
"""Schemes that take options of TLS; ``unix:`` has it when it is given one."""


def client_transport(
    address: str | None, command: Sequence[str] | None, *, ca: str | None = None, verify: bool = True
) -> ClientTransport:
    """Return the transport to an address, or to a program that is started for the call.

    Args:
        address: What ``--to`` says, or None.
        command: What stands behind ``--``, or None.
        ca: File with the certificates to trust instead of the system's, or None.
        verify: Whether the certificate of the server is checked.

    Raises:
        ConfigError: There is not exactly one of address and command, the command is empty, the address leads nowhere,
            or the certificates cannot be read.
    """
    if address is None and command is None:
        raise ConfigError("where to? Give either --to ADDRESS, or -- and a command")
    if address is not None and command is not None:
        raise ConfigError("--to and a command behind -- exclude each other")
    tls = _tls_options(ca, verify)
    if command is not None:
        if not command:
            raise ConfigError("a command is missing behind --")
        if tls:
            raise ConfigError("--ca and --no-verify belong to an address with TLS, not to a command")
        # As any program started from a shell it gets the whole environment.  Its standard error is kept for the
        # message of a failure, so that standard error holds nothing but this command's own line.
        return StdioClientTransport(
            command, inherit_env=True, stderr="capture", eof_grace=GRACE, term_grace=GRACE, kill_grace=GRACE
        )
    parsed = parse_address(address or "")
    if parsed.scheme == "stdio":
        raise ConfigError(
            "stdio: reaches a program that is started for the call: give its command behind -- instead of --to"
        )
    if parsed.scheme == "memory":
        raise ConfigError("memory: reaches a server in the same process only, never from a shell")
    if tls and parsed.scheme not in WITH_TLS:
        raise ConfigError(f"--ca and --no-verify belong to an address with TLS, and {parsed.scheme}: has none")
    return client_transport_for(parsed, **tls)


def _tls_options(ca: str | None, verify: bool) -> dict[str, Any]:
    if not verify:
        return {"verify": False}
    if ca is None:
        return {}
    try:
        return {"ssl_context": ssl.create_default_context(cafile=ca)}
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"--ca {ca}: no certificate can be read: {error.strerror}") from error
