"""The two answers of a pull parser that are not a frame.

Must never grow a third without a rule for every codec: callers compare by identity.
"""

from __future__ import annotations

import enum

__all__ = ["Signal"]


class Signal(enum.Enum):
    """What `FrameCodec.next_frame` returns when it has no frame to give (precedent: ``h11.NEED_DATA``)."""

    NEED_DATA = "need data"
    """More bytes are needed before the next frame is complete; call ``feed``."""

    END_OF_STREAM = "end of stream"
    """The peer ended the stream at a frame boundary; no frame will follow."""
