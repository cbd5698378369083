"""The server of a transport that is a process: `ProbeProgram` for the checks, and the program it describes.

Must never write to standard output, which is the wire.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from ...limits import Limits
from ...service import run
from ...transports.stdio import StdioServerTransport
from .journal import Event, FileJournal, Journal
from .probe import ProbeHandler
from .served import PROBE_INFO, RemoteServer, ServeOptions

__all__ = ["ProbeProgram", "main"]


class ProbeProgram(RemoteServer):
    """A `RemoteServer` over standard input and output: each client starts `command` for itself."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Keep journals in a folder."""
        self._folder = Path(folder)
        self._options = ServeOptions()
        self._journal = FileJournal(self._folder / "unused")

    def prepare(self, options: ServeOptions) -> tuple[str, ...]:
        """Take the options of the next processes, and begin a new journal."""
        self._options = options
        self._path = self._folder / f"journal-{len(list(self._folder.iterdir()))}"
        self._path.touch()
        self._journal = FileJournal(self._path)
        return ("stdio:",)

    @property
    def command(self) -> Sequence[str]:
        """The program and its arguments."""
        options = json.dumps({"drain": self._options.drain, "limits": attrs.asdict(self._options.limits)})
        return (sys.executable, "-m", __name__, str(self._path), options)

    @property
    def journal(self) -> Journal:
        """What the servers' handlers saw."""
        return self._journal

    def shutdown(self) -> None:
        """Send the processes that serve SIGTERM."""
        self._signal(signal.SIGTERM)

    def cancel(self) -> None:
        """Send the processes that serve two signals, the second of which cancels."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGINT)

    def _signal(self, number: signal.Signals) -> None:
        done = {event.detail for event in self._journal.select("done")}
        for event in self._journal.select("served"):
            if event.detail not in done:
                os.kill(int(event.detail), number)


def main(path: str, text: str) -> None:
    """Serve a `ProbeHandler` over standard input and output, with a journal and the options of a `ProbeProgram`."""
    options = json.loads(text)
    journal = FileJournal(path)
    # Before the signals are watched, none may come: the checks wait for a message to be handled first.
    journal.add(Event("served", detail=str(os.getpid())))
    try:
        run(
            ProbeHandler(journal),
            StdioServerTransport(),
            server_info=PROBE_INFO,
            drain=options["drain"],
            limits=Limits(**options["limits"]),
        )
    finally:
        journal.add(Event("done", detail=str(os.getpid())))


if __name__ == "__main__":
    main(*sys.argv[1:])
