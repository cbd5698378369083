"""Tools for tests of handlers, codecs, transports and clients; nothing of the library itself imports this package.

Everything but what is said otherwise needs no more than the library does.
"""

from __future__ import annotations

from .cancel import CancelRegion, cancel_at_every_checkpoint
from .check_codec import check_codec
from .connect import connect
from .crash import CrashPlan, InjectedCrash, crash_at_every_step
from .faults import CallFaultStream, CutStream, FaultPlan, SplitStream, StallStream, fail_every_stream_call
from .footprint import Footprint
from .streams import ByteStream, StreamClientTransport, StreamServerTransport, byte_stream_pair

__all__ = [
    "ByteStream",
    "CallFaultStream",
    "CancelRegion",
    "CrashPlan",
    "CutStream",
    "FaultPlan",
    "Footprint",
    "InjectedCrash",
    "SplitStream",
    "StallStream",
    "StreamClientTransport",
    "StreamServerTransport",
    "byte_stream_pair",
    "cancel_at_every_checkpoint",
    "check_codec",
    "connect",
    "crash_at_every_step",
    "fail_every_stream_call",
]
