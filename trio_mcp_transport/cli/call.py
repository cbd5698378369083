"""``trio-mcp call``: one request to any target, its result on standard output.

Must never print anything to standard output but the result, exactly as it was received.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from functools import partial

import msgspec
import trio

from ..abc import ClientTransport
from ..client_block import open_client
from ..deadlines import Deadlines
from ..errors import ConfigError, LocalProtocolError, RpcError, TransportError
from ..wire import jsontext
from .targets import client_transport
from .terminal import ERROR_ANSWER, SUCCESS, TRANSPORT_FAILURE, complain, tell, write_out

__all__ = ["run_call"]

PROBE = 5.0
"""Longest silence, in seconds, before a server is taken for a legacy one; never more than half the deadline."""


def run_call(options: argparse.Namespace, command: Sequence[str] | None) -> int:
    """Send one request and print its result; return the exit code.

    Args:
        options: What the parser of ``call`` found, with that parser as ``parser`` for errors of usage.
        command: What stands behind ``--``, or None.

    Raises:
        SystemExit: With 2, for wrong usage.
    """
    with warnings.catch_warnings():
        if options.no_verify:
            # Whoever wrote the option need not be told, and standard error has one line for what fails.
            warnings.filterwarnings("ignore", message="TLS without verification")
        return _run(options, command)


def _run(options: argparse.Namespace, command: Sequence[str] | None) -> int:
    try:
        params = _params(options.params)
        transport = client_transport(options.to, command, ca=options.ca, verify=not options.no_verify)
    except (ConfigError, LocalProtocolError) as error:
        options.parser.error(str(error))
    try:
        result = trio.run(partial(_call, transport, options, params))
    except RpcError as error:
        tell(_error_object(error))
        return ERROR_ANSWER
    except TransportError as error:
        complain(error)
        return TRANSPORT_FAILURE
    except trio.TooSlowError:
        complain(f"no answer to {options.method} within {options.deadline:g} s")
        return TRANSPORT_FAILURE
    return SUCCESS if write_out(result + b"\n") else TRANSPORT_FAILURE


async def _call(transport: ClientTransport, options: argparse.Namespace, params: msgspec.Raw | None) -> bytes:
    seconds = options.deadline
    until = trio.current_time() + seconds
    deadlines = Deadlines(connect=seconds, probe=min(PROBE, seconds / 2), total=None)
    async with open_client(transport, era=options.era, deadlines=deadlines) as client:
        # Inside the block, so that a deadline here still leaves time to tell the server and to end it in order.
        with trio.fail_at(until):
            return bytes(await client.request_raw(options.method, params))


def _params(text: str | None) -> msgspec.Raw | None:
    if text is None:
        return None
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise ConfigError("params: not UTF-8") from None
    return jsontext.raw_object(encoded, "params")


def _error_object(error: RpcError) -> str:
    members = {"code": error.code, "message": error.message}
    if error.data is not None:
        members["data"] = error.data
    return jsontext.encode(members).decode()
