"""A child that misbehaves in the way its argument names.

``crash``: a traceback and exit status 3.  ``mute``: closes standard output and lives on.  ``banner``: prints lines that
are no protocol, one of them no text either, and then is the echo server.  ``after-one``: answers what the
library answers, and exits with status 4 at the first call.  ``stubborn``: outlives the end of its input.  ``immortal``:
outlives SIGTERM, too.  ``recorder FILE``: writes its input to a file as it comes, and answers what it can.
"""

from __future__ import annotations

import json
import os
import signal
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


def stubborn() -> None:
    """Serve, and stay at the end of input."""
    from trio_mcp_transport.cli import main

    main(["echo", "stdio"])
    time.sleep(1000)


def immortal() -> None:
    """Serve, and stay even after SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stubborn()


def recorder() -> None:
    """Record everything; read nothing for a while after the answer to ``pause``, and never answer ``swallow``."""
    discovered = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {}}
    with open(sys.argv[2], "wb", buffering=0) as record:
        for line in sys.stdin.buffer:
            record.write(line)
            message = json.loads(line)
            if "id" in message and message["method"] != "swallow":
                result = discovered if message["method"] == "server/discover" else {"resultType": "complete"}
                answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
                print(json.dumps(answer), flush=True)
            if message["method"] == "pause":
                time.sleep(0.3)


BEHAVIOURS = {
    "crash": crash,
    "mute": mute,
    "banner": banner,
    "after-one": after_one,
    "stubborn": stubborn,
    "immortal": immortal,
    "recorder": recorder,
}
BEHAVIOURS[sys.argv[1]]()
