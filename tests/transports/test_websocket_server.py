"""What a WebSocket server does with peers that do not keep the rules: each ends alone, and is told why."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import modern_request
from tests.websocket_peer import BINARY, CLOSE, PING, PONG, TEXT, dial, frame, handshake, listen, serve_websocket
from trio_mcp_transport import Handlers, Limits, MessageContext, Request, serve
from trio_mcp_transport.errors import ConfigError, LocalProtocolError
from trio_mcp_transport.testing.streams import byte_stream_pair
from trio_mcp_transport.transports.websocket import Engine, WebSocketServerTransport

LIMIT = 1000
pytestmark = pytest.mark.parametrize("engine", ["trio-websocket", "native"])

BAD_FRAMES = {
    "a reserved bit": (frame(TEXT, b"{}", reserved=4), 1002),
    "another reserved bit": (frame(TEXT, b"{}", reserved=1), 1002),
    "an unknown data opcode": (frame(3, b"{}"), 1002),
    "an unknown control opcode": (frame(11, b""), 1002),
    "no mask": (frame(TEXT, b"{}", masked=False), 1002),
    "a continuation of nothing": (frame(0, b"{}"), 1002),
    "a message inside a message": (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002),
    "a fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "a ping of 126 bytes": (frame(PING, bytes(126)), 1002),
    "a close of 126 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a close with a code nobody may send": (frame(CLOSE, b"\x03\xee"), 1002),
    "a close whose reason is not UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    "a length in more bytes than needed": (b"\x81\xfe\x00\x05" + bytes(9), 1002),
    "a length beyond 63 bits": (b"\x81\xff\xff" + bytes(7 + 4), 1009),
    "invalid UTF-8": (frame(TEXT, b'"\xff"'), 1007),
    "a surrogate in UTF-8": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "invalid UTF-8 across fragments": (frame(TEXT, b'"\xe2', fin=False) + frame(0, b'\x28\xa1"'), 1007),
    "UTF-8 that ends too early": (frame(TEXT, b'"\xe2\x82', fin=False) + frame(0, b""), 1007),
    "a binary message": (frame(BINARY, b"{}"), 1003),
    "one byte too many": (frame(TEXT, b"x" * (LIMIT + 1)), 1009),
    "one byte too many in two-byte characters": (frame(TEXT, "é".encode() * (LIMIT // 2) + b"x"), 1009),
    "one byte too many across fragments": (
        frame(TEXT, b"x" * LIMIT, fin=False) + frame(PING, b"") + frame(0, b"x"),
        1009,
    ),
    "a length of 4 EiB": (frame(TEXT, b"", length=1 << 62), 1009),
}


@pytest.mark.parametrize("what", BAD_FRAMES)
async def test_a_bad_frame_ends_its_connection_with_the_code_that_says_why(engine: Engine, what: str) -> None:
    data, code = BAD_FRAMES[what]
    async with serve_websocket(engine, limits=Limits(max_message_size=LIMIT)) as peer:
        assert (await peer.ask(modern_request(1, params={"n": 1})))["result"]["n"] == 1
        await peer.stream.send_all(data)
        got = await peer.receive_close()
        # The library believes no length beyond 63 bits for a reason of its own.
        assert got == code or (code == 1009 and "63" in what and got == 1002)
        await peer.stream.aclose()


async def test_exactly_the_limit_passes_whole_and_in_fragments(engine: Engine) -> None:
    async with serve_websocket(engine, limits=Limits(max_message_size=LIMIT)) as peer:
        text = json.dumps(modern_request(1), ensure_ascii=False).encode()
        text = text[:-1] + b" " * (LIMIT - len(text)) + b"}"
        await peer.send(TEXT, text)
        assert (await peer.receive_json())["id"] == 1
        await peer.send(TEXT, text[:10], fin=False)
        await peer.send(PING, b"between")
        await peer.send(0, text[10:], fin=False)
        await peer.send(0, b"")
        assert await peer.receive() == (PONG, b"between")
        assert (await peer.receive_json())["id"] == 1


async def test_binary_messages_count_where_they_are_accepted(engine: Engine) -> None:
    async with serve_websocket(engine, options={"accept_binary": True}) as peer:
        await peer.send(BINARY, json.dumps(modern_request(1)).encode())
        assert (await peer.receive_json())["id"] == 1
        await peer.send(BINARY, b"\xff")
        assert (await peer.receive_json())["error"]["code"] == -32700


async def test_a_message_that_is_no_json_costs_its_sender_one_error(engine: Engine) -> None:
    async with serve_websocket(engine) as peer:
        await peer.send(TEXT, b"nonsense")
        assert (await peer.receive_json())["error"]["code"] == -32700
        await peer.send(TEXT, b"")
        assert (await peer.ask(modern_request(2)))["id"] == 2


REFUSED: dict[str, tuple[dict[str, Any], int]] = {
    "without a key": ({"leave_out": ("Sec-WebSocket-Key",)}, 400),
    "with a short key": ({"sec_websocket_key": "AAAA"}, 400),
    "of version 8": ({"sec_websocket_version": "8"}, 426),
    "without an upgrade": ({"leave_out": ("Upgrade",)}, 426),
    "for another path": ({"path": "/other"}, 404),
    "from a foreign page": ({"extra": (("Origin", "https://evil.example"),)}, 403),
    "from a page without an origin": ({"extra": (("Origin", "null"),)}, 403),
    "from a disguised page": ({"extra": (("Origin", "http://localhost:1.evil.example"),)}, 403),
    "from another disguised page": ({"extra": (("Origin", "http://127.0.0.1:1@evil.example"),)}, 403),
    "from two pages": ({"extra": (("Origin", "http://localhost"), ("Origin", "http://localhost"))}, 403),
    "for a foreign host": ({"host": "evil.example"}, 403),
    "without a host": ({"leave_out": ("Host",)}, 400),
    "for two hosts": ({"extra": (("Host", "localhost"),)}, 400),
    "over HTTP/1.0": ({"version": "HTTP/1.0"}, 505),
    "with a body": ({"extra": (("Content-Length", "4"),)}, 400),
    "with a head of 20 KiB": ({"extra": (("X", "y" * 20_000),)}, 431),
    "with 200 fields": ({"extra": tuple((f"X-{n}", "y") for n in range(200))}, 431),
    **{
        f"with a raw byte in {name}": ({"extra": ((name, "\xff"),)}, None)
        for name in ("Host", "Connection", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Upgrade", "X-Any")
    },
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_request_that_is_wrong_gets_its_status(engine: Engine, what: str) -> None:
    how, status = REFUSED[what]
    async with serve_websocket(engine, greet=False) as peer:
        got, headers = await peer.shake_hands(handshake(**how))
        assert got == status or (status is None and (got == 101 or 400 <= got < 500))
        if got != 101:
            assert "close" in headers["connection"]
            await peer.stream.send_eof()
            await peer.receive_end()


async def test_bytes_right_behind_the_request_are_the_first_frames(engine: Engine) -> None:
    async with serve_websocket(engine, greet=False) as peer:
        first = frame(TEXT, json.dumps(modern_request(1)).encode())
        assert (await peer.shake_hands(handshake() + first + first[:5]))[0] == 101
        assert (await peer.receive_json())["id"] == 1
        await peer.stream.send_all(first[5:])
        assert (await peer.receive_json())["id"] == 1


async def test_a_request_in_single_bytes_is_a_request(engine: Engine) -> None:
    async with serve_websocket(engine, greet=False) as peer:
        for byte in handshake():
            await peer.stream.send_all(bytes([byte]))
        status, headers = await peer.receive_head()
        assert status == 101
        assert headers["sec-websocket-protocol"] == "mcp"
        assert "sec-websocket-extensions" not in headers


async def test_the_handler_sees_the_headers_of_the_request(engine: Engine) -> None:
    async def headers(request: Request, context: MessageContext) -> Any:
        return {"seen": context.headers.get("authorization"), "host": context.headers["host"], "t": context.transport}

    async with serve_websocket(engine, headers, greet=False) as peer:
        await peer.shake_hands(handshake(extra=(("Authorization", "Bearer x"),)))
        result = (await peer.ask(modern_request(1)))["result"]
        assert (result["seen"], result["host"], result["t"]) == ("Bearer x", "localhost", "websocket")


async def test_invited_pages_and_hosts_pass(engine: Engine) -> None:
    options = {"allowed_hosts": ["mcp.example:8443"], "allowed_origins": ["https://app.example"]}
    async with serve_websocket(engine, options=options, greet=False) as peer:
        request = handshake(host="mcp.example:8443", extra=(("Origin", "https://app.example"),))
        assert (await peer.shake_hands(request))[0] == 101


@pytest.mark.parametrize("beginning", [b"G", handshake()[:-2]], ids=["one byte", "all but the end"])
async def test_a_slow_request_is_given_up_at_the_deadline(
    engine: Engine, beginning: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with serve_websocket(engine, greet=False, options={"handshake_deadline": 7.0}) as peer:
        await peer.stream.send_all(beginning)
        with trio.fail_after(7.5):
            head = b""
            while chunk := await peer.stream.receive_some():
                head += chunk
        assert head.startswith(b"HTTP/1.1 408 ")
        assert trio.current_time() == 7.0


async def test_a_peer_that_says_nothing_at_all_is_given_up_too(
    engine: Engine, autojump_clock: trio.testing.MockClock
) -> None:
    async with serve_websocket(engine, greet=False) as peer:
        with trio.fail_after(10.5):
            while await peer.stream.receive_some():
                pass


async def test_a_peer_that_answers_no_ping_is_closed_with_1011(
    engine: Engine, autojump_clock: trio.testing.MockClock
) -> None:
    async with serve_websocket(engine) as peer:
        await trio.sleep(19.0)
        await peer.send_json(modern_request(1))  # whatever is heard puts the ping off
        assert (await peer.receive_json())["id"] == 1
        with trio.fail_after(21):
            while not peer.buffer:
                peer.buffer += await peer.stream.receive_some()
        assert trio.current_time() == pytest.approx(39.0)
        opcode, _ = await peer.receive()
        assert opcode == PING
        with trio.fail_after(21):
            while not peer.buffer:
                peer.buffer += await peer.stream.receive_some()
        assert await peer.receive_close() == 1011
        assert trio.current_time() == pytest.approx(59.0)


async def test_a_peer_that_answers_its_pings_may_be_silent_for_ever(
    engine: Engine, autojump_clock: trio.testing.MockClock
) -> None:
    async with serve_websocket(engine) as peer:
        for _ in range(20):
            with trio.fail_after(21):
                peer.buffer += await peer.stream.receive_some()
            opcode, payload = await peer.receive()
            assert opcode == PING
            await peer.send(PONG, payload)
        assert (await peer.ask(modern_request(1)))["id"] == 1


async def test_a_peer_that_reads_nothing_is_given_up_at_the_write_deadline(
    engine: Engine, autojump_clock: trio.testing.MockClock
) -> None:
    ended: list[float] = []

    async def big(request: Request, context: MessageContext) -> Any:
        return {"text": "x" * 200_000}

    class Watching(Handlers):
        async def handle_close(self, context: MessageContext) -> None:
            ended.append(trio.current_time())

    limits = Limits(write_deadline=12.0)
    async with serve_websocket(engine, Watching(big), streams=byte_stream_pair(), limits=limits) as peer:
        await peer.send_json(modern_request(1))
        await trio.sleep(11.0)
        assert ended == []
        await trio.sleep(8.0)
        assert len(ended) == 1 and 12.0 <= ended[0] <= 12.5


async def test_a_flood_of_pings_without_reading_is_bounded(
    engine: Engine, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = byte_stream_pair(4096)
    most = 0
    async with serve_websocket(engine, streams=(ours, theirs), limits=Limits(write_deadline=12.0)) as peer:
        try:
            for _ in range(1000):
                await ours.send_all(frame(PING, b"x" * 125) * 20)
                most = max(most, peer.server.statistics().outbox_bytes)
            await trio.sleep(12.5)
            await ours.send_all(b"more")
        except trio.BrokenResourceError:
            assert trio.current_time() <= 12.5
        else:
            raise AssertionError("still served")
    assert most < 10_000


async def test_a_flood_of_pings_is_answered_as_far_as_it_is_read(engine: Engine) -> None:
    async with serve_websocket(engine) as peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.stream.send_all, frame(PING, b"last") * 5000)
            assert await peer.receive() == (PONG, b"last")
        await peer.send_json(modern_request(1))
        while (await peer.receive())[0] == PONG:
            pass


@pytest.mark.parametrize("code", [1000, 1001, 4000, None])
async def test_a_close_is_answered_with_its_own_code(engine: Engine, code: int | None) -> None:
    closed: list[MessageContext] = []
    failed: list[Exception] = []

    class Watching(Handlers):
        async def handle_close(self, context: MessageContext) -> None:
            closed.append(context)

        async def handle_error(self, error: Exception, context: MessageContext) -> None:
            failed.append(error)

    async with serve_websocket(engine, Watching()) as peer:
        await peer.send(CLOSE, b"" if code is None else struct.pack("!H", code))
        assert await peer.receive_close() == (1005 if code is None else code)
        assert await peer.receive_end() == b""
        assert len(closed) == 1 and failed == []


async def test_a_close_cancels_what_runs(engine: Engine, autojump_clock: trio.testing.MockClock) -> None:
    causes: list[Any] = []

    async def wait(request: Request, context: MessageContext) -> Any:
        try:
            await trio.sleep_forever()
        finally:
            causes.append(context.cancel_cause)

    async with serve_websocket(engine, wait) as peer:
        await peer.send_json(modern_request(1))
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(CLOSE, b"\x03\xe8")
        assert await peer.receive_close() == 1000
        assert await peer.receive_end() == b""
        assert [cause.name for cause in causes] == ["CLOSED"]
        assert trio.current_time() < 1


async def test_an_end_without_a_close_cancels_what_runs(engine: Engine) -> None:
    causes: list[Any] = []
    done = trio.Event()

    async def wait(request: Request, context: MessageContext) -> Any:
        try:
            await trio.sleep_forever()
        finally:
            causes.append(context.cancel_cause)
            done.set()

    async with serve_websocket(engine, wait) as peer:
        await peer.send_json(modern_request(1))
        await trio.testing.wait_all_tasks_blocked()
        await peer.stream.aclose()
        with trio.fail_after(5):
            await done.wait()
        assert [cause.name for cause in causes] == ["CLOSED"]


async def test_shutdown_answers_what_was_asked_and_closes_with_1001(
    engine: Engine, autojump_clock: trio.testing.MockClock
) -> None:
    shutdown = trio.Event()

    async def slow(request: Request, context: MessageContext) -> Any:
        await trio.sleep(2.0)
        return {"done": True}

    async with serve_websocket(engine, slow, shutdown=shutdown) as peer:
        await peer.send_json(modern_request(1))
        await trio.testing.wait_all_tasks_blocked()
        shutdown.set()
        assert (await peer.receive_json())["result"]["done"] is True
        assert await peer.receive_close() == 1001
        await trio.sleep(1.0)
        await peer.send(CLOSE, b"\x03\xe9")
        assert await peer.receive_end() == b""
        assert trio.current_time() == pytest.approx(3.0, abs=0.3)


async def test_a_peer_that_does_not_close_is_waited_for_within_the_deadline(
    engine: Engine, autojump_clock: trio.testing.MockClock
) -> None:
    shutdown = trio.Event()
    async with serve_websocket(engine, shutdown=shutdown, options={"close_deadline": 3.0}) as peer:
        shutdown.set()
        assert await peer.receive_close() == 1001
        assert await peer.receive_end() == b""
        assert trio.current_time() == pytest.approx(3.0, abs=0.1)


async def test_a_cancelled_service_closes_with_1001_and_waits_for_nobody(
    engine: Engine, autojump_clock: trio.testing.MockClock
) -> None:
    async with serve_websocket(engine) as peer:
        assert (await peer.ask(modern_request(1)))["id"] == 1
    assert await peer.receive_close() == 1001
    assert await peer.receive_end() == b""
    assert trio.current_time() < 1


async def test_a_reset_in_the_middle_of_a_message_ends_that_peer_alone(engine: Engine) -> None:
    async with listen(engine) as (_, port):
        second = await dial(port)
        for _ in range(5):
            first = await dial(port)
            await first.stream.send_all(frame(TEXT, b"x" * 100_000)[:5000])
            stream: Any = first.stream
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.socket.close()
            assert (await second.ask(modern_request(1)))["id"] == 1
        await second.stream.aclose()


async def test_every_bad_peer_at_once_leaves_a_good_one_served(engine: Engine) -> None:
    async with listen(engine, limits=Limits(max_message_size=LIMIT)) as (_, port):
        good = await dial(port)
        slowest = 0.0

        async def misbehave(data: bytes, code: int) -> None:
            peer = await dial(port)
            await peer.stream.send_all(data)
            assert await peer.receive_close() in (code, 1002)
            await peer.stream.aclose()

        async def ask_wrongly(how: dict[str, Any]) -> None:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(handshake(**how))
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 ")
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            for data, code in BAD_FRAMES.values():
                nursery.start_soon(misbehave, data, code)
            for how, _status in REFUSED.values():
                nursery.start_soon(ask_wrongly, how)
            for n in range(50):
                begun = trio.current_time()
                assert (await good.ask(modern_request(n)))["id"] == n
                slowest = max(slowest, trio.current_time() - begun)
        assert slowest < 2.0
        await good.stream.aclose()


async def test_newcomers_above_the_cap_are_closed_at_once(engine: Engine) -> None:
    async with listen(engine, max_connections=2) as (_, port):
        peers = [await dial(port), await dial(port)]
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        with trio.fail_after(5):
            assert await stream.receive_some() == b""
        await stream.aclose()
        assert (await peers[0].ask(modern_request(1)))["id"] == 1
        for peer in peers:
            await peer.stream.aclose()


async def test_a_transport_object_serves_once(engine: Engine) -> None:
    transport = WebSocketServerTransport(engine=engine)
    async with listen(engine, transport=transport):
        pass
    with pytest.raises(LocalProtocolError, match="once"):
        await serve(Handlers(), transport)


async def test_the_address_can_be_connected_to(engine: Engine) -> None:
    async with listen(engine, path="/mcp") as (url, port):
        assert url == f"ws://127.0.0.1:{port}/mcp"
        peer = await dial(port, handshake("/mcp"))
        await peer.stream.aclose()


@pytest.mark.parametrize(
    "options",
    [
        {"path": "mcp"},
        {"ping_interval": 0},
        {"ping_deadline": -1.0},
        {"close_deadline": float("nan")},
        {"handshake_deadline": 0},
        {"max_connections": 0},
        {"allowed_origins": ["example.com"]},
        {"allowed_hosts": ["a b"]},
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(engine: Engine, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        WebSocketServerTransport(engine=engine, **options)


async def test_a_peer_that_talks_and_does_not_read_survives_an_unsent_ping(
    engine: Engine, autojump_clock: trio.testing.MockClock
) -> None:
    room = 1000

    async def fill(request: Request, context: MessageContext) -> Any:
        return {"filling": "x" * int((request.params or {})["size"])}

    pings = {"ping_interval": 5.0, "ping_deadline": 5.0}
    async with serve_websocket(engine, fill, streams=byte_stream_pair(room), options=pings) as peer:
        await peer.send_json(modern_request(1, params={"size": 500}))
        _, answer = await peer.receive()
        await peer.send_json(modern_request(2, params={"size": 500 + room - len(answer) - 4}))
        for _ in range(3):
            await trio.sleep(4.0)
            await peer.send(PONG)
            await trio.sleep(4.0)
        assert (await peer.receive_json())["id"] == 2
        await peer.send_json(modern_request(3, params={"size": 1}))
        opcodes = []
        while (got := await peer.receive())[0] == PING:
            opcodes.append(PING)
        assert opcodes and json.loads(got[1])["id"] == 3
