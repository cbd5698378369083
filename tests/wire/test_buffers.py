"""The pieces of an unfinished frame: order, size, and what they cost."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mcp_transport.wire.buffers import PieceBuffer

SIZES = st.sampled_from([0, 1, 2, 100, 4095, 4096, 4097, 70_000])


def filled(pieces: list[bytes]) -> PieceBuffer:
    buffer = PieceBuffer()
    for piece in pieces:
        buffer.append(piece)
    return buffer


@given(st.lists(SIZES, max_size=12))
def test_pieces_come_back_in_order(sizes: list[int]) -> None:
    pieces = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    buffer = filled(pieces)
    assert len(buffer) == sum(sizes)
    taken = buffer.take()
    assert taken == b"".join(pieces)
    assert type(taken) is bytes


def test_many_small_pieces_come_back_in_order() -> None:
    pieces = [index.to_bytes(3, "big") for index in range(50_000)]
    assert filled(pieces).take() == b"".join(pieces)


def test_take_and_clear_empty_it() -> None:
    buffer = filled([b"small", b"l" * 5000, b"small"])
    assert buffer.take() == b"small" + b"l" * 5000 + b"small"
    assert len(buffer) == 0
    assert buffer.take() == b""
    buffer.append(b"again")
    buffer.append(b"l" * 5000)
    buffer.clear()
    assert len(buffer) == 0
    assert buffer.take() == b""
    buffer.append(b"new")
    assert buffer.take() == b"new"


def test_what_was_taken_stays_as_it_is() -> None:
    buffer = filled([b"one"])
    taken = buffer.take()
    buffer.append(b"two")
    assert (taken, buffer.take()) == (b"one", b"two")


def test_a_single_large_piece_is_not_copied() -> None:
    piece = b"l" * 100_000
    assert filled([piece]).take() is piece


@pytest.mark.parametrize("size", [1, 7, 4095])
def test_small_pieces_cost_their_bytes(size: int) -> None:
    # As list entries, one-byte pieces would cost eight times their size, and 7-byte pieces about six times.
    count = 300_000 // size
    tracemalloc.start()
    try:
        buffer = PieceBuffer()
        for _ in range(count):
            buffer.append(b"%c" % 120 * size)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(buffer) == count * size
    assert held < 1.25 * count * size


@pytest.mark.parametrize("sizes", [[10], [1, 2, 3], [10, 5000, 10], [5000, 10, 5000], []])
@pytest.mark.parametrize("count", [0, 1, 12, 6000, 10**6])
def test_the_beginning_can_be_looked_at(sizes: list[int], count: int) -> None:
    buffer = PieceBuffer()
    whole = b""
    for number, size in enumerate(sizes):
        piece = bytes([65 + number]) * size
        buffer.append(piece)
        whole += piece
    assert buffer.peek(count) == whole[:count]
    assert buffer.take() == whole
