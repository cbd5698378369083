"""A well-behaved peer that measures its round trips: ``pinger.py WAY ADDRESS`` with WAY the framing, or ``websocket``.

ADDRESS is a port of this machine or a file.  For every line ``COUNT`` on its input it asks so often, always with the
same id, checks that the answer is its own, and prints the 99th percentile of the times in seconds.
"""

import json
import os
import socket
import struct
import sys
import time

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
PAUSE = 0.0005
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: mcp\r\n\r\n"
)


def wrap(way: str, data: bytes) -> bytes:
    if way == "newline":
        return data + b"\n"
    if way == "content-length":
        return b"Content-Length: %d\r\n\r\n%s" % (len(data), data)
    if way == "length-prefix":
        return struct.pack(">I", len(data)) + data
    # Masked with zeros, in 126 to 65,535 bytes.
    return b"\x81\xfe" + struct.pack(">H", len(data)) + bytes(4) + data


def receive(file, way: str) -> bytes:
    if way == "newline":
        return file.readline()
    if way == "content-length":
        size = int(file.readline().split(b":")[1])
        assert file.readline() == b"\r\n"
    elif way == "length-prefix":
        (size,) = struct.unpack(">I", file.read(4))
    else:
        while True:
            first, size = file.read(2)
            if first == 0x81:
                break
            assert first == 0x89 and size == 0, (first, size)  # a ping between
            connection.sendall(b"\x8a\x80" + bytes(4))
        if size == 126:
            (size,) = struct.unpack(">H", file.read(2))
    return file.read(size)


way, address = sys.argv[1:]
connection = socket.socket() if address.isdecimal() else socket.socket(socket.AF_UNIX)
connection.connect(("127.0.0.1", int(address)) if address.isdecimal() else address)
connection.settimeout(20)
file = connection.makefile("rb")
if way == "websocket":
    connection.sendall(HANDSHAKE)
    while file.readline() != b"\r\n":
        pass
number = 0
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        number += 1
        mine = f"{os.getpid()}/{number}"
        params = {"mine": mine, "_meta": META}
        message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "echo", "params": params}).encode()
        began = time.perf_counter()
        connection.sendall(wrap(way, message))
        answer = json.loads(receive(file, way))
        times.append(time.perf_counter() - began)
        assert answer["id"] == 1 and answer["result"]["mine"] == mine, answer
        time.sleep(PAUSE)
    times.sort()
    print(times[len(times) * 99 // 100 - 1], flush=True)
