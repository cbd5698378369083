"""A client of a socket: connected in time or told why not, with one typed error and no socket left."""

from __future__ import annotations

import math
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.certificates import client_context, server_context
from tests.socket_servers import FAMILIES, client_of, serving
from trio_mcp_transport import Deadlines, Handlers, ServerInfo, open_client, serve
from trio_mcp_transport.deadlines import DeadlineExceeded
from trio_mcp_transport.errors import ConfigError, ConnectionFailed, TransportError
from trio_mcp_transport.testing import CancelRegion, Footprint, cancel_at_every_checkpoint
from trio_mcp_transport.transports.socket_client import SocketClientTransport
from trio_mcp_transport.transports.socketstream import SocketStream
from trio_mcp_transport.transports.tcp import TcpServerTransport
from trio_mcp_transport.transports.unix import UnixServerTransport


class Connecting(SocketClientTransport):
    """Connects as a test says."""

    _transport = "test"
    address = "test:"

    def __init__(self, connect: Any, ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__("newline", ssl_context, "localhost")
        self._how = connect

    async def _connect(self) -> SocketStream:
        found: SocketStream = await self._how()
        return found


async def opening(transport: Any, **options: Any) -> TransportError:
    """Return the error a client is not opened with."""
    with pytest.raises(TransportError) as caught:
        async with open_client(transport, **options):
            pass
    return caught.value


@pytest.fixture(params=FAMILIES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return a function that makes a server transport of the family."""

    def make_one(**options: Any) -> Any:
        return (
            TcpServerTransport(**options) if request.param == "tcp" else UnixServerTransport(tmp_path / "s", **options)
        )

    return make_one


async def test_every_reason_of_several_addresses_is_in_the_message() -> None:
    async def connect() -> Any:
        causes = [OSError(111, "Connection refused"), OSError(101, "unreachable"), OSError(111, "Connection refused")]
        raise OSError("all attempts failed") from ExceptionGroup("", causes)

    error = await opening(Connecting(connect))
    assert str(error) == "cannot connect to test:: [Errno 111] Connection refused; [Errno 101] unreachable"
    assert str(error.__cause__) == "all attempts failed"


@pytest.mark.parametrize("security", ["plain", "tls"])
async def test_whoever_does_not_answer_in_time_is_given_up(
    security: str, autojump_clock: trio.testing.MockClock
) -> None:
    left, right = socket.socketpair()

    async def connect() -> SocketStream:
        if security == "plain":
            await trio.sleep_forever()
        return SocketStream(left)

    transport = Connecting(connect, client_context() if security == "tls" else None)
    error = await opening(transport, deadlines=Deadlines(connect=3.0))
    assert isinstance(error, DeadlineExceeded)
    assert (error.deadline, error.seconds) == ("connect", 3.0)
    assert trio.current_time() == 3
    assert left.fileno() == -1 or security == "plain"
    left.close()
    right.close()


async def test_without_a_deadline_it_waits(autojump_clock: trio.testing.MockClock) -> None:
    async def connect() -> SocketStream:
        await trio.sleep(80_000)
        raise OSError("late")

    assert "late" in str(await opening(Connecting(connect), deadlines=Deadlines(connect=None)))
    assert trio.current_time() >= 80_000
    assert trio.current_effective_deadline() == math.inf


async def test_a_certificate_of_an_unknown_authority_is_one_typed_error(make: Any) -> None:
    async with serving(make(ssl_context=server_context())) as server:
        before = Footprint.take()
        others = client_of(server.address, ssl_context=client_context(trusts="others"), server_hostname="localhost")
        error = await opening(others)
        assert type(error) is ConnectionFailed
        assert str(error).startswith(
            f"cannot connect to {others.address}: the certificate of localhost is not accepted"
        )
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
        system = client_of(server.address, tls=True, server_hostname="localhost")
        assert "not accepted" in str(await opening(system))
        wrong = client_of(server.address, ssl_context=client_context(), server_hostname="elsewhere.example")
        assert "elsewhere.example" in str(await opening(wrong))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert before.left_by(Footprint.take()) == []


async def test_with_the_custom_authority_it_connects_and_knows_the_server(make: Any) -> None:
    seen: list[Any] = []

    async def who(request: Any, context: Any) -> Any:
        return {}

    async def on_close(context: Any) -> None:
        seen.append(context.peer)

    async with serving(make(ssl_context=server_context()), who) as server:
        transport = client_of(server.address, ssl_context=client_context(), server_hostname="localhost")
        async with open_client(transport, handler=Handlers(close=on_close)) as client:
            await client.request("x")
    (peer,) = seen
    assert ("DNS", "localhost") in peer.certificate["subjectAltName"]
    assert peer.address == transport.address


async def test_without_verification_it_connects_with_a_warning(make: Any) -> None:
    async with serving(make(ssl_context=server_context("elsewhere.example", issued_by="others"))) as server:
        with pytest.warns(UserWarning, match="without verification"):
            transport = client_of(server.address, verify=False)
        async with open_client(transport) as client:
            assert (await client.request("x", {"n": 1}))["n"] == 1
        with pytest.raises(ConfigError):
            client_of(server.address, ssl_context=client_context(), verify=False)


async def test_tls_to_a_plain_port_and_plain_to_a_tls_port_are_named(make: Any) -> None:
    async with serving(make()) as server:
        plain = server.address.replace("tcp:", "tls:")
        error = await opening(client_of(plain, ssl_context=client_context(), server_hostname="localhost"))
        assert type(error) is ConnectionFailed
        assert "TLS handshake" in str(error)
    async with serving(make(ssl_context=server_context())) as server:
        error = await opening(client_of(server.address.replace("tls:", "tcp:")))
        assert isinstance(error, ConnectionFailed)


async def test_one_transport_opens_one_client_after_another(make: Any) -> None:
    async with serving(make()) as server:
        transport = client_of(server.address)
        for number in range(3):
            async with open_client(transport) as client:
                assert (await client.request("x", {"n": number}))["n"] == number
        assert transport.statistics().connection_count == 3


async def test_a_server_name_without_tls_is_refused(make: Any) -> None:
    async with serving(make()) as server:
        with pytest.raises(ConfigError, match="tls=True"):
            client_of(server.address, server_hostname="localhost")


@pytest.mark.parametrize("security", ["plain", "tls"])
def test_cancelled_anywhere_it_leaves_nothing(security: str) -> None:
    """The server is in the same run, so that every order of the two sides' steps is among the points."""
    theirs = server_context() if security == "tls" else None
    ours = client_context() if security == "tls" else None

    async def scenario(region: CancelRegion) -> None:
        async with trio.open_nursery() as nursery:
            (address,) = await nursery.start(serving_one, theirs)
            with region:
                async with open_client(client_of(address, ssl_context=ours), era="modern", discover=False) as client:
                    assert (await client.request("x", {"n": 1}))["n"] == 1
            nursery.cancel_scope.cancel()

    async def serving_one(theirs: Any, *, task_status: Any) -> None:
        async def echo(request: Any, context: Any) -> Any:
            return {"n": request.params["n"]}

        transport = TcpServerTransport(ssl_context=theirs)
        await serve(Handlers(echo), transport, server_info=ServerInfo("s", "1"), task_status=task_status)

    assert cancel_at_every_checkpoint(scenario, real_clock=True, limit=2000, dense=30, stride=3) > 10
