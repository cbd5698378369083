"""The WebSocket handshake in pairs: our two sides, `websockets` and wsproto, under any cut; and whatever else comes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri
from wsproto import ConnectionType, WSConnection, events

from trio_mcp_transport.errors import ConnectionFailed, RemoteProtocolError
from trio_mcp_transport.testing.strategies import chunkings
from trio_mcp_transport.wire.hosts import HostCheck
from trio_mcp_transport.wire.signals import Signal
from trio_mcp_transport.wire.websocket_handshake import (
    ClientHandshake,
    HandshakeRefused,
    Refusal,
    ServerHandshake,
    Upgrade,
)

GOOD = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b": ",
        b":",
        b" ",
        b"GET ",
        b"/",
        b" HTTP/1.1",
        b"Host",
        b"localhost",
        b"\xff",
        b"\x00",
        b"x",
    ]
)
OFFERS = st.sampled_from([["mcp"], ["a", "mcp"], ["a"], []])


def fed(side: ServerHandshake | ClientHandshake, chunks: Sequence[bytes]) -> Upgrade | Refusal | Signal:
    """The answer to chunks, the rest of which is left over for the codec."""
    answer: Upgrade | Refusal | Signal = Signal.NEED_DATA
    for index, chunk in enumerate(chunks):
        answer = side.feed(chunk)
        if isinstance(answer, Signal):
            continue
        if isinstance(answer, Upgrade):
            rest = answer.leftover + b"".join(chunks[index + 1 :])
            return Upgrade(answer.response, rest, answer.subprotocol, answer.target, answer.headers)
        return answer
    return answer


@given(data=st.data(), behind=st.binary(max_size=20))
def test_our_two_sides(data: st.DataObject, behind: bytes) -> None:
    client, server = ClientHandshake("localhost", "/?q", port=8000), ServerHandshake()
    accepted = fed(server, data.draw(chunkings(client.request + behind)))
    assert isinstance(accepted, Upgrade)
    done = fed(client, data.draw(chunkings(accepted.response + behind)))
    assert isinstance(done, Upgrade)
    assert accepted.leftover == done.leftover == behind
    assert accepted.subprotocol == done.subprotocol == "mcp"
    assert accepted.target == done.target == "/?q"


@pytest.mark.parametrize("compressing", [False, True])
@given(data=st.data(), offer=OFFERS)
def test_a_client_of_websockets(compressing: bool, data: st.DataObject, offer: list[str]) -> None:
    extensions = [ClientPerMessageDeflateFactory()] if compressing else None
    names = list(map(Subprotocol, offer))
    client = ClientProtocol(parse_uri("ws://localhost:8000/mcp"), subprotocols=names or None, extensions=extensions)
    client.send_request(client.connect())
    accepted = fed(ServerHandshake("/mcp"), data.draw(chunkings(b"".join(client.data_to_send()))))
    assert isinstance(accepted, Upgrade)
    client.receive_data(accepted.response)
    assert client.handshake_exc is None
    assert client.state is OPEN
    assert client.subprotocol == accepted.subprotocol == ("mcp" if "mcp" in offer else None)
    assert client.extensions == []


@given(data=st.data(), known=st.sampled_from([["mcp"], ["a", "mcp"], None]), behind=st.binary(max_size=10))
def test_a_server_of_websockets(data: st.DataObject, known: list[Subprotocol] | None, behind: bytes) -> None:
    ours = ClientHandshake("localhost", "/mcp", port=8000)
    server = ServerProtocol(subprotocols=known, extensions=[ServerPerMessageDeflateFactory()])
    for chunk in data.draw(chunkings(ours.request)):
        server.receive_data(chunk)
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    assert server.handshake_exc is None
    done = fed(ours, data.draw(chunkings(b"".join(server.data_to_send()) + behind)))
    assert isinstance(done, Upgrade)
    assert done.leftover == behind
    assert done.subprotocol == ("mcp" if known else None)


def test_a_server_of_websockets_that_refuses() -> None:
    ours = ClientHandshake("localhost")
    server = ServerProtocol()
    server.receive_data(ours.request)
    server.send_response(server.reject(403, "not you"))
    with pytest.raises(HandshakeRefused, match="403 Forbidden: 'not you'"):
        ours.feed(b"".join(server.data_to_send()))


@given(data=st.data(), offer=OFFERS)
def test_a_client_of_wsproto(data: st.DataObject, offer: list[str]) -> None:
    client = WSConnection(ConnectionType.CLIENT)
    sent = client.send(events.Request(host="localhost:8000", target="/mcp", subprotocols=offer))
    accepted = fed(ServerHandshake("/mcp"), data.draw(chunkings(sent)))
    assert isinstance(accepted, Upgrade)
    client.receive_data(accepted.response)
    (event,) = client.events()
    assert isinstance(event, events.AcceptConnection)
    assert event.subprotocol == accepted.subprotocol == ("mcp" if "mcp" in offer else None)


@given(data=st.data(), chosen=st.sampled_from(["mcp", None]), behind=st.binary(max_size=10))
def test_a_server_of_wsproto(data: st.DataObject, chosen: str | None, behind: bytes) -> None:
    ours = ClientHandshake("localhost", "/mcp", port=8000)
    server = WSConnection(ConnectionType.SERVER)
    server.receive_data(ours.request)
    (event,) = server.events()
    assert isinstance(event, events.Request)
    assert (event.host, event.target, event.subprotocols) == ("localhost:8000", "/mcp", ["mcp"])
    sent = server.send(events.AcceptConnection(subprotocol=chosen))
    done = fed(ours, data.draw(chunkings(sent + behind)))
    assert isinstance(done, Upgrade)
    assert (done.subprotocol, done.leftover) == (chosen, behind)


@st.composite
def heads(draw: st.DrawFn, good: bytes) -> bytes:
    """A good head with a few pieces put in or taken out, or nothing but pieces."""
    if draw(st.booleans()):
        return b"".join(draw(st.lists(PIECES | st.binary(max_size=5), max_size=30)))
    for _ in range(draw(st.integers(0, 3))):
        place, gone = draw(st.integers(0, len(good))), draw(st.integers(0, 4))
        good = good[:place] + draw(PIECES) + good[place + gone :]
    return good


@given(data=st.data(), stream=heads(GOOD))
def test_a_server_answers_whatever_comes(data: st.DataObject, stream: bytes) -> None:
    whole = fed(ServerHandshake(), [stream] if stream else [])
    assert fed(ServerHandshake(), data.draw(chunkings(stream))) == whole
    assert fed(ServerHandshake(), [stream[place : place + 1] for place in range(len(stream))]) == whole
    if isinstance(whole, Refusal):
        assert whole.reason.isascii()
        assert whole.reason.isprintable()
        assert 400 <= whole.status < 600
    elif isinstance(whole, Upgrade):
        assert HostCheck().refusal([whole.headers["host"]]) is None


@given(data=st.data(), stream=heads(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nLocation: /\r\n\r\nno!"))
def test_a_client_raises_what_it_says(data: st.DataObject, stream: bytes) -> None:
    def verdict(chunks: Sequence[bytes]) -> object:
        client = ClientHandshake("localhost")
        try:
            answer = fed(client, [*chunks, b""])
        except (ConnectionFailed, RemoteProtocolError) as error:
            return type(error), str(error)
        return answer

    whole = verdict([stream] if stream else [])
    assert isinstance(whole, tuple)
    assert whole[1].isprintable()
    assert verdict(data.draw(chunkings(stream))) == whole
