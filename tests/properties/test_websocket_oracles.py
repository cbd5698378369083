"""The WebSocket codec beside the two sans-IO libraries of the trade, `websockets` and wsproto's own connection.

Each is paired with our codec in both roles and both directions, and each is asked about the same wrong streams.  Where
they differ from us by design stands beside the comparison.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
import websockets.protocol
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import PayloadTooBig
from wsproto import events
from wsproto.connection import Connection, ConnectionType

from tests.properties.websocket_streams import ROLES, End, Role, answers, frame, near_misses, other
from trio_mcp_transport.testing.strategies import chunkings
from trio_mcp_transport.wire.signals import Signal
from trio_mcp_transport.wire.websocket import WebSocketCodec

LARGE = 1 << 20
BOTH = pytest.mark.parametrize("role", ROLES)


@attrs.define
class Heard:
    """What one side of a connection has heard so far.

    Attributes:
        messages: Complete ones, none empty.
        pings: Payloads.
        pongs: Payloads.
        code: Of the peer's Close, or of the error; None for neither.
    """

    messages: list[bytes] = attrs.Factory(list)
    pings: list[bytes] = attrs.Factory(list)
    pongs: list[bytes] = attrs.Factory(list)
    code: int | None = None


class WebsocketsPeer:
    """`websockets.protocol.Protocol` after its handshake."""

    def __init__(self, role: Role, limit: int = LARGE) -> None:
        side = websockets.protocol.SERVER if role == "server" else websockets.protocol.CLIENT
        self._machine = websockets.protocol.Protocol(side, state=websockets.protocol.OPEN, max_size=limit)
        self._message: bytes | None = None
        self._text = False
        self.objects_to_close = False
        self.weighs_control = False
        self.heard = Heard()

    def say(self, pieces: list[str]) -> None:
        for index, piece in enumerate(pieces):
            final = index == len(pieces) - 1
            if index:
                self._machine.send_continuation(piece.encode(), final)
            else:
                self._machine.send_text(piece.encode(), final)

    def ping(self, payload: bytes) -> None:
        self._machine.send_ping(payload)

    def close(self, code: int, reason: str) -> None:
        self._machine.send_close(code, reason)

    def hear(self, data: bytes) -> None:
        self._machine.receive_data(data)
        for event in self._machine.events_received():
            assert isinstance(event, websockets.protocol.Frame)
            if self.heard.code is None:
                self._take(event)
        problem = self._machine.parser_exc
        self.objects_to_close = str(problem) == "incomplete fragmented message"
        # It adds a control frame between two fragments to the size of the message; RFC 6455 does not.
        self.weighs_control = isinstance(problem, PayloadTooBig) and problem.size is not None and problem.size <= 125
        if self.heard.code is None and problem is not None:
            assert self._machine.close_sent is not None
            self.heard.code = self._machine.close_sent.code

    def _take(self, event: websockets.protocol.Frame) -> None:
        payload = bytes(event.data)
        if event.opcode is websockets.protocol.PING:
            self.heard.pings.append(payload)
        elif event.opcode is websockets.protocol.PONG:
            self.heard.pongs.append(payload)
        elif event.opcode is websockets.protocol.CLOSE:
            assert self._machine.close_rcvd is not None
            self.heard.code = self._machine.close_rcvd.code
        else:
            if self._message is None:
                self._message, self._text = b"", event.opcode is websockets.protocol.TEXT
            self._message += payload
            if event.fin:
                self._finish(self._message)
                self._message = None

    def _finish(self, message: bytes) -> None:
        # This layer of websockets leaves UTF-8 to the one above.
        try:
            message.decode() if self._text else None
        except UnicodeDecodeError:
            self.heard.code = 1007
        else:
            self.heard.messages += [message] if message else []

    def sent(self) -> bytes:
        return b"".join(self._machine.data_to_send())


class WsprotoPeer:
    """`wsproto.connection.Connection`, which is what `WSConnection` hands over to after its handshake."""

    def __init__(self, role: Role, limit: int = LARGE) -> None:
        self._machine = Connection(ConnectionType.SERVER if role == "server" else ConnectionType.CLIENT)
        self._message = b""
        self._out = b""
        self.objects_to_close = self.weighs_control = False
        self.heard = Heard()

    def say(self, pieces: list[str]) -> None:
        for index, piece in enumerate(pieces):
            event = events.TextMessage(piece, message_finished=index == len(pieces) - 1)
            self._out += self._machine.send(event)

    def ping(self, payload: bytes) -> None:
        self._out += self._machine.send(events.Ping(payload))

    def close(self, code: int, reason: str) -> None:
        self._out += self._machine.send(events.CloseConnection(code, reason))

    def hear(self, data: bytes) -> None:
        if self.heard.code is not None:
            return
        self._machine.receive_data(data)
        for event in self._machine.events():
            self._take(event)

    def _take(self, event: events.Event) -> None:
        if isinstance(event, events.Ping):
            self.heard.pings.append(bytes(event.payload))
            self._out += self._machine.send(event.response())
        elif isinstance(event, events.Pong):
            self.heard.pongs.append(bytes(event.payload))
        elif isinstance(event, events.CloseConnection):
            self.heard.code = int(event.code)
            if self._machine.state.name == "REMOTE_CLOSING":
                self._out += self._machine.send(event.response())
        elif isinstance(event, events.Message):
            self._message += event.data.encode() if isinstance(event.data, str) else bytes(event.data)
            if event.message_finished:
                self.heard.messages += [self._message] if self._message else []
                self._message = b""

    def sent(self) -> bytes:
        out, self._out = self._out, b""
        return out


Peer = WebsocketsPeer | WsprotoPeer
PEERS = pytest.mark.parametrize("peer_of", [WebsocketsPeer, WsprotoPeer], ids=["websockets", "wsproto"])
TEXTS = st.lists(st.text(max_size=60), min_size=1, max_size=3)
SAYINGS = st.lists(TEXTS | st.binary(max_size=125), max_size=6)
CLOSES = st.tuples(st.sampled_from([1000, 1001, 1011, 3000, 4999]), st.text(max_size=20))


def drain(codec: WebSocketCodec, chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    """What the codec hears from chunks, and what it owes in return, asked after every chunk as a pipe does."""
    messages: list[bytes] = []
    owed = b""
    for chunk in chunks:
        codec.feed(chunk)
        while isinstance(event := codec.next_frame(), bytes):
            messages.append(event)
        owed += codec.bytes_to_send()
    return messages, owed


@BOTH
@PEERS
@given(data=st.data(), sayings=SAYINGS, closing=CLOSES)
def test_what_a_peer_says_arrives(
    role: Role,
    peer_of: Callable[[Role], Peer],
    data: st.DataObject,
    sayings: list[list[str] | bytes],
    closing: tuple[int, str],
) -> None:
    peer, codec = peer_of(other(role)), WebSocketCodec(role, LARGE)
    for saying in sayings:
        if isinstance(saying, bytes):
            peer.ping(saying)
        else:
            peer.say(saying)
    peer.close(*closing)
    messages, owed = drain(codec, data.draw(chunkings(peer.sent())))
    expected = ["".join(saying).encode() for saying in sayings if isinstance(saying, list)]
    assert messages == [message for message in expected if message]
    assert codec.next_frame() is Signal.END_OF_STREAM
    assert (codec.close_code, codec.close_reason) == closing
    for chunk in data.draw(chunkings(owed)):
        peer.hear(chunk)
    assert peer.heard.code == closing[0]
    pings = [saying for saying in sayings if isinstance(saying, bytes)]
    assert is_part_of(peer.heard.pongs, pings)


def is_part_of(part: list[bytes], whole: list[bytes]) -> bool:
    """Whether the elements stand in the whole, in this order."""
    rest = iter(whole)
    return all(element in rest for element in part)


@BOTH
@PEERS
@given(data=st.data(), sayings=SAYINGS, closing=CLOSES)
def test_what_we_say_arrives(
    role: Role,
    peer_of: Callable[[Role], Peer],
    data: st.DataObject,
    sayings: list[list[str] | bytes],
    closing: tuple[int, str],
) -> None:
    peer, codec = peer_of(other(role)), WebSocketCodec(role, LARGE)
    texts = ["".join(saying).encode() for saying in sayings if isinstance(saying, list)]
    messages = [text for text in texts if text]
    pings = [saying for saying in sayings if isinstance(saying, bytes)]
    stream = b"".join(map(codec.encode, messages))
    for payload in pings:
        codec.ping(payload)
    stream += codec.bytes_to_send()
    codec.close(*closing)
    stream += codec.bytes_to_send()
    assert codec.close_sent
    for chunk in data.draw(chunkings(stream)):
        peer.hear(chunk)
    assert (peer.heard.messages, peer.heard.pings, peer.heard.code) == (messages, pings, closing[0])
    heard, owed = drain(codec, data.draw(chunkings(peer.sent())))
    assert (heard, owed) == ([], b"")
    assert codec.next_frame() is Signal.END_OF_STREAM
    assert codec.close_code == closing[0]
    assert codec.pong_count == len(pings)
    assert codec.last_pong == (pings[-1] if pings else b"")


@BOTH
@PEERS
@given(data=st.data())
def test_the_same_streams_are_wrong(role: Role, peer_of: Callable[..., Peer], data: st.DataObject) -> None:
    # wsproto knows no limit; websockets takes lengths in any form.
    limit = 100 if peer_of is WebsocketsPeer else LARGE
    stream = data.draw(near_misses(role, limit if limit < LARGE else 100, wide=peer_of is WsprotoPeer, cut=False))
    *messages, end = answers(WebSocketCodec(role, limit, accept_binary=True), data.draw(chunkings(stream)))
    assert isinstance(end, End)
    peer = peer_of(role, limit)
    for chunk in data.draw(chunkings(stream)):
        peer.hear(chunk)
    if peer.weighs_control:
        messages = messages[: len(peer.heard.messages)]  # ours goes on
    assert peer.heard.messages == messages
    assert end.code == peer.heard.code or excused(end, peer), peer.heard


def excused(end: End, peer: Peer) -> bool:
    """Whether the verdicts differ for a known reason."""
    ours, theirs = end.code, peer.heard.code
    if peer.objects_to_close:
        # To websockets, a Close inside a fragmented message is an error; to RFC 6455 section 5.4 it is none.
        return theirs == 1002 and end.how is Signal.END_OF_STREAM
    if theirs == 1007:
        # Wrong text found in a message that is not complete (wsproto), or in a Close whose code is wrong as well.
        return ours == 1002 or isinstance(peer, WsprotoPeer)
    if theirs == 1009:
        return ours == 1002 or peer.weighs_control  # websockets asks for the size before anything else
    return theirs is None and ours == 1006  # the end of the stream, which no peer was told


@BOTH
@PEERS
@pytest.mark.parametrize("inside", [False, True], ids=["between messages", "inside a message"])
def test_every_first_byte(role: Role, peer_of: Callable[..., Peer], inside: bool) -> None:
    beginning = frame(0x01, b"a", to=role) if inside else b""
    for first in range(256):
        for size in (0, 1, 2, 125, 126):
            for reader in ROLES:  # masked or not
                stream = beginning + frame(first, b"\x00" * size, to=reader)
                *messages, end = answers(WebSocketCodec(role, LARGE, accept_binary=True), [stream])
                peer = peer_of(role)
                peer.hear(stream)
                assert isinstance(end, End)
                assert peer.heard.messages == messages, stream[:4]
                assert end.code == peer.heard.code or excused(end, peer), stream[:4]
