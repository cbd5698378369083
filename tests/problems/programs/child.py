"""A child that misbehaves in the way its argument names.

``crash``: a traceback and exit status 3.  ``mute``: closes standard output and lives on.  ``banner``: prints lines that
are no protocol, one of them no text either, and then is the echo server.  ``after-one``: answers like the echo server,
and exits with status 4 at the first ``tools/call``.
"""

from __future__ import annotations

import os
import sys
import time


def crash() -> None:
    """Fail as a program with a bug does."""

    def read_configuration() -> None:
        raise ValueError("the configuration names no database")

    print("starting up", file=sys.stderr)
    try:
        read_configuration()
    except ValueError:
        import traceback

        traceback.print_exc()
        sys.exit(3)


def mute() -> None:
    """Leave the conversation and stay."""
    print("going quiet", file=sys.stderr, flush=True)
    os.close(1)
    time.sleep(1000)


def banner() -> None:
    """Speak to humans first."""
    os.write(1, b"Welcome to the server \xff\xfe\n\nListening on stdio ...\n")
    from trio_mcp_transport.cli import main

    sys.exit(main(["echo", "stdio"]))


def after_one() -> None:
    """End at a call."""
    from trio_mcp_transport import Handlers, ServerInfo, StdioServerTransport, run

    def end(*_: object) -> None:
        print("last words", file=sys.stderr, flush=True)
        os._exit(4)

    run(Handlers(request=end), StdioServerTransport(), server_info=ServerInfo("brittle", "1"))


{"crash": crash, "mute": mute, "banner": banner, "after-one": after_one}[sys.argv[1]]()
