"""TLS without I/O: nothing lost however it is cut, and tickets that wait for company."""

from __future__ import annotations

import random
import ssl

import pytest

from tests.certificates import client_context, server_context
from trio_mcp_transport.transports.tls_engine import RECORDS, TlsEngine

NEWEST = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def engines(newest: ssl.TLSVersion) -> tuple[TlsEngine, TlsEngine]:
    """Return two engines that have shaken hands."""
    client = TlsEngine(client_context(), server_side=False, server_hostname="localhost")
    server = TlsEngine(server_context(newest=newest), server_side=True, server_hostname=None)
    done = [False, False]
    while not all(done):
        done = [client.handshake(), server.handshake()]
        if client.pending:
            server.feed(client.take())
        if server.pending:
            client.feed(server.take())
    return client, server


def read_all(engine: TlsEngine) -> bytes:
    received = bytearray()
    while data := engine.decrypt(RECORDS):
        received += data
    return bytes(received)


@pytest.mark.parametrize("newest", NEWEST)
@pytest.mark.parametrize("seed", range(5))
def test_cut_anywhere_it_arrives_whole(newest: ssl.TLSVersion, seed: int) -> None:
    choose = random.Random(seed)
    client, server = engines(newest)
    sent, received = bytearray(), bytearray()
    for _ in range(10):
        data = choose.randbytes(choose.choice([1, 100, 16384, 16385, 70_000]))
        client.encrypt(memoryview(data))
        sent += data
        wire = client.take()
        assert client.take() == b""
        while wire:
            cut = choose.choice([1, 5, 1000, 50_000])
            server.feed(wire[:cut])
            wire = wire[cut:]
            size = choose.choice([1, 1000, RECORDS])
            while piece := server.decrypt(size):
                assert len(piece) <= size
                received += piece
    assert received == sent
    assert server.decrypt(1) is None


@pytest.mark.parametrize("newest", NEWEST)
@pytest.mark.parametrize("cut", [0, 1, 4, 6, 200, 16500, 20000])
def test_saying_the_end_keeps_what_was_received(cut: int, newest: ssl.TLSVersion) -> None:
    client, server = engines(newest)
    data = bytes(range(256)) * 100
    server.encrypt(memoryview(data))
    wire = server.take()
    if cut:
        client.feed(wire[:cut])
    client.say_end()
    received = read_all(client)
    client.feed(wire[cut:])
    received += read_all(client)
    assert received == data
    server.feed(client.take())
    assert server.decrypt(10) == b""
    assert server.decrypt(10) == b""
    server.encrypt(memoryview(b"still"))  # the other direction goes on
    server.say_end()
    client.feed(server.take())
    assert client.decrypt(10) == b"still"
    assert client.decrypt(10) == b""


def test_session_tickets_leave_with_the_first_answer() -> None:
    _, server = engines(ssl.TLSVersion.TLSv1_3)
    before = server.pending
    server.encrypt(memoryview(b"x"))
    assert (before, server.pending) == (False, True)
    assert len(server.take()) > 200  # two tickets and a record


@pytest.mark.parametrize("newest", NEWEST)
def test_what_came_before_an_error_is_whole_and_the_error_stays(newest: ssl.TLSVersion) -> None:
    client, server = engines(newest)
    client.encrypt(memoryview(b"whole"))
    server.feed(client.take())
    server.feed(b"\x17\x03\x03\x00\x20" + b"?" * 32)
    assert server.decrypt(100) == b"whole"
    for _ in range(3):
        with pytest.raises(ssl.SSLError):
            server.decrypt(100)
    assert server.take() != b""  # the alert


def test_an_end_without_close_notify_is_an_error() -> None:
    client, server = engines(ssl.TLSVersion.TLSv1_3)
    client.encrypt(memoryview(b"whole"))
    server.feed(client.take())
    server.feed(b"")
    assert server.decrypt(100) == b"whole"
    with pytest.raises(ssl.SSLEOFError):
        server.decrypt(100)


def test_plain_bytes_can_be_put_back() -> None:
    client, server = engines(ssl.TLSVersion.TLSv1_3)
    client.encrypt(memoryview(b"abcdef"))
    server.feed(client.take())
    first = server.decrypt(4)
    assert first == b"abcd"
    server.put_back(first)
    assert server.decrypt(3) == b"abc"
    assert read_all(server) == b"def"


def test_certificates_are_known_only_as_far_as_verified() -> None:
    client, server = engines(ssl.TLSVersion.TLSv1_3)
    assert "subjectAltName" in (client.certificate() or {})
    assert server.certificate() is None


def test_what_cannot_be_used_is_refused_at_once() -> None:
    with pytest.raises(ssl.SSLError):
        TlsEngine(client_context(), server_side=True, server_hostname=None)
    with pytest.raises(ValueError, match="server_hostname"):
        TlsEngine(client_context(), server_side=False, server_hostname="")
