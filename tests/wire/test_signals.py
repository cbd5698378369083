"""The two answers of a parser that are no frame."""

from __future__ import annotations

import copy
import pickle

import pytest

from trio_mcp_transport.wire.signals import Signal


def test_there_are_two_and_callers_compare_by_identity() -> None:
    assert list(Signal) == [Signal.NEED_DATA, Signal.END_OF_STREAM]
    for signal in Signal:
        assert copy.deepcopy(signal) is signal
        assert pickle.loads(pickle.dumps(signal)) is signal


@pytest.mark.parametrize("frame", [b"", b"need data", "need data"])
def test_no_frame_is_a_signal(frame: object) -> None:
    assert all(frame != signal for signal in Signal)
