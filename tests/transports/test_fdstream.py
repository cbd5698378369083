"""Trio streams over file descriptors: every kind of file, every way to end, and no flag left behind."""

from __future__ import annotations

import os
import pty
import socket
import stat
import tty
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_mcp_transport.transports.fdstream import FdPair, FdReceiveStream, FdSendStream


def pipe_streams() -> tuple[FdSendStream, FdReceiveStream]:
    reader, writer = os.pipe()
    return FdSendStream(writer), FdReceiveStream(reader)


async def make_pipe() -> tuple[FdSendStream, FdReceiveStream]:
    return pipe_streams()


async def make_clogged_pipe() -> tuple[FdSendStream, FdReceiveStream]:
    send, receive = pipe_streams()
    clog(send)
    return send, receive


def clog(send: FdSendStream) -> None:
    try:
        while True:
            os.write(send.fileno(), b"x" * 65536)
    except BlockingIOError:
        pass


def socket_streams() -> tuple[FdSendStream, FdReceiveStream]:
    left, right = socket.socketpair()
    return FdSendStream(left.detach()), FdReceiveStream(right.detach())


async def make_sockets() -> tuple[FdSendStream, FdReceiveStream]:
    return socket_streams()


async def make_clogged_sockets() -> tuple[FdSendStream, FdReceiveStream]:
    left, right = socket.socketpair()
    left.setblocking(False)
    try:
        while True:
            left.send(b"x" * 65536)
    except BlockingIOError:
        left.setblocking(True)
    return FdSendStream(left.detach()), FdReceiveStream(right.detach())


async def test_pipes_keep_the_stream_contract_of_trio() -> None:
    await trio.testing.check_one_way_stream(make_pipe, make_clogged_pipe)


async def test_sockets_keep_the_stream_contract_of_trio() -> None:
    await trio.testing.check_one_way_stream(make_sockets, make_clogged_sockets)


async def test_pairs_over_pipes_keep_the_half_closeable_contract_of_trio() -> None:
    async def make() -> tuple[FdPair, FdPair]:
        (s1, r1), (s2, r2) = pipe_streams(), pipe_streams()
        return FdPair(s1, r2), FdPair(s2, r1)

    async def make_clogged() -> tuple[FdPair, FdPair]:
        left, right = await make()
        clog(left.send_stream)
        clog(right.send_stream)
        return left, right

    await trio.testing.check_half_closeable_stream(make, make_clogged)


async def test_one_socket_as_both_halves_keeps_the_half_closeable_contract_of_trio() -> None:
    def pair(end: socket.socket) -> FdPair:
        fd = end.detach()
        return FdPair(FdSendStream(os.dup(fd)), FdReceiveStream(fd))

    async def make() -> tuple[FdPair, FdPair]:
        left, right = socket.socketpair()
        return pair(left), pair(right)

    await trio.testing.check_half_closeable_stream(make, None)


