"""What every connection of a socket server gets: TLS in time, guards, a cap, and an end that waits for answers."""

from __future__ import annotations

import logging
import os
import resource
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.certificates import client_context, server_context
from tests.served import Slow
from tests.socket_servers import FAMILIES, client_of, connect_raw, serving
from tests.sockets import reset
from tests.support import modern_request
from trio_mcp_transport import Handlers, Limits, RpcError, open_client, serve
from trio_mcp_transport.errors import ConfigError, ConnectionFailed, LocalProtocolError, RemoteProtocolError
from trio_mcp_transport.transports.socket_service import SocketService
from trio_mcp_transport.transports.tcp import TcpServerTransport
from trio_mcp_transport.transports.unix import UnixServerTransport

Transport = TcpServerTransport | UnixServerTransport


@pytest.fixture(params=FAMILIES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return a function that makes a server transport of the family."""

    def make_one(**options: Any) -> Transport:
        return (
            TcpServerTransport(**options) if request.param == "tcp" else UnixServerTransport(tmp_path / "s", **options)
        )

    return make_one


async def until(condition: Any) -> None:
    """Wait for what another task of this process is about to do."""
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110  # there is no event: the kernel is between the two
            await trio.sleep(0.001)


async def test_a_client_that_ends_its_writing_gets_every_answer(make: Any) -> None:
    async with serving(make()) as server:
        wire = await connect_raw(server.address)
        for number in range(300):
            await wire.send_line(modern_request(number, params={"n": number}))
        await wire.end()
        answers = await wire.receive_rest()
        assert sorted(answer["result"]["n"] for answer in answers) == list(range(300))
        await wire.stream.aclose()


async def test_connections_at_the_cap_below_and_above(make: Any) -> None:
    async with serving(make(max_connections=3)) as server:
        wires = [await connect_raw(server.address) for _ in range(3)]
        for wire in wires:
            assert (await wire.ask(modern_request(1)))["id"] == 1
        for _ in range(3):
            refused = await connect_raw(server.address)
            with trio.fail_after(5):
                assert await refused.stream.receive_some() == b""
            await refused.stream.aclose()
        statistics = server.transport.statistics()
        assert (statistics.connection_count, statistics.refused) == (3, 3)
        for wire in wires:
            assert (await wire.ask(modern_request(2)))["id"] == 2
        await wires.pop().stream.aclose()

        await until(lambda: len(server.transport._service.metrics._loads) == 2)
        wires.append(await connect_raw(server.address))
        assert (await wires[-1].ask(modern_request(3)))["id"] == 3
        for wire in wires:
            await wire.stream.aclose()


@pytest.mark.parametrize("first", [b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET ", b"\x16\x03\x01\x00\x05"])
async def test_a_web_page_gets_nothing_from_a_raw_port(make: Any, first: bytes) -> None:
    handler = Slow()
    handler.release.set()
    async with serving(make(), handler) as server:
        wire = await connect_raw(server.address)
        await wire.send_bytes(first + b'{"jsonrpc": "2.0", "method": "quick", "id": 1}\n')
        with trio.fail_after(5):
            with suppress(trio.BrokenResourceError):  # A reset is as good: what was sent was never read.
                assert await wire.stream.receive_some() == b""
        await until(lambda: handler.closed)
        assert handler.began == []
        assert [type(error) for error in handler.errors] == [RemoteProtocolError]
        await wire.stream.aclose()


async def test_over_tls_a_web_page_gets_nothing_either(make: Any) -> None:
    handler = Slow()
    async with serving(make(ssl_context=server_context()), handler) as server:
        transport = client_of(server.address, ssl_context=client_context(), server_hostname="localhost")
        stream, _ = await transport._open(5, [])
        await stream.send_all(b"POST / HTTP/1.1\r\n\r\n" + b'{"jsonrpc": "2.0", "method": "quick", "id": 1}\n')
        await until(lambda: handler.closed)
        assert handler.began == []
        await trio.aclose_forcefully(stream)


async def test_a_slow_tls_handshake_ends_at_its_deadline_and_hinders_nobody(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with serving(make(ssl_context=server_context(), handshake_deadline=0.2)) as server:
            slow = [await connect_raw(server.address) for _ in range(20)]
            for wire in slow:
                await wire.send_bytes(b"\x16\x03\x01")
            transport = client_of(server.address, ssl_context=client_context(), server_hostname="localhost")
            with trio.fail_after(5):
                async with open_client(transport) as client:
                    assert (await client.request("x", {"n": 1}))["n"] == 1
                for wire in slow:
                    assert await wire.stream.receive_some() == b""
                    await wire.stream.aclose()
            assert server.transport.statistics().errors == 20
    assert len([record for record in caplog.records if "handshake deadline of 0.2 s" in record.message]) == 20


async def test_what_is_no_tls_ends_alone(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with serving(make(ssl_context=server_context())) as server:
            for first in (b"GET / HTTP/1.1\r\n\r\n", b"{}\n" * 100, b"\0" * 100):
                wire = await connect_raw(server.address)
                await wire.send_bytes(first)
                with trio.fail_after(5):
                    with suppress(trio.BrokenResourceError):  # a reset
                        while await wire.stream.receive_some():
                            pass
                await wire.stream.aclose()
            await until(lambda: server.transport.statistics().errors == 3)
    assert [record.message for record in caplog.records if "TLS but HTTP" in record.message]


async def test_a_shutdown_waits_for_no_handshake_but_for_answers(make: Any) -> None:
    handler = Slow()
    async with serving(make(ssl_context=server_context()), handler) as server:
        idle = await connect_raw(server.address)
        transport = client_of(server.address, ssl_context=client_context(), server_hostname="localhost")
        async with open_client(transport) as client, trio.open_nursery() as nursery:
            nursery.start_soon(client.request, "slow")
            await until(lambda: handler.began)
            server.shutdown.set()
            with trio.fail_after(2):
                assert await idle.stream.receive_some() == b""
            with pytest.raises(ConnectionFailed, match="cannot connect"):
                await open_client(client_of(server.address, ssl_context=client_context())).__aenter__()
            assert not server.ended.is_set()
            handler.release.set()
        with trio.fail_after(2):
            await server.ended.wait()
        await idle.stream.aclose()


async def test_cancelled_it_ends_at_once_whatever_its_connections_do(make: Any) -> None:
    handler = Slow()
    async with serving(make(), handler) as server:
        wires = [await connect_raw(server.address) for _ in range(5)]
        for wire in wires:
            await wire.send_line(modern_request(1, "slow"))
        await until(lambda: len(handler.began) == 5)
        before = trio.current_time()
    assert trio.current_time() - before < 1
    for wire in wires:
        with trio.fail_after(5):
            assert await wire.stream.receive_some() == b""
        await wire.stream.aclose()


async def test_a_peer_that_resets_in_the_middle_of_a_message_ends_alone(make: Any) -> None:
    handler = Slow()
    handler.release.set()
    async with serving(make(), handler) as server:
        good = await connect_raw(server.address)
        for _ in range(20):
            wire = await connect_raw(server.address)
            await wire.send_bytes(b'{"jsonrpc": "2.0", "id": 1, "meth')
            stream: Any = wire.stream
            reset(stream)
        await until(lambda: handler.closed == 20)
        assert "result" in await good.ask(modern_request(1))
        await good.stream.aclose()


async def test_a_peer_that_reads_nothing_is_given_up_alone(make: Any) -> None:
    async def large(request: Any, context: Any) -> Any:
        return {"text": "x" * 3_000_000}

    async with serving(make(), large, limits=Limits(write_deadline=0.2)) as server:
        stuck = await connect_raw(server.address)
        for number in range(20):
            await stuck.send_line(modern_request(number))
        await until(lambda: server.transport.statistics().errors == 1)
        good = await connect_raw(server.address)
        assert "result" in await good.ask(modern_request(1))
        await good.stream.aclose()
        await stuck.stream.aclose()


async def test_a_server_that_runs_out_of_descriptors_goes_on_when_it_has_some_again(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(make()) as server:
        old = await connect_raw(server.address)
        await old.ask(modern_request(1))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))  # one for the client's own end
        try:
            new = await connect_raw(server.address)
            await until(lambda: "cannot accept connections" in caplog.text)
            assert (await old.ask(modern_request(2)))["id"] == 2
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (await new.ask(modern_request(3)))["id"] == 3
        for wire in (old, new):
            await wire.stream.aclose()


async def test_two_hundred_thousand_empty_lines_are_nothing(make: Any) -> None:
    async with serving(make()) as server:
        wire = await connect_raw(server.address)
        with trio.fail_after(10):
            await wire.send_bytes(b"\n" * 200_000)
            assert (await wire.ask(modern_request(7)))["id"] == 7
        assert server.transport.statistics().messages_received == 1
        await wire.stream.aclose()


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(make: Any) -> None:
    handler = Slow()
    async with serving(make(idle_deadline=0.1), handler) as server:
        busy, idle = await connect_raw(server.address), await connect_raw(server.address)
        await busy.send_line(modern_request(1, "slow"))
        with trio.fail_after(5):
            assert await idle.stream.receive_some() == b""
        await trio.sleep(0.3)
        handler.release.set()
        assert "result" in await busy.receive()
        with trio.fail_after(5):
            assert await busy.stream.receive_some() == b""
        for wire in (busy, idle):
            await wire.stream.aclose()


async def test_the_certificate_of_the_client_is_in_the_context(make: Any) -> None:
    async def who(request: Any, context: Any) -> Any:
        names = context.peer.certificate["subjectAltName"]
        return {"names": [list(name) for name in names]}

    context = server_context(demand="tests")
    async with serving(make(ssl_context=context), who) as server:
        ours = client_context(shows="alice.example")
        async with open_client(client_of(server.address, ssl_context=ours, server_hostname="localhost")) as client:
            assert (await client.request("x"))["names"] == [["DNS", "alice.example"]]
        anonymous = client_of(server.address, ssl_context=client_context(), server_hostname="localhost")
        with pytest.raises(ConnectionFailed, match=r"(?i)certificate.required|reset|ended|broken pipe"):
            async with open_client(anonymous):
                pass


async def test_a_transport_runs_once(make: Any) -> None:
    transport = make()
    async with serving(transport):
        pass
    with pytest.raises(LocalProtocolError, match="runs once"):
        await serve(Handlers(), transport)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"framing": "lines"}, "framing"),
        ({"max_connections": 0}, "max_connections"),
        ({"idle_deadline": 0}, "idle_deadline"),
        ({"handshake_deadline": -1}, "handshake_deadline"),
        ({"handshake_deadline": None}, "handshake_deadline"),
        ({"ssl_context": "certificate.pem"}, "ssl_context"),
    ],
)
def test_options_that_cannot_be_used_are_refused_at_once(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


async def test_errors_of_a_handler_are_answers(make: Any) -> None:
    async def refuse(request: Any, context: Any) -> Any:
        raise RpcError(5, "no")

    async with serving(make(), refuse) as server, open_client(client_of(server.address)) as client:
        with pytest.raises(RpcError, match="no"):
            await client.request("x")


def test_a_service_begins_unused_and_counts_nothing() -> None:
    service = SocketService(
        transport="tcp",
        framing="newline",
        ssl_context=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        max_connections=1,
        idle_deadline=None,
        handshake_deadline=1.0,
    )
    assert service.suffix == ""
    assert service.statistics().connection_count == 0
    service.use_once()
    with pytest.raises(LocalProtocolError):
        service.use_once()
