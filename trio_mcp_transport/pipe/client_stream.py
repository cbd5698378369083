"""The client's counterpart of `pipe.server.serve_stream`: any byte stream as one connection of a client.

Must never open a stream, nor end one in any other way than by closing it.
"""

from __future__ import annotations

import trio

from ..abc import FrameCodec
from ..connect import ClientConnection, ClientSetup
from ..context import ConnectionInfo, Peer
from ..metrics import TransportMetrics
from .client import PipeConnection
from .end import connection_id
from .framed import FramedLink

__all__ = ["run_stream"]


async def run_stream(
    setup: ClientSetup,
    stream: trio.abc.Stream,
    codec: FrameCodec,
    *,
    peer: Peer | None = None,
    transport: str = "custom",
    metrics: TransportMetrics | None = None,
    task_status: trio.TaskStatus[ClientConnection] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve one connection of a client to its end; this is all a custom client transport needs.

    Reports the connection with ``task_status.started``.  Returns when this side closed it.  A checkpoint; cancelled, it
    ends at once.

    Args:
        setup: What `abc.ClientTransport.run` was given.
        stream: The connection; closed at the end.
        codec: A fresh codec, such as ``NewlineCodec()``.
        peer: Who is at the other end.
        transport: Name for contexts and logs.
        metrics: Counters to add to.
        task_status: What `abc.ClientTransport.run` was given.

    Raises:
        TransportError: The server closed the connection, or the stream broke.
    """
    limits = setup.limits
    metrics = metrics or TransportMetrics()
    link = FramedLink(stream, codec, limits, write_deadline=limits.write_deadline, metrics=metrics)
    info = ConnectionInfo(transport=transport, connection_id=connection_id(transport), peer=peer or Peer())
    await PipeConnection(setup, link, info, metrics).run(task_status=task_status)
