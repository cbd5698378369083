"""Certify a frame codec with one call, as `trio.testing.check_two_way_stream` certifies a stream.

Must never import Hypothesis before it is asked to check something: importing the testing package stays free of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..abc import FrameCodec

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["check_codec"]


def check_codec(
    make: Callable[[int], FrameCodec],
    *,
    peer: Callable[[int], FrameCodec] | None = None,
    payloads: Callable[[int], SearchStrategy[bytes]] | None = None,
    payload_of: Callable[[int], bytes] | None = None,
    near_misses: Callable[[int], SearchStrategy[bytes]] | None = None,
    limits: Sequence[int] = (1, 2, 7, 100),
    max_examples: int | None = None,
) -> None:
    """Check everything that a connection relies on in a `FrameCodec`; return when all of it holds.

    In a test, plain or async, under pytest with or without pytest-trio::

        def test_my_codec():
            check_codec(MyCodec)

    The properties, at each limit:

    * *fresh*: a new codec needs data, and an empty stream ends well;
    * *round trip*: what ``encode`` (or ``encode_parts``) accepts arrives, however it is cut, JSON-RPC messages too;
    * *both ways*, *owed*: writing disturbs no reading and reading no writing; ``bytes_to_send`` gives what it has once;
    * *chunking*: neither the cuts between chunks nor the moments of pulling change the outcome, type and text of an
      error included;
    * *truncation*: a stream that ends inside a frame gives those before it, and a `FramingError`, not `FrameTooLarge`;
    * *limit*: one byte below the limit and the limit itself pass; one above raises `FrameTooLarge`, before the frame
      is complete; the frames after it follow only where the codec has a true ``resynchronises``;
    * *sticky*: the final answer, error or end, stays the answer whatever is fed;
    * *garbage*: other bytes, damaged frames and near misses raise nothing but `FramingError`, and no frame is over the
      limit.

    Examples are drawn by Hypothesis under its current profile.  Memory and time are not measured.

    Args:
        make: Builds a fresh codec with the given limit of payload bytes; mostly the class itself.
        peer: Builds the codec that writes what ``make``'s codec reads, where the two sides differ.
        payloads: Makes a strategy of payloads up to the given limit; any bytes by default.  What ``encode`` refuses
            with `LocalProtocolError` is left out.
        payload_of: Builds a payload of exactly so many bytes that ``encode`` accepts; repeats ``b"p"`` by default.
        near_misses: Makes a strategy of streams that are almost frames, for the given limit: what a grammar has beside
            its rules.  Added to the damaged frames that are drawn for every codec.
        limits: The limits to check at; small ones put every boundary within reach.
        max_examples: Examples per property and limit; by default what the Hypothesis profile says.

    Raises:
        AssertionError: A property does not hold; the text begins with its name.  An exception that a codec must not
            raise leaves as it is, with a note.
        ModuleNotFoundError: Hypothesis is not installed; the extra ``testing`` brings it.
    """
    from .codec_examples import run_checks  # imports Hypothesis

    run_checks(
        make,
        peer=peer or make,
        payloads=payloads,
        payload_of=payload_of or b"p".__mul__,
        near_misses=near_misses,
        limits=limits,
        max_examples=max_examples,
    )
