"""Tools for tests of handlers, codecs, transports and clients; nothing of the library itself imports this package.

Everything but what is said otherwise needs no more than the library does.
"""

from __future__ import annotations

from .cancel import CancelRegion, cancel_at_every_checkpoint
from .check_codec import check_codec
from .check_transport import check_transport, examine_transport
from .connect import connect
from .crash import CrashPlan, InjectedCrash, crash_at_every_step
from .fault_links import DropLink, DuplicateLink, ReorderLink
from .faults import CallFaultStream, CutStream, FaultPlan, SplitStream, StallStream, fail_every_stream_call
from .footprint import Footprint
from .mock import MockTransport
from .mock_script import Reply, progress
from .streams import ByteStream, StreamClientTransport, StreamServerTransport, byte_stream_pair
from .transport_checks.check import CheckFailed, CheckReport
from .transport_checks.options import CheckOptions
from .transport_checks.served import RemoteServer

__all__ = [
    "ByteStream",
    "CallFaultStream",
    "CancelRegion",
    "CheckFailed",
    "CheckOptions",
    "CheckReport",
    "CrashPlan",
    "CutStream",
    "DropLink",
    "DuplicateLink",
    "FaultPlan",
    "Footprint",
    "InjectedCrash",
    "MockTransport",
    "RemoteServer",
    "ReorderLink",
    "Reply",
    "SplitStream",
    "StallStream",
    "StreamClientTransport",
    "StreamServerTransport",
    "byte_stream_pair",
    "cancel_at_every_checkpoint",
    "check_codec",
    "check_transport",
    "connect",
    "crash_at_every_step",
    "examine_transport",
    "fail_every_stream_call",
    "progress",
]
