"""Our echo server with its eras restricted: ``python our_server.py modern|both``."""

from __future__ import annotations

import sys

from trio_mcp_transport import EraPolicy, StdioServerTransport, run
from trio_mcp_transport.cli.echo_server import ECHO_INFO, Echo

run(Echo(), StdioServerTransport(), server_info=ECHO_INFO, eras=EraPolicy(legacy=sys.argv[1] == "both"))
