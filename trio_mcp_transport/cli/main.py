"""Argument parsing and exit codes of ``trio-mcp``.

Must never do work itself: each subcommand lives in a module of its own, imported when it is chosen.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

from ..addresses import FRAMINGS
from .terminal import INTERRUPTED

__all__ = ["main"]

ENGINES = ("trio-websocket", "native")
"""The WebSocket implementations; the first is the default."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: Without the program's name; None for this process's.

    Returns:
        0 for success, 1 for an error answer or a failed row, 3 for a transport failure, 130 when interrupted.

    Raises:
        SystemExit: With 2 for wrong usage, with 0 after ``--help``.
    """
    own, command = _split(list(sys.argv[1:] if arguments is None else arguments))
    parser = _parser()
    options = parser.parse_args(own)
    if command is not None and options.command != "call":
        parser.error(f"{options.command} takes no command behind --")
    code = INTERRUPTED
    # Also out of a group: Trio adds an interrupt to what a nursery is collecting.
    try:
        code = _run(options, command)
    except* KeyboardInterrupt:
        pass
    return code


def _run(options: argparse.Namespace, command: list[str] | None) -> int:
    if options.command == "echo":
        from .echo import run_echo

        return run_echo(options)
    if options.command == "call":
        from .call import run_call

        return run_call(options, command)
    from .demo import run_demo

    return run_demo(options)


def _split(arguments: list[str]) -> tuple[list[str], list[str] | None]:
    """Split at the first ``--``: what follows is a program to start, untouched."""
    if "--" not in arguments:
        return arguments, None
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trio-mcp", description="MCP transports on Trio.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_echo(commands)
    _add_call(commands)
    demo = commands.add_parser("demo", help="try every transport and print a table")
    demo.add_argument("--round-trips", type=_positive_int, default=200, metavar="N", help="calls per row")
    demo.add_argument("--json", action="store_true", help="one JSON object per row instead of a table")
    return parser


def _add_echo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    echo = commands.add_parser("echo", help="run the echo server")
    kinds = echo.add_subparsers(dest="transport", required=True, metavar="TRANSPORT")
    stdio = kinds.add_parser("stdio", help="on standard input and output")
    tcp = kinds.add_parser("tcp", help="on a TCP port; prints its address when it is ready")
    unix = kinds.add_parser("unix", help="on a Unix socket; prints its address when it is ready")
    ws = kinds.add_parser("ws", help="as a WebSocket server; prints its address when it is ready")
    for kind in (tcp, ws):
        kind.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
        kind.add_argument("--port", type=_port, default=0, metavar="PORT", help="0, the default, takes any free one")
    unix.add_argument("--path", required=True, metavar="FILE", help="where the socket is made")
    ws.add_argument("--path", type=_url_path, default="/", metavar="PATH", help="default: /")
    ws.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help=f"default: {ENGINES[0]}")
    for kind in (stdio, tcp, unix):
        kind.add_argument("--framing", choices=FRAMINGS, default=FRAMINGS[0], help=f"default: {FRAMINGS[0]}")
    for kind in (tcp, unix, ws):
        kind.add_argument("--tls-cert", metavar="FILE", help="serve TLS with this certificate chain (PEM)")
        kind.add_argument("--tls-key", metavar="FILE", help="its private key, where that is another file")
    for kind in (stdio, tcp, unix, ws):
        largest = "4 MiB" if kind is ws else "16 MiB"
        kind.add_argument("--max-message-size", type=_positive_int, metavar="N", help=f"bytes (default: {largest})")
        kind.add_argument("--strict", action="store_true", help="serve no plain JSON-RPC beside MCP")
        kind.set_defaults(parser=kind)


def _add_call(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    call = commands.add_parser(
        "call",
        help="send one request and print the result",
        usage="trio-mcp call METHOD [JSON] (--to ADDRESS [--ca FILE | --no-verify] | -- CMD ARGS...)"
        " [--era E] [--deadline SECONDS]",
    )
    call.add_argument("method", metavar="METHOD")
    call.add_argument("params", metavar="JSON", nargs="?", help="params as a JSON object")
    call.add_argument("--to", metavar="ADDRESS", help="where a running server is")
    trust = call.add_mutually_exclusive_group()
    trust.add_argument("--ca", metavar="FILE", help="trust these certificates (PEM) instead of the system's")
    trust.add_argument("--no-verify", action="store_true", help="trust any certificate: for trying things only")
    call.add_argument(
        "--era", choices=["auto", "modern", "legacy"], default="auto", help="default: found out by asking"
    )
    call.add_argument(
        "--deadline", type=_seconds, default=30.0, metavar="SECONDS", help="for everything, connecting included (30)"
    )
    call.set_defaults(parser=call)


def _positive_int(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no integer of at least 1")
    return value


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to 65535")
    return int(text)


def _url_path(text: str) -> str:
    if not text.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} does not begin with a slash")
    return text


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return value
