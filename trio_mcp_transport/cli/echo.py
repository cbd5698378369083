"""``trio-mcp echo``: the echo server on a transport of choice.

Must never print anything to standard output on stdio, where it is the wire; elsewhere nothing but the address.
"""

from __future__ import annotations

import argparse
import ssl
from typing import Any

from ..abc import ServerTransport
from ..addresses import TcpEndpoint, UnixEndpoint, UrlEndpoint
from ..errors import ConfigError, TransportError
from ..limits import Limits
from ..registry import server_transport_for
from ..service import run
from ..transports.eras import EraPolicy
from ..transports.framings import codec_factory
from .echo_server import ECHO_INFO, Echo
from .terminal import SUCCESS, TRANSPORT_FAILURE, complain, write_out

__all__ = ["run_echo"]


class Announcement:
    """Told the addresses once connections can come, and prints them as one line; a `trio.TaskStatus` in shape."""

    def started(self, addresses: tuple[str, ...] = ()) -> None:
        """Print the addresses, separated by spaces; where nobody reads that, the server serves all the same."""
        write_out(" ".join(addresses).encode(errors="surrogateescape") + b"\n")


def run_echo(options: argparse.Namespace) -> int:
    """Serve until end of input or a signal; return the exit code.

    Args:
        options: What the parser of one kind of ``echo`` found, with that parser as ``parser`` for errors of usage.

    Raises:
        SystemExit: With 2, for options that cannot be used.
    """
    try:
        transport = _transport(options)
    except ConfigError as error:
        options.parser.error(str(error))
    task_status = {} if options.transport == "stdio" else {"task_status": Announcement()}
    try:
        run(
            Echo(),
            transport,
            server_info=ECHO_INFO,
            limits=Limits(max_message_size=options.max_message_size),
            eras=EraPolicy(plain=not options.strict),
            **task_status,
        )
    except TransportError as error:
        complain(error)
        return TRANSPORT_FAILURE
    return SUCCESS


def _transport(options: argparse.Namespace) -> ServerTransport:
    if options.transport == "stdio":
        return server_transport_for("stdio:", codec=codec_factory(options.framing))
    context = _ssl_context(options.tls_cert, options.tls_key)
    more: dict[str, Any] = {} if context is None else {"ssl_context": context}
    if options.transport == "unix":
        return server_transport_for(str(UnixEndpoint(options.path, options.framing)), **more)
    if options.transport == "tcp":
        scheme = "tcp" if context is None else "tls"
        return server_transport_for(str(TcpEndpoint(scheme, options.host, options.port, options.framing)), **more)
    scheme = "ws" if context is None else "wss"
    endpoint = UrlEndpoint(scheme, options.host, options.port, options.path)
    return server_transport_for(str(endpoint), engine=options.engine, **more)


def _ssl_context(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    if certificate is None:
        if key is not None:
            raise ConfigError("--tls-key belongs to a --tls-cert")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without the password, a key that needs one would ask for it on the terminal.
        context.load_cert_chain(certificate, key, password=b"")
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"{certificate}: no certificate with its key can be read: {error.strerror}") from error
    return context
