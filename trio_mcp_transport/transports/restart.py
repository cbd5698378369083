"""When a child that ended unexpectedly may be started again.

Pure: this module must never sleep, read a clock or draw a random number of its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from trio_mcp_transport.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["RestartPolicy"]


@attrs.frozen(kw_only=True)
class RestartPolicy:
    """Restart with exponential back-off and full jitter, and give up when it happens too often (M-IO-18).

    Full jitter spreads the restarts of many clients whose servers died of one cause evenly over the whole pause.

    Attributes:
        initial: The longest pause before the first restart, in seconds; it doubles with every restart in the window.
        cap: The longest pause of all, in seconds.
        limit: How many restarts one window may hold.
        window: Length of the window, in seconds; older restarts are forgotten.

    Raises:
        ConfigError: A value is not a positive number (``limit``: not an integer of at least 1).
    """

    initial: float = 0.5
    cap: float = 30.0
    limit: int = 5
    window: float = 60.0

    def __attrs_post_init__(self) -> None:
        for name in ("initial", "cap", "window"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ConfigError(f"RestartPolicy.{name} must be a positive number of seconds, not {value!r}")
        if type(self.limit) is not int or self.limit < 1:
            raise ConfigError(f"RestartPolicy.limit must be an integer of at least 1, not {self.limit!r}")

    def next_delay(self, history: Sequence[float], now: float, random: Callable[[], float]) -> float | None:
        """Return the pause before the next restart, or None when there have been too many.

        Args:
            history: The times of the restarts so far, in seconds of the same clock as ``now``, in any order.
            now: The time of the unexpected end.
            random: Draws from [0, 1), as `random.random` does.

        Returns:
            Seconds to wait, at least 0 and less than ``cap``; None means give up.
        """
        recent = sum(1 for moment in history if now - moment < self.window)
        if recent >= self.limit:
            return None
        try:
            ceiling = min(self.cap, math.ldexp(self.initial, recent))
        except OverflowError:
            ceiling = self.cap
        return random() * ceiling