async def test_regular_files_read_to_the_end_and_are_never_made_nonblocking(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    write_fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    watch_fd = os.dup(write_fd)
    async with FdSendStream(write_fd) as send:
        with trio.testing.assert_checkpoints():
            await send.send_all(b"a" * 200_000)
        with trio.testing.assert_checkpoints():
            await send.wait_send_all_might_not_block()
        assert os.get_blocking(watch_fd)
    os.close(watch_fd)
    async with FdReceiveStream(os.open(path, os.O_RDONLY)) as receive:
        chunks = []
        with trio.testing.assert_checkpoints():
            chunks.append(await receive.receive_some())
        assert os.get_blocking(receive.fileno())
        while chunk := await receive.receive_some():
            chunks.append(chunk)
        assert len(chunks[0]) == 65536
        assert b"".join(chunks) == b"a" * 200_000


async def test_dev_null_is_at_its_end_at_once_and_takes_everything() -> None:
    async with FdReceiveStream(os.open(os.devnull, os.O_RDONLY)) as receive:
        with trio.testing.assert_checkpoints():
            assert await receive.receive_some() == b""
        assert os.get_blocking(receive.fileno())
    async with FdSendStream(os.open(os.devnull, os.O_WRONLY)) as send:
        with trio.testing.assert_checkpoints():
            await send.send_all(b"x" * 1_000_000)
        await send.wait_send_all_might_not_block()


async def test_terminals_work_both_ways_and_a_hang_up_is_the_end_of_input() -> None:
    master_fd, slave_fd = pty.openpty()
    tty.setraw(slave_fd)
    keep = os.dup(slave_fd)
    master = FdPair(FdSendStream(os.dup(master_fd), restore_flags=False), FdReceiveStream(master_fd))
    slave = FdPair(FdSendStream(os.dup(slave_fd), restore_flags=False), FdReceiveStream(slave_fd))
    await master.send_all(b"ping\n")
    assert await slave.receive_some() == b"ping\n"
    await slave.send_all(b"pong\n")
    assert await master.receive_some() == b"pong\n"
    await slave.aclose()
    os.close(keep)
    assert await master.receive_some() == b""  # EIO, on Linux
    await master.aclose()


async def test_a_terminal_without_reader_breaks_the_sender() -> None:
    master_fd, slave_fd = pty.openpty()
    async with FdSendStream(slave_fd) as send:
        os.close(master_fd)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await send.send_all(b"x")
        assert isinstance(caught.value.__cause__, OSError)


async def test_the_blocking_flag_of_a_shared_description_is_put_back() -> None:
    for use in ("aclose", "close", "cancelled aclose", "garbage"):
        reader, writer = os.pipe()
        shared_reader, shared_writer = os.dup(reader), os.dup(writer)
        receive, send = FdReceiveStream(reader), FdSendStream(writer)
        assert not os.get_blocking(shared_reader)
        assert not os.get_blocking(shared_writer)
        for stream in (receive, send):
            if use == "aclose":
                await stream.aclose()
            elif use == "close":
                stream.close()
            elif use == "cancelled aclose":
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await stream.aclose()
        del receive, send, stream
        assert os.get_blocking(shared_reader), use
        assert os.get_blocking(shared_writer), use
        os.close(shared_reader)
        os.close(shared_writer)
        for fd in (reader, writer):
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)


async def test_a_description_that_was_nonblocking_stays_so() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    shared = os.dup(reader)
    await FdReceiveStream(reader).aclose()
    assert not os.get_blocking(shared)
    os.close(shared)
    os.close(writer)


async def test_two_streams_on_one_description_can_leave_the_flag_to_its_owner() -> None:
    reader, writer = os.pipe()
    first = FdReceiveStream(os.dup(reader), restore_flags=False)
    second = FdReceiveStream(os.dup(reader), restore_flags=False)
    await first.aclose()
    assert not os.get_blocking(reader)
    await second.aclose()
    assert not os.get_blocking(reader)
    os.close(reader)
    os.close(writer)


async def test_sockets_are_never_made_nonblocking() -> None:
    send, receive = socket_streams()
    await send.send_all(b"x")
    assert await receive.receive_some() == b"x"
    assert os.get_blocking(send.fileno())
    assert os.get_blocking(receive.fileno())
    await send.aclose()
    await receive.aclose()


async def test_a_receive_cancelled_beforehand_reads_nothing() -> None:
    for streams in (pipe_streams, socket_streams):
        send, receive = streams()
        await send.send_all(b"data")
        with trio.CancelScope() as scope:
            scope.cancel()
            await receive.receive_some()
        assert scope.cancelled_caught
        assert await receive.receive_some() == b"data"
        await send.aclose()
        await receive.aclose()


