"""TLS over any stream: verified by default, half-closed by close_notify, and never waiting for the peer to close."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import trio
import trio.testing

from tests.certificates import client_context, server_context
from tests.sockets import tcp_pair
from trio_mcp_transport.errors import ConfigError, ConnectionFailed
from trio_mcp_transport.testing import byte_stream_pair
from trio_mcp_transport.testing.cancel import CancelRegion, cancel_at_every_checkpoint
from trio_mcp_transport.transports.secure import CLOSE_GRACE, SecureStream

NEWEST = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def pair_over(
    client: Any, server: Any, *, ours: ssl.SSLContext | None = None, theirs: ssl.SSLContext | None = None
) -> tuple[SecureStream, SecureStream]:
    near = SecureStream(client, ssl_context=ours or client_context(), server_hostname="localhost")
    return near, SecureStream(server, ssl_context=theirs or server_context(), server_side=True)


async def shaken(near: SecureStream, far: SecureStream) -> tuple[SecureStream, SecureStream]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.do_handshake)
        nursery.start_soon(far.do_handshake)
    return near, far


async def failures(near: SecureStream, far: SecureStream) -> dict[str, ConnectionFailed]:
    """Return how the handshakes of both sides failed, the failed one closed as its owner would."""
    found: dict[str, ConnectionFailed] = {}

    async def shake(name: str, stream: SecureStream) -> None:
        try:
            await stream.do_handshake()
            await stream.receive_some()
        except ConnectionFailed as error:
            found[name] = error
        except trio.BrokenResourceError as error:
            found[name] = ConnectionFailed(str(error))
        await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake, "client", near)
        nursery.start_soon(shake, "server", far)
    return found


@pytest.mark.parametrize("newest", NEWEST)
@pytest.mark.parametrize("below", ["memory", "bounded"])
async def test_it_keeps_the_half_closeable_contract_of_trio(
    below: str, newest: ssl.TLSVersion, autojump_clock: trio.testing.MockClock
) -> None:
    theirs = server_context(newest=newest)

    async def make() -> tuple[SecureStream, SecureStream]:
        pair: Any = trio.testing.memory_stream_pair() if below == "memory" else byte_stream_pair(1000)
        return await shaken(*pair_over(*pair, theirs=theirs))

    async def make_clogged() -> tuple[SecureStream, SecureStream]:
        # A stream in lockstep holds nothing, so it is clogged until somebody reads.
        return await shaken(*pair_over(*trio.testing.lockstep_stream_pair(), theirs=theirs))

    await trio.testing.check_half_closeable_stream(make, make_clogged)


async def test_it_keeps_the_contract_over_sockets() -> None:
    async def make() -> tuple[SecureStream, SecureStream]:
        return await shaken(*pair_over(*tcp_pair()))

    await trio.testing.check_half_closeable_stream(make, None)


async def test_the_first_call_that_needs_the_handshake_makes_it() -> None:
    near, far = pair_over(*trio.testing.memory_stream_pair())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, b"hello")
        assert await far.receive_some() == b"hello"
    assert near.peer_certificate() is not None


@pytest.mark.parametrize("newest", NEWEST)
async def test_the_answer_to_a_half_closed_peer_arrives(newest: ssl.TLSVersion) -> None:
    near, far = await shaken(*pair_over(*tcp_pair(), theirs=server_context(newest=newest)))
    answer = b"y" * 300_000
    async with near, far, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def serve() -> None:
            received = b""
            while data := await far.receive_some():
                received += data
            assert received == b"question"
            await far.send_all(answer)
            await far.send_eof()

        # Something of the answer, cut anywhere, may be here already when the writing ends.
        await near.send_all(b"question")
        await near.send_eof()
        with pytest.raises(trio.ClosedResourceError):
            await near.send_all(b"more")
        received = b""
        while data := await near.receive_some():
            received += data
        assert received == answer


@pytest.mark.parametrize("newest", NEWEST)
@pytest.mark.parametrize("cut", [1, 50, 20_000, 25_000])
async def test_ending_the_writing_throws_away_nothing_that_was_received(cut: int, newest: ssl.TLSVersion) -> None:
    near_below, far_below = trio.testing.memory_stream_pair()
    near, far = await shaken(*pair_over(near_below, far_below, theirs=server_context(newest=newest)))
    answer = bytes(range(256)) * 100
    await far.send_all(answer)
    arrived = bytes(await near_below.receive_some())
    near_below.receive_stream.put_data(arrived[: len(arrived) - len(answer) + cut])
    received = b"" if cut < 100 else await near.receive_some(1)
    # The beginning of a record, or one record and a piece of the next, are here now; the rest is not.
    with trio.move_on_after(0):
        received += await near.receive_some(1)
    await near.send_eof()
    near_below.receive_stream.put_data(arrived[len(arrived) - len(answer) + cut :])
    while len(received) < len(answer):
        received += await near.receive_some()
    assert received == answer
    await far.send_eof()
    assert await near.receive_some() == b""


async def test_the_authorities_of_the_system_are_what_a_client_trusts() -> None:
    near_below, far_below = trio.testing.memory_stream_pair()
    near = SecureStream(near_below, server_hostname="localhost")
    far = SecureStream(far_below, ssl_context=server_context(), server_side=True)
    found = await failures(near, far)
    assert "the certificate of localhost is not accepted" in str(found["client"])
    assert isinstance(found["client"].__cause__, ssl.SSLCertVerificationError)
    # The server is told why, and is not left with a bare end of the stream.
    assert "does not trust the authority behind this side's certificate" in str(found["server"])


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ({"trusts": "others"}, {}, "not accepted: .*(self-signed|self signed|unable to get)"),
        ({}, {"names": ["elsewhere.example"]}, "not accepted: Hostname mismatch"),
    ],
)
async def test_a_certificate_that_is_not_right_is_one_typed_error(
    ours: dict[str, Any], theirs: dict[str, Any], message: str
) -> None:
    theirs_context = server_context(*theirs.pop("names", ()), **theirs)
    near, far = pair_over(*trio.testing.memory_stream_pair(), ours=client_context(**ours), theirs=theirs_context)
    found = await failures(near, far)
    with pytest.raises(ConnectionFailed, match=message):
        raise found["client"]


@pytest.mark.parametrize("newest", NEWEST)
async def test_a_server_may_demand_a_certificate(newest: ssl.TLSVersion) -> None:
    theirs = server_context(demand="tests", newest=newest)
    near, far = pair_over(
        *trio.testing.memory_stream_pair(), ours=client_context(shows="client.example"), theirs=theirs
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.do_handshake)
        nursery.start_soon(far.do_handshake)
    certificate: Any = far.peer_certificate()
    assert ("DNS", "client.example") in certificate["subjectAltName"]

    for ours, theirs_say, ours_say in (
        (client_context(), "showed no certificate", "demands a certificate|alert|handshake failure"),
        (client_context(shows="x.example", issued_by="others"), "not accepted", "does not trust the authority"),
    ):
        found = await failures(*pair_over(*trio.testing.memory_stream_pair(), ours=ours, theirs=theirs))
        with pytest.raises(ConnectionFailed, match=theirs_say):
            raise found["server"]
        with pytest.raises(ConnectionFailed, match=ours_say + "|unknown ca"):
            raise found["client"]


async def test_verification_is_switched_off_only_by_name_and_with_a_warning() -> None:
    near_below, far_below = trio.testing.memory_stream_pair()
    with pytest.warns(UserWarning, match="without verification"):
        near = SecureStream(near_below, verify=False)
    far = SecureStream(far_below, ssl_context=server_context(), server_side=True)
    await shaken(near, far)
    assert near.peer_certificate() is None  # one that was not verified says nothing
    with pytest.raises(ConfigError, match="verify=False"):
        SecureStream(near_below, ssl_context=client_context(), verify=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "server_hostname is needed"),
        ({"server_hostname": ""}, "server_hostname is needed"),
        ({"server_side": True}, "ssl_context"),
        ({"server_side": True, "ssl_context": "server", "verify": False}, "ssl_context"),
        ({"server_hostname": "x" * 300}, "cannot be used"),
        ({"server_side": True, "ssl_context": "client"}, "cannot be used"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    contexts = {"server": server_context(), "client": client_context()}
    if "ssl_context" in arguments:
        arguments = {**arguments, "ssl_context": contexts[arguments["ssl_context"]]}
    with pytest.raises(ConfigError, match=message):
        SecureStream(trio.testing.memory_stream_pair()[0], **arguments)


async def test_an_end_without_close_notify_is_a_broken_stream() -> None:
    near_below, far_below = trio.testing.memory_stream_pair()
    near, far = await shaken(*pair_over(near_below, far_below))
    await far.send_all(b"whole")
    await far_below.aclose()
    assert await near.receive_some() == b"whole"
    with pytest.raises(trio.BrokenResourceError, match="without close_notify"):
        await near.receive_some()


async def test_bytes_that_are_no_record_break_the_stream_and_the_peer_is_told() -> None:
    near_below, far_below = trio.testing.memory_stream_pair()
    near, far = await shaken(*pair_over(near_below, far_below))
    await far.send_all(b"whole")
    await far_below.send_all(b"\x17\x03\x03\x00\x20" + b"?" * 32)
    assert await near.receive_some() == b"whole"
    with pytest.raises(trio.BrokenResourceError, match="TLS failed") as caught:
        await near.receive_some()
    assert isinstance(caught.value.__cause__, ssl.SSLError)
    with pytest.raises(trio.BrokenResourceError):
        await near.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError, match=r"(?i)bad.record.mac"):
        await far.receive_some()


async def test_a_peer_that_speaks_something_else_is_named() -> None:
    near_below, far_below = trio.testing.memory_stream_pair()
    far = SecureStream(far_below, ssl_context=server_context(), server_side=True)
    await near_below.send_all(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ConnectionFailed, match="does not speak TLS but HTTP"):
        await far.do_handshake()
    near_below, far_below = trio.testing.memory_stream_pair()
    near = SecureStream(near_below, ssl_context=client_context(), server_hostname="localhost")
    await far_below.send_all(b'{"jsonrpc": "2.0"}\n')
    with pytest.raises(ConnectionFailed, match="does not speak TLS"):
        await near.do_handshake()
    await far_below.aclose()


async def test_a_peer_that_leaves_during_the_handshake_is_named() -> None:
    near_below, far_below = trio.testing.memory_stream_pair()
    near = SecureStream(near_below, ssl_context=client_context(), server_hostname="localhost")
    await far_below.send_eof()
    with pytest.raises(ConnectionFailed, match="the peer ended the connection"):
        await near.do_handshake()
    with pytest.raises(trio.BrokenResourceError, match="handshake was not finished"):
        await near.do_handshake()


async def test_closing_sends_close_notify_and_waits_for_nobody() -> None:
    for below in (trio.testing.memory_stream_pair, tcp_pair):
        near, far = await shaken(*pair_over(*below()))
        with trio.fail_after(5):
            await near.aclose()
            await near.aclose()
            assert await far.receive_some() == b""
            await far.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await near.send_all(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await near.receive_some()


async def test_closed_forcefully_it_says_so_too() -> None:
    near, far = await shaken(*pair_over(*tcp_pair()))
    await trio.aclose_forcefully(near)
    assert await far.receive_some() == b""
    await trio.aclose_forcefully(far)


async def test_closing_against_a_peer_that_reads_nothing_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    near_below, far_below = byte_stream_pair(5000)
    near, far = await shaken(*pair_over(near_below, far_below))
    while len(near_below._outgoing.buffer) < 5000:
        await near_below.send_all(b"x")
    before = trio.current_time()
    await trio.aclose_forcefully(near)
    assert trio.current_time() - before == pytest.approx(CLOSE_GRACE)
    await trio.aclose_forcefully(far)


async def test_nothing_follows_a_torn_record() -> None:
    near_below, far_below = byte_stream_pair(5000)
    near, far = await shaken(*pair_over(near_below, far_below))
    with trio.move_on_after(0.05) as scope:
        await near.send_all(b"x" * 100_000)
    assert scope.cancelled_caught
    for call in (lambda: near.send_all(b"more"), near.send_eof):
        with pytest.raises(trio.BrokenResourceError, match="half a record"):
            await call()
    await near.aclose()
    await far.aclose()


async def test_nothing_follows_a_send_that_was_cancelled_while_another_task_was_writing() -> None:
    near, far = await shaken(*pair_over(*byte_stream_pair(200_000)))
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            # What a receiver does that answers a key update: it sends, and then whatever else was encrypted meanwhile.
            async with near._flushing:
                await trio.sleep(0.1)
            await near._flush()

        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.05) as scope:
            await near.send_all(b"x" * 100_000)
        assert scope.cancelled_caught
    for call in (lambda: near.send_all(b"more"), near.send_eof):
        with pytest.raises(trio.BrokenResourceError, match="half a record"):
            await call()
    await near.aclose()
    await far.aclose()


async def test_an_end_that_was_cut_off_is_not_repeated_in_silence() -> None:
    near, far = await shaken(*pair_over(*byte_stream_pair(1500)))
    await near.send_all(b"x" * 1478)  # There is no room left for another record.
    with trio.move_on_after(0.05) as scope:
        await near.send_eof()
    assert scope.cancelled_caught
    with pytest.raises(trio.BrokenResourceError, match="half a record"):
        await near.send_eof()
    await near.aclose()
    await far.aclose()


async def test_both_directions_at_once_and_a_key_update_in_between() -> None:
    near, far = await shaken(*pair_over(*byte_stream_pair(3000)))
    data = bytes(range(256)) * 2000

    async def send(stream: SecureStream) -> None:
        await stream.send_all(data)
        await stream.send_eof()

    async def receive(stream: SecureStream) -> None:
        received = bytearray()
        while chunk := await stream.receive_some():
            received += chunk
        assert received == data

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for stream in (near, far):
                nursery.start_soon(send, stream)
                nursery.start_soon(receive, stream)


def test_cancelled_anywhere_it_leaves_the_stream_below_closed() -> None:
    async def scenario(region: CancelRegion) -> None:
        # Smaller than the session tickets of a server, two sides that both write first would wait for each other.
        below = byte_stream_pair(1500)
        near, far = pair_over(*below)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def echo() -> None:
                try:
                    while data := await far.receive_some():
                        await far.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError, ConnectionFailed):
                    pass
                await trio.aclose_forcefully(far)

            try:
                with region:
                    await near.send_all(b"x" * 4000)
                    received = b""
                    while len(received) < 4000:
                        received += await near.receive_some()
                    await near.send_eof()
                    assert await near.receive_some() == b""
            finally:
                await trio.aclose_forcefully(near)
        assert below[0]._outgoing.sender_closed and below[1]._outgoing.sender_closed

    assert cancel_at_every_checkpoint(scenario, within=0) > 20
