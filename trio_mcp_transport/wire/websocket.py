"""WebSocket messages (RFC 6455), one JSON-RPC message per text message, as either side of a connection.

Rules, as data flows through this file:

- A frame that breaks the protocol, or whose length shows that the message will be over the limit, is refused by its
  header, before one byte of its payload is kept.
- Text is checked for UTF-8 once a message is complete, across its fragments.  Empty messages are skipped.
- Control frames between fragments are served at once.  Of several pings only the latest is owed a pong (section 5.5.3
  allows it), so a flood of pings costs no memory.
- No extension is ever negotiated, so every reserved bit is an error, and nothing is ever inflated.
- What breaks a rule queues the Close that says so and is final; a peer's Close queues the reply and ends the stream;
  what follows either is dropped, and so is a fragmented message that a Close interrupts.

This file must never look inside a payload, and must never let the cuts between two ``feed`` calls show in what
``next_frame`` returns or raises.  It is the only file that imports wsproto.

Plan: wsproto judges what is not plainly right (a header that is not one of the expected ones, what a Close says),
writes control frames and masks large payloads.  Its decoder takes 6.3 us for a masked message of 100 bytes and its
encoder 3.5 us, where `wire.websocket_frames` takes 1.2 us each (measured 2026-11-21); a round trip pays both twice.
"""

from __future__ import annotations

import os
from typing import ClassVar, Final, Literal, NoReturn

from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, ParseFailed, XorMaskerSimple

from ..errors import ConfigError, FrameTooLarge, FramingError, LocalProtocolError
from .buffers import PieceBuffer
from .signals import Signal
from .websocket_frames import (
    ANY_STARTS,
    BINARY,
    CLOSE,
    CONTINUATIONS,
    FIN,
    LONGEST_CONTROL,
    MASKED,
    OPCODE,
    PING,
    PONG,
    TEXT,
    TEXT_STARTS,
    WHOLE_TEXT,
    FrameReader,
    UnexpectedHeader,
    data_header,
    is_utf8,
)

__all__ = ["WebSocketCodec"]

