"""A right codec of the simplest kind, for tests that break it: decimal length, colon, payload.

Every step that a broken one replaces is a method of its own.  It searches its buffer anew each time and is fit for
nothing but tests.
"""

from __future__ import annotations

from trio_mcp_transport.errors import FrameTooLarge, FramingError, LocalProtocolError
from trio_mcp_transport.wire.signals import Signal


class ToyCodec:
    """Frames like ``5:hello``."""

    resynchronises = False

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.buffer = bytearray()
        self.ended = False
        self.failure: FramingError | None = None

    def feed(self, data: bytes) -> None:
        if not data:
            self.ended = True
        elif self.ended:
            raise LocalProtocolError("after the end")
        elif self.failure is None:
            self.buffer += data

    def next_frame(self) -> bytes | Signal:
        if self.failure is not None:
            return self.again(self.failure)
        try:
            return self.parse()
        except FramingError as error:
            self.failure = error.twin()
            raise

    def again(self, failure: FramingError) -> bytes | Signal:
        raise failure.twin()

    def parse(self) -> bytes | Signal:
        colon = self.buffer.find(b":")
        digits = bytes(self.buffer if colon < 0 else self.buffer[:colon])
        self.check_digits(digits, colon >= 0)
        if colon < 0:
            return self.wait(bool(digits))
        size = int(digits)
        self.check_size(size)
        if len(self.buffer) < colon + 1 + size:
            return self.wait(True)
        return self.take(colon + 1, size)

    def check_digits(self, digits: bytes, complete: bool) -> None:
        if len(digits) > 6 or not (digits.isdigit() or not (digits or complete)):
            raise FramingError("no length")

    def check_size(self, size: int) -> None:
        if size > self.limit:
            raise FrameTooLarge(f"{size} bytes", limit=self.limit)

    def wait(self, inside: bool) -> bytes | Signal:
        if not self.ended:
            return Signal.NEED_DATA
        if inside:
            raise FramingError("the stream ended inside a frame")
        return Signal.END_OF_STREAM

    def take(self, start: int, size: int) -> bytes:
        frame = bytes(self.buffer[start : start + size])
        del self.buffer[: start + size]
        return frame

    def encode(self, payload: bytes) -> bytes:
        return b"%d:%s" % (len(payload), payload)

    def bytes_to_send(self) -> bytes:
        return b""