async def test_bytes_already_read_are_returned_although_the_scope_is_cancelled_meanwhile() -> None:
    scope = trio.CancelScope()

    class CancelledByTheRead(FdReceiveStream):
        def _read(self, fd: int, max_bytes: int) -> bytes:
            data = super()._read(fd, max_bytes)
            scope.cancel()
            return data

    reader, writer = os.pipe()
    os.write(writer, b"data")
    os.close(writer)
    async with CancelledByTheRead(reader) as receive:
        with scope:
            data = await receive.receive_some()
    assert data == b"data"
    assert not scope.cancelled_caught


async def test_a_blocked_receive_and_a_blocked_send_are_cancelled_at_once() -> None:
    send, receive = await make_clogged_pipe()
    with trio.move_on_after(0.01) as scope:
        await send.send_all(b"y" * 100_000)
    assert scope.cancelled_caught
    os.set_blocking(receive.fileno(), False)
    while True:
        try:
            os.read(receive.fileno(), 1 << 20)
        except BlockingIOError:
            break
    with trio.move_on_after(0.01) as scope:
        await receive.receive_some()
    assert scope.cancelled_caught
    await send.aclose()
    await receive.aclose()


async def test_a_send_that_was_written_completely_is_not_reported_as_cancelled() -> None:
    scope = trio.CancelScope()

    class CancelledByTheWrite(FdSendStream):
        def _write(self, data: bytes | bytearray | memoryview) -> int:
            count = super()._write(data)
            scope.cancel()
            return count

    reader, writer = os.pipe()
    async with CancelledByTheWrite(writer) as send:
        with scope:
            await send.send_all(b"frame")
    assert not scope.cancelled_caught
    assert os.read(reader, 10) == b"frame"
    os.close(reader)


async def test_large_sends_arrive_whole_from_every_kind_of_buffer() -> None:
    payload = os.urandom(1_000_000)
    words = memoryview(payload).cast("I")
    for streams in (pipe_streams, socket_streams):
        for data in (payload, bytearray(payload), memoryview(payload), words):
            send, receive = streams()
            async with trio.open_nursery() as nursery:

                async def produce(send: FdSendStream = send, data: bytes | bytearray | memoryview = data) -> None:
                    await send.send_all(data)
                    await send.aclose()

                nursery.start_soon(produce)
                chunks = []
                while chunk := await receive.receive_some():
                    chunks.append(chunk)
            assert b"".join(chunks) == payload
            await receive.aclose()


async def test_a_reader_that_left_is_a_broken_resource_with_its_cause() -> None:
    for streams in (pipe_streams, socket_streams):
        send, receive = streams()
        await receive.aclose()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await send.send_all(b"x")
        assert isinstance(caught.value.__cause__, BrokenPipeError)
        await send.aclose()


async def test_a_connection_reset_is_a_broken_resource() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    async with FdReceiveStream(server.detach()) as receive:
        with pytest.raises(trio.BrokenResourceError) as caught:
            await receive.receive_some()
        assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_closing_wakes_the_waiters() -> None:
    send, receive = await make_clogged_pipe()
    other_send, other_receive = pipe_streams()
    pair = FdPair(send, other_receive)

    async def expect_closed(call: object) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await call  # type: ignore[misc]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed, pair.send_all(b"x"))
        nursery.start_soon(expect_closed, pair.receive_some())
        await trio.testing.wait_all_tasks_blocked()
        pair.close()
    await other_send.aclose()
    await receive.aclose()


def test_a_bad_descriptor_is_refused_at_once() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    for kind in (FdReceiveStream, FdSendStream):
        with pytest.raises(OSError, match="Bad file descriptor"):
            kind(reader)


def test_streams_can_be_made_and_closed_without_a_running_loop() -> None:
    reader, writer = os.pipe()
    pair = FdPair(FdSendStream(writer), FdReceiveStream(reader))
    assert stat.S_ISFIFO(os.fstat(pair.receive_stream.fileno()).st_mode)
    pair.close()
    pair.close()
    assert pair.send_stream.fileno() == pair.receive_stream.fileno() == -1