_DEFAULT_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of one message, as on every pipe (precedents: websockets 1 MiB, gRPC 4 MiB)."""

_XOR_AS_INTEGER: Final = 2048
"""Bytes below which one XOR of two large integers beats wsproto's masker (100 bytes: 0.34 us against 0.99 us; 1 MB:
1940 us against 720 us)."""

_SENDABLE: Final = frozenset(CloseReason) - {1005, 1006, 1015}
_APPLICATION_CODES: Final = range(3000, 5000)  # of libraries and of private use (section 7.4.2)


class WebSocketCodec:
    """Cut a byte stream into WebSocket messages, and payloads into the bytes of a frame (a `FrameCodec`).

    Begins where the handshake ended.  After the peer's Close, and at the end of the stream between two messages, comes
    `Signal.END_OF_STREAM`; ``close_code`` tells which.  A stream that ends inside a message is a `FramingError`.

    Source: RFC 6455 sections 5 and 7.

    Args:
        role: Which side this is: ``"server"`` demands masked frames, ``"client"`` masks its own.
        max_message_size: The longest message accepted from the peer, in bytes, at least 1, all fragments together.
        accept_binary: Whether a binary message counts as one; else it is refused with 1003.

    Attributes:
        pause_after: Frames without a message, such as pings, after which `next_frame` says `Signal.NEED_DATA` with more
            stored, for a caller that lets others run and asks again; 0 for never.
        paused: Whether that is what the last `Signal.NEED_DATA` meant.
        pong_count: Pongs received.
        last_pong: Payload of the latest.

    Raises:
        ConfigError: ``max_message_size`` is below 1, or the role is unknown.
    """

    resynchronises: ClassVar[bool] = False
    """Every `FramingError` is final."""

    def __init__(
        self, role: Literal["server", "client"], max_message_size: int = _DEFAULT_LIMIT, *, accept_binary: bool = False
    ) -> None:
        if role not in ("server", "client"):
            raise ConfigError(f"a WebSocket codec is a server's or a client's, not {role!r}")
        if max_message_size < 1:
            raise ConfigError(f"max_message_size must be at least 1 byte, not {max_message_size}")
        self._masks = role == "client"
        self._starts = ANY_STARTS if accept_binary else TEXT_STARTS
        self._reader = FrameReader(
            masked=not self._masks, limit=max_message_size, expected=self._starts, unmask=_exclusive_or
        )
        self._opcode = 0  # of the fragmented message that was begun, or 0
        self._message = PieceBuffer()  # its fragments so far
        self._ended = False
        self._finished = False  # by the peer's Close or by an error
        self._failure: FramingError | None = None
        self._owed_pings = b""
        self._owed_pong: bytes | None = None
        self._close_frame = b""
        self._close_sent = False
        self._peer_code: int | None = None
        self._peer_reason = ""
        self._quiet = 0  # frames without a message since others ran
        self.pause_after = 0
        self.paused: bool = False
        self.pong_count: int = 0
        self.last_pong: bytes = b""

    @property
    def close_code(self) -> int | None:
        """What the peer's Close said: None before it, 1005 without a code, 1006 when the stream ended without one."""
        return self._peer_code

    @property
    def close_reason(self) -> str:
        """The peer's reason, at most 123 bytes of UTF-8; not safe for a log as it is."""
        return self._peer_reason

    @property
    def close_sent(self) -> bool:
        """Whether a Close of ours was queued; nothing may be written behind it (section 5.5.1)."""
        return self._close_sent

    def feed(self, data: bytes) -> None:
        """Store ``data``, the next bytes of the peer; ``b""`` says that the peer ended the stream.

        Bytes after the peer's Close or after an error are let go at once.

        Raises:
            LocalProtocolError: Bytes after the end of the stream (a second ``b""`` is harmless).
        """
        if not data:
            self._ended = True
        elif self._ended:
            raise LocalProtocolError(f"{len(data)} bytes fed after the end of the stream")
        elif not self._finished:
            self._reader.feed(data)

    def next_frame(self) -> bytes | Signal:
        """Return the payload of the next message, never empty, or the signal that says why there is none.

        Raises:
            FrameTooLarge: The next message is over the limit.
            FramingError: The peer broke the protocol, or the stream ended inside a message.  Both are final: every
                later call raises the same.  Both carry the ``close_code`` of the Close that `bytes_to_send` now owes.
        """
        reader = self._reader
        while True:
            try:
                payload = reader.read()
            except FrameTooLarge as failure:
                self._give_up(failure)
            except UnexpectedHeader as found:
                self._refuse(found.header)
            if payload is None:
                return self._nothing_stored()
            if reader.first == WHOLE_TEXT:
                message: bytes | None = payload if payload.isascii() else self._checked(payload)
            else:
                message = self._take(reader.first, payload)
            if message:
                return message
            self._quiet += 1
            if self._quiet == self.pause_after:
                self._quiet, self.paused = 0, True
                return Signal.NEED_DATA

    def encode(self, payload: bytes) -> bytes:
        """Return ``payload`` as one text frame; a client masks it with a fresh random key.

        The limit is the peer's to enforce, not ours.

        Raises:
            LocalProtocolError: The peer would refuse or skip this payload: it is empty or not UTF-8.
        """
        return b"".join(self.encode_parts(payload))

    def encode_parts(self, payload: bytes) -> tuple[bytes, ...]:
        """Return the pieces of the frame, for a caller that joins several anyway; returns and raises as `encode`."""
        if not payload:
            raise LocalProtocolError("an empty payload is no message: the peer would skip it")
        if not (payload.isascii() or is_utf8(payload)):
            raise LocalProtocolError("the payload of a text frame is UTF-8")
        header = data_header(WHOLE_TEXT, len(payload), masked=self._masks)
        if not self._masks:
            return header, payload
        key = os.urandom(4)  # section 5.3: fresh, and from a strong source
        return header + key, _exclusive_or(payload, key)

    def bytes_to_send(self) -> bytes:
        """Return the control frames owed to the peer, a Close last; ``b""`` for none."""
        if self._owed_pong is None and not self._owed_pings and not self._close_frame:
            return b""
        pong = b"" if self._owed_pong is None else bytes(self._writer().pong(self._owed_pong))
        owed = pong + self._owed_pings + self._close_frame
        self._owed_pong = None
        self._owed_pings = self._close_frame = b""
        return owed

    def ping(self, payload: bytes = b"") -> None:
        """Queue a ping; in vain once a Close was queued.

        Raises:
            LocalProtocolError: The payload is over 125 bytes.
        """
        if len(payload) > LONGEST_CONTROL:
            raise LocalProtocolError(f"a ping carries at most {LONGEST_CONTROL} bytes")
        if not self._close_sent:
            self._owed_pings += self._writer().ping(payload)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Queue a Close; only the first one counts.  Messages of the peer are still read until its own Close.

        Args:
            code: 1000 to 1003, 1007 to 1013, or 3000 to 4999.
            reason: For people; cut to 123 bytes of UTF-8.

        Raises:
            LocalProtocolError: The code may not be sent (section 7.4).
        """
        if code not in _SENDABLE and code not in _APPLICATION_CODES:
            raise LocalProtocolError(f"close code {code} may not be sent")
        if not self._close_sent:
            self._send_close(code, reason)

    def _nothing_stored(self) -> Signal:
        self._quiet, self.paused = 0, False
        if self._failure is not None:
            raise self._failure.twin()
        if self._finished:
            return Signal.END_OF_STREAM
        if not self._ended:
            return Signal.NEED_DATA
        if self._opcode or self._reader.begun:
            self._fail("the stream ended inside a message", 1006)
        self._peer_code = 1006
        return Signal.END_OF_STREAM

    def _take(self, first: int, payload: bytes) -> bytes | None:
        """Take any other frame than a whole text; return the message that it completes."""
        if first >= CLOSE:
            self._take_control(first, payload)
            return None
        reader = self._reader
        opcode = first & OPCODE
        if opcode:
            self._opcode = opcode
            reader.expected = CONTINUATIONS
        self._message.append(payload)
        reader.held = len(self._message)
        if not first & FIN:
            return None
        message, opcode = self._message.take(), self._opcode
        self._opcode = reader.held = 0
        reader.expected = self._starts
        return self._checked(message) if opcode == TEXT else message

    def _take_control(self, first: int, payload: bytes) -> None:
        if first == PING:
            self._owed_pong = None if self._close_sent else payload
        elif first == PONG:
            self.pong_count += 1
            self.last_pong = payload
        else:
            self._take_close(payload)

    def _take_close(self, payload: bytes) -> None:
        """Learn what the peer's Close says, and owe it the same code."""
        frames = FrameProtocol(client=True, extensions=[])
        frames.receive_bytes(bytes((CLOSE, len(payload))) + payload)
        try:
            (frame,) = frames.received_frames()
        except ParseFailed as error:
            self._fail(str(error), int(error.code))
        assert isinstance(frame.payload, tuple)
        code, self._peer_reason = frame.payload
        self._peer_code = int(code)
        if not self._close_sent:
            self._send_close(None if code == CloseReason.NO_STATUS_RCVD else self._peer_code, "")
        self._finish()

    def _checked(self, text: bytes) -> bytes:
        if not is_utf8(text):
            self._fail("a text message is not valid UTF-8", 1007)
        return text

    def _refuse(self, header: bytes) -> NoReturn:
        """Say what is wrong with a header: what wsproto says, or that it comes at the wrong time."""
        first = header[0]
        if len(header) == 2 and not first & 0x08:
            header = bytes((first, header[1] & MASKED))  # the length, which may go on behind, is not at fault
        judge = FrameDecoder(client=self._masks)
        judge.receive_bytes(header + bytes(4))  # with room for a key
        try:
            judge.parse_header()
        except ParseFailed as error:
            self._fail(str(error))
        if self._opcode:
            self._fail("a message began inside a fragmented one")
        if first & OPCODE == BINARY:
            self._fail("binary messages are not accepted here", 1003)
        self._fail("a continuation of no message")

    def _fail(self, reason: str, code: int = 1002) -> NoReturn:
        self._give_up(FramingError(reason, close_code=code))

    def _give_up(self, failure: FramingError) -> NoReturn:
        """Let go of all that is stored, owe the peer the reason, and raise it, now and for good."""
        self._failure = failure
        if not self._close_sent and failure.close_code in _SENDABLE:
            self._send_close(failure.close_code, str(failure))
        self._finish()
        raise failure.twin() from None

    def _finish(self) -> None:
        self._finished = True
        self._owed_pong = None  # section 5.5.2: none after a Close
        self._opcode = 0
        self._message.clear()
        self._reader.clear()

    def _send_close(self, code: int | None, reason: str) -> None:
        self._close_sent = True
        text = reason.encode("utf-8", "replace").decode()  # a lone surrogate is no UTF-8
        self._close_frame = bytes(self._writer().close(code, None if code is None else text))

    def _writer(self) -> FrameProtocol:
        return FrameProtocol(client=self._masks, extensions=[])  # for control frames: no message has to be remembered


def _exclusive_or(payload: bytes, key: bytes) -> bytes:
    """Return ``payload`` with the mask put on, or taken off (section 5.3)."""
    size = len(payload)
    if size < _XOR_AS_INTEGER:
        keys = (key * ((size + 3) >> 2))[:size]
        return (int.from_bytes(payload, "little") ^ int.from_bytes(keys, "little")).to_bytes(size, "little")
    return bytes(XorMaskerSimple(key).process(payload))  # type: ignore[arg-type]  # it makes a copy itself
