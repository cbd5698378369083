"""Every attack on a socket server in a process of its own, while a second peer measures its round trips.

Each attack ends with what it should at the attacker alone; the server's memory stays within what its limits allow.
"""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pytest
import trio

from tests.commands import ENVIRONMENT
from tests.support import modern_request
from tests.websocket_peer import BINARY, CLOSE, PING, TEXT, RawPeer, frame, handshake

LIMIT = 256 * 1024
MIB = 1024 * 1024
MEMORY = 12 * MIB
"""What one attacker may cost: four largest messages that run, one that waits, one that is read, a write buffer of
1 MiB, kernel-sized chunks in between, and what the allocator keeps of it; the attacks send many times that."""
SAMPLES = 100
ROUNDS = 3
SLOWER, SLOWEST = 3.0, 0.1
NOISE = 0.03
"""Seconds a small request may take in any case: where nothing else happens it takes 0.1 ms, which is less than it costs
to read one chunk of an attacker's, and three processes share two processors."""
PATIENCE = 10.0
PAUSE = 0.005
"""Seconds between one attack and the next."""


class Server:
    """The echo server in a process, and its well-behaved peer in another."""

    def __init__(self, name: str, folder: Path) -> None:
        kind, self.way = name.split()
        self.kind = kind.partition("+")[0]
        options = ["--max-message-size", str(LIMIT)]
        if self.kind == "unix":
            options += ["--path", str(folder / "s")]
        if self.kind == "ws":
            options += ["--engine", kind.partition("+")[2]]
        else:
            options += ["--framing", self.way]
        self._errors: IO[bytes] = (folder / "errors").open("w+b")
        command = [sys.executable, "-m", "trio_mcp_transport", "echo", self.kind, *options]
        self.process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=self._errors)
        assert self.process.stdout is not None
        address = self.process.stdout.readline().decode().strip().partition("?")[0]
        self.address = address.partition(":")[2] if self.kind == "unix" else address.rstrip("/").rpartition(":")[2]
        pinger = Path(__file__).parents[1] / "programs/pinger.py"
        self._peer = subprocess.Popen(
            [sys.executable, "-S", str(pinger), self.way, self.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.measure(SAMPLES)  # the first ones are slow
        self.calm = min(self.measure(SAMPLES) for _ in range(2))

    def measure(self, samples: int) -> float:
        """Return the 99th percentile of the second peer's next round trips, in seconds."""
        assert self._peer.stdin is not None and self._peer.stdout is not None
        self._peer.stdin.write(b"%d\n" % samples)
        self._peer.stdin.flush()
        return float(self._peer.stdout.readline() or b"inf")

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """Return the most it has been since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Begin to look for the most memory anew (proc(5), clear_refs)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0]) * 1024

    async def connect(self) -> trio.SocketStream:
        """Connect as an attacker."""
        if self.kind == "unix":
            return await trio.open_unix_socket(self.address)
        return await trio.open_tcp_stream("127.0.0.1", int(self.address))

    def stop(self) -> str:
        """Stop both; return what the server wrote to its standard error."""
        for process in (self._peer, self.process):
            process.send_signal(signal.SIGTERM)
            process.wait(10)
        for file in (self._peer.stdin, self._peer.stdout, self.process.stdout):
            assert file is not None
            file.close()
        self._errors.seek(0)
        with self._errors:
            return self._errors.read().decode()


async def everything(stream: trio.SocketStream) -> bytes:
    """Return what comes until the end, or until a reset."""
    data = b""
    with trio.fail_after(PATIENCE), suppress(trio.BrokenResourceError):
        while chunk := await stream.receive_some():
            data += chunk
    return data


async def write(stream: trio.SocketStream, data: bytes, eof: bool = False) -> None:
    """Write what the server takes of it: one that has had enough closes."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await stream.send_all(data)
        if eof:
            await stream.send_eof()


async def reset(stream: trio.SocketStream) -> None:
    """Leave with a reset instead of an end."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


Attack = Callable[[Server], Awaitable[None]]


# Attacks on byte streams.


def wrapped(way: str, message: Any) -> bytes:
    """Frame a message."""
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    if way == "newline":
        return data + b"\n"
    if way == "content-length":
        return b"Content-Length: %d\r\n\r\n%s" % (len(data), data)
    return struct.pack(">I", len(data)) + data


def unwrapped(way: str, data: bytes) -> Any:
    """Return the message of the last line, or of the one frame there is."""
    if way == "newline":
        return json.loads(data.splitlines()[-1])
    if way == "content-length":
        return json.loads(data.partition(b"\r\n\r\n")[2])
    return json.loads(data[4:])


def ends_with(data: bytes, code: int | None, *, eof: bool = False) -> Attack:
    """Return an attack that ends its connection, with an error or with nothing."""

    async def attack(server: Server) -> None:
        stream = await server.connect()
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(write, stream, data, eof)
            answer = await everything(stream)
            nursery.cancel_scope.cancel()
        if code is None:
            assert answer == b""
        else:
            assert unwrapped(server.way, answer)["error"]["code"] == code

    return attack


def goes_on(data: bytes, *codes: int) -> Attack:
    """Return an attack by lines that is answered with some errors, and whose connection is served as before."""

    async def attack(server: Server) -> None:
        stream = await server.connect()
        after = wrapped("newline", modern_request(1, params={"mine": "attacker"}))
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(write, stream, data + after, True)
            answers = [json.loads(line) for line in (await everything(stream)).splitlines()]
        assert tuple(one["error"]["code"] for one in answers[:-1]) == codes
        assert answers[-1]["result"]["mine"] == "attacker"

    return attack


def is_reset(data: bytes) -> Attack:
    """Return an attack that leaves with a reset right after some bytes."""

    async def attack(server: Server) -> None:
        for _ in range(5):
            stream = await server.connect()
            if server.way == "websocket":
                await RawPeer(stream).shake_hands()
            await stream.send_all(data)
            await reset(stream)

    return attack


async def reads_nothing(server: Server) -> None:
    """Ask until the server reads no more, for it cannot write any more."""
    request: Any = modern_request(1, params={"text": "x" * 30_000})
    async with await server.connect() as stream:
        if server.way == "websocket":
            await RawPeer(stream).shake_hands()
            data = frame(TEXT, json.dumps(request).encode())
        else:
            data = wrapped(server.way, request)
        sent = 0
        while sent < 64 * MIB:
            with trio.move_on_after(0.1) as scope:
                await stream.send_all(data)
                sent += len(data)
            if scope.cancelled_caught:
                break
        assert sent < 32 * MIB, "the server takes what it cannot answer"
        await reset(stream)


FAILING = modern_request(1, "tools/call", {"name": "nothing", "arguments": 7})
HALF = json.dumps(modern_request(1, params={"text": "x" * 1000})).encode()[:600]
DEEP = b"[" * 100_000
PARSE, INVALID = -32700, -32600

ON_ANY_STREAM: dict[str, Attack] = {
    "a web page": ends_with(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", None),
    "reads nothing": reads_nothing,
}

ON_LINES: dict[str, Attack] = {
    **ON_ANY_STREAM,
    "200,000 empty lines": goes_on(b"\n" * 200_000),
    "a line of 3 MiB": goes_on(b"x" * 3 * MIB + b"\n", INVALID),
    "an endless line": ends_with(b"x" * 32 * MIB, PARSE),
    "one byte too many": goes_on(b"x" * (LIMIT + 1) + b"\n", INVALID),
    "torn line": ends_with(HALF, PARSE, eof=True),
    "invalid UTF-8": goes_on(b"\xff\n" * 100, *[PARSE] * 100),
    "no JSON": goes_on(b"{oops\n" * 200, *[PARSE] * 200),
    "deep": goes_on(DEEP + b"\n", PARSE),
    "reset in a message": is_reset(HALF),
    "reset before an error": is_reset(wrapped("newline", FAILING) * 20),
}

ON_LENGTHS: dict[str, Attack] = {
    **ON_ANY_STREAM,
    "a negative length": ends_with(b"\xff\xff\xff\xff" + b"x" * MIB, INVALID),
    "a huge length": ends_with(b"\x7f\xff\xff\xff" + b"x" * MIB, INVALID),
    "one byte too many": ends_with(struct.pack(">I", LIMIT + 1), INVALID),
    "a torn length": ends_with(b"\0\0", PARSE, eof=True),
    "a torn message": ends_with(struct.pack(">I", 1000) + HALF, PARSE, eof=True),
    "reset in a message": is_reset(struct.pack(">I", 1000) + HALF),
    "reset before an error": is_reset(wrapped("length-prefix", FAILING) * 20),
}

ON_HEADERS: dict[str, Attack] = {
    **ON_ANY_STREAM,
    "a negative length": ends_with(b"Content-Length: -1\r\n\r\n{}", PARSE),
    "a huge length": ends_with(b"Content-Length: 999999999999999999\r\n\r\n" + b"x" * MIB, INVALID),
    "a length of 5,000 digits": ends_with(b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", PARSE),
    "one byte too many": ends_with(b"Content-Length: %d\r\n\r\n" % (LIMIT + 1), INVALID),
    "two lengths": ends_with(b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", PARSE),
    "two other lengths": ends_with(b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", PARSE),
    "a list of lengths": ends_with(b"Content-Length: 2, 2\r\n\r\n{}", PARSE),
    "endless headers": ends_with(b"X: y\r\n" * 500_000, PARSE),
    "an endless header": ends_with(b"X" * 4 * MIB, PARSE),
    "no colon": ends_with(b"Content-Length 2\r\n\r\n{}", PARSE),
    "no length": ends_with(b"X: y\r\n\r\n{}", PARSE),
    "a torn header": ends_with(b"Content-Le", PARSE, eof=True),
    "a torn message": ends_with(b"Content-Length: 1000\r\n\r\n" + HALF, PARSE, eof=True),
    "reset in a message": is_reset(b"Content-Length: 1000\r\n\r\n" + HALF),
    "reset before an error": is_reset(wrapped("content-length", FAILING) * 20),
}


# Attacks on WebSockets.


def closes(data: bytes, code: int) -> Attack:
    """Return an attack that is told why its connection ends."""

    async def attack(server: Server) -> None:
        async with await server.connect() as stream, trio.open_nursery() as nursery:
            peer = RawPeer(stream)
            assert (await peer.shake_hands())[0] == 101
            nursery.start_soon(write, stream, data)
            assert await peer.receive_close() == code
            nursery.cancel_scope.cancel()

    return attack


def refused(status: int, **how: Any) -> Attack:
    """Return a handshake that is refused with a status."""

    async def attack(server: Server) -> None:
        async with await server.connect() as stream:
            peer = RawPeer(stream)
            assert (await peer.shake_hands(handshake(**how)))[0] == status
            await peer.receive_end()

    return attack


HEADERS = (
    "Host",
    "Origin",
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "X-Any",
)
HOSTILE = ("\xff", "\x00", "\r", "\n y", "\x7f", "é", "a" * 9000, ",,,", "mcp\xff", '"', "")


async def hostile_bytes(server: Server) -> None:
    """Put hostile bytes into every header, instead of its value and beside it."""
    for name in HEADERS:
        for value in HOSTILE:
            for left_out in ((), (name,)):
                async with await server.connect() as stream:
                    request = handshake(leave_out=left_out, extra=((name, value),))
                    await stream.send_all(request)
                    await stream.send_eof()
                    answer = await everything(stream)
                    assert answer.startswith(b"HTTP/1.1 101 " if b" 101 " in answer[:16] else b"HTTP/1.1 4"), answer


async def slow_handshakes(server: Server) -> None:
    """Keep fifty requests waiting for their next byte."""
    request = handshake()
    streams = [await server.connect() for _ in range(50)]
    for number in range(20):
        for stream in streams:
            await stream.send_all(request[number : number + 1])
    await trio.sleep(0.05)
    for stream in streams:
        await stream.aclose()


async def empty_messages(server: Server) -> None:
    """Send 20,000 frames without content, each as a message of its own, and a request."""
    async with await server.connect() as stream:
        peer = RawPeer(stream)
        await peer.shake_hands()
        request = frame(TEXT, json.dumps(modern_request(1)).encode())
        await stream.send_all(frame(TEXT) * 20_000 + request)
        assert (await peer.receive_json())["id"] == 1


async def pings(server: Server) -> None:
    """Send ten thousand pings and read no pong."""
    async with await server.connect() as stream:
        await RawPeer(stream).shake_hands()
        await write(stream, frame(PING, bytes(125)) * 10_000)
        await reset(stream)


EVIL = "evil.example"
ON_WEBSOCKET: dict[str, Attack] = {
    "reads nothing": reads_nothing,
    "a reserved bit": closes(frame(TEXT, b"{}", reserved=4), 1002),
    "a bad opcode": closes(frame(3, b"{}"), 1002),
    "a bad control opcode": closes(frame(11), 1002),
    "no mask": closes(frame(TEXT, b"{}", masked=False), 1002),
    "binary": closes(frame(BINARY, b"{}"), 1003),
    "invalid UTF-8 across fragments": closes(frame(TEXT, b'"\xe2', fin=False) + frame(0, b'\x28\xa1"'), 1007),
    "32 MiB in one frame": closes(frame(TEXT, b"", length=32 * MIB) + b"x" * MIB, 1009),
    "4 EiB in one frame": closes(frame(TEXT, b"", length=1 << 62) + b"x" * MIB, 1009),
    "too much across fragments": closes(
        frame(TEXT, b"x" * 1000, fin=False) + frame(0, b"x" * 1000, fin=False) * 2000, 1009
    ),
    "a ping of 126 bytes": closes(frame(PING, bytes(126)), 1002),
    "a close of 126 bytes": closes(frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "reset in a message": is_reset(frame(TEXT, HALF, length=1000)),
    "reset before an error": is_reset(frame(TEXT, json.dumps(FAILING).encode()) * 20),
    "empty messages": empty_messages,
    "pings": pings,
    "no key": refused(400, leave_out=("Sec-WebSocket-Key",)),
    "version 8": refused(426, sec_websocket_version="8"),
    "another path": refused(404, path="/other"),
    "a foreign page": refused(403, extra=(("Origin", f"https://{EVIL}"),)),
    "a page without origin": refused(403, extra=(("Origin", "null"),)),
    "a disguised page": refused(403, extra=(("Origin", f"http://localhost:1.{EVIL}"),)),
    "another disguised page": refused(403, extra=(("Origin", f"http://127.0.0.1:1@{EVIL}"),)),
    "a foreign name that leads here": refused(403, host=EVIL),
    "a disguised name": refused(403, host=f"127.0.0.1.{EVIL}"),
    "an endless head": refused(431, extra=(("X", "y" * 100_000),)),
    "slow handshakes": slow_handshakes,
    "hostile bytes": hostile_bytes,
}

SERVERS: dict[str, dict[str, Attack]] = {
    "tcp newline": ON_LINES,
    "unix newline": ON_LINES,
    "tcp length-prefix": ON_LENGTHS,
    "unix length-prefix": ON_LENGTHS,
    "tcp content-length": ON_HEADERS,
    "unix content-length": ON_HEADERS,
    "ws+trio-websocket websocket": ON_WEBSOCKET,
    "ws+native websocket": ON_WEBSOCKET,
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Return what starts a server; in the end each must have survived everything in silence."""
    started: dict[str, Server] = {}

    def stop() -> None:
        while started:
            name, server = started.popitem()
            errors = server.stop()
            assert "Traceback" not in errors, (name, errors)
            assert server.process.returncode == 0, (name, errors)

    def start(name: str) -> Server:
        if name not in started:
            stop()
            started[name] = Server(name, tmp_path_factory.mktemp("attacks"))
        return started[name]

    yield start
    stop()


@pytest.fixture
def server(name: str, servers: Callable[[str], Server]) -> Server:
    """Return a server with its well-behaved peer; tests of one server follow each other."""
    return servers(name)


PAIRS = [
    pytest.param(name, attack, id=f"{name}-{what}")
    for name, attacks in SERVERS.items()
    for what, attack in attacks.items()
]


@pytest.mark.parametrize(("name", "attack"), PAIRS)
async def test_an_attack_ends_as_it_should_and_is_felt_by_nobody_else(server: Server, attack: Attack) -> None:
    await attack(server)  # what is allocated once for all
    server.forget_peak()
    before = server.memory()
    allowed = min(SLOWEST, max(SLOWER * server.calm, NOISE))
    felt = []
    for _ in range(ROUNDS):
        felt.append(await measure_during(server, attack))
        if felt[-1] < allowed:
            break
    assert server.peak() - before < MEMORY
    assert min(felt) < allowed, (server.calm, felt)


async def measure_during(server: Server, attack: Attack) -> float:
    """Attack again and again for as long as the second peer measures; return what it has measured."""
    measured: list[float] = []

    async def measure() -> None:
        measured.append(await trio.to_thread.run_sync(server.measure, SAMPLES))
        done.set()

    done = trio.Event()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(measure)
            while not done.is_set():
                await attack(server)
                await trio.sleep(PAUSE)
    return measured[0]


async def test_a_stall_would_be_felt(servers: Callable[[str], Server]) -> None:
    async def stall(server: Server) -> None:
        server.process.send_signal(signal.SIGSTOP)
        await trio.sleep(0.06)
        server.process.send_signal(signal.SIGCONT)

    assert await measure_during(servers("ws+native websocket"), stall) > NOISE


async def test_what_an_attacker_could_hoard_would_be_seen(servers: Callable[[str], Server]) -> None:
    server = servers("ws+native websocket")
    server.forget_peak()
    before = server.memory()
    # Within the limits, but from eighty connections at once.
    streams = [await server.connect() for _ in range(80)]
    for stream in streams:
        await RawPeer(stream).shake_hands()
        await stream.send_all(frame(TEXT, b"x" * (LIMIT - 1), fin=False))
    with trio.fail_after(PATIENCE):
        while server.peak() - before <= MEMORY:  # noqa: ASYNC110 - another process changes it
            await trio.sleep(0.01)
    for stream in streams:
        await stream.aclose()
