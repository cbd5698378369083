"""When a child may be started again: arithmetic over a history, without a clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mcp_transport.errors import ConfigError
from trio_mcp_transport.transports.restart import RestartPolicy


def longest() -> float:
    return 1.0


@pytest.mark.requirement("M-IO-18")
def test_the_pause_doubles_from_half_a_second_and_the_sixth_restart_in_a_minute_is_refused() -> None:
    policy = RestartPolicy()
    now = 1000.0
    delays = [policy.next_delay([now] * count, now, longest) for count in range(6)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, None]


@pytest.mark.requirement("M-IO-18")
def test_restarts_older_than_the_window_are_forgotten() -> None:
    policy = RestartPolicy()
    history = [0.0, 1.0, 2.0, 3.0, 4.0]
    assert policy.next_delay(history, 59.999, longest) is None
    assert policy.next_delay(history, 60.0, longest) == 8.0
    assert policy.next_delay(history, 64.0, longest) == 0.5


def test_the_pause_never_exceeds_the_cap_however_long_the_history() -> None:
    policy = RestartPolicy(limit=5000)
    assert policy.next_delay([0.0] * 6, 0.0, longest) == 30.0
    assert policy.next_delay([0.0] * 4000, 0.0, longest) == 30.0


@given(count=st.integers(0, 4), draw=st.floats(0, 1, exclude_max=True))
def test_the_jitter_is_full(count: int, draw: float) -> None:
    delay = RestartPolicy().next_delay([0.0] * count, 1.0, lambda: draw)
    assert delay == draw * (0.5 * 2**count)


@pytest.mark.parametrize(
    "bad",
    [
        {"initial": 0.0},
        {"initial": -1.0},
        {"cap": math.inf},
        {"window": math.nan},
        {"limit": 0},
        {"limit": 1.5},
        {"limit": True},
    ],
)
def test_nonsense_is_a_configuration_error_that_names_the_field(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        RestartPolicy(**bad)  # type: ignore[arg-type]
