"""Settings of live sources: which frames are dropped, and how long to wait for the next one."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

from p2p_runtime.errors import ConfigError

__all__ = ["LivePolicy"]

_DROPS = ("none", "latest")


@dataclass(frozen=True, kw_only=True, slots=True)
class LivePolicy:
    """How to treat a live source.

    Attributes:
        drop: ``latest`` keeps the latest frame and counts the others as dropped, ``none`` lets
            the source wait; None means ``none`` for a source with an end, else ``latest``.
        stall_timeout_s: seconds without a frame after which a connection counts as stalled.
        reconnect_for_s: seconds without a frame after which the source is given up.
        first_delay_s, longest_delay_s: bounds of the waits between two attempts to reconnect.

    Raises:
        ConfigError: a value is impossible.
    """

    drop: Literal["none", "latest"] | None = None
    stall_timeout_s: float = 10.0
    reconnect_for_s: float = 300.0
    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    _random: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.drop is not None and self.drop not in _DROPS:
            raise ConfigError(f"drop is {self.drop!r}; use {' or '.join(_DROPS)}")
        if not self.stall_timeout_s > 0:
            raise ConfigError(f"the stall time-out is {self.stall_timeout_s:g} s; use more than 0")
        if not self.reconnect_for_s >= 0:
            raise ConfigError(f"reconnect for {self.reconnect_for_s:g} s; use 0 or more")

    def delay_s(self, attempt: int) -> float:
        """Return how long to wait before an attempt to reconnect.

        The bound doubles with each attempt up to a cap. The upper half is random, so that several
        devices that lost the same source do not come back at the same time.

        Args:
            attempt: 0 for the first one after a frame.
        """
        delay_s = min(self.first_delay_s * 2.0 ** min(attempt, 60), self.longest_delay_s)
        return delay_s * self._random.uniform(0.5, 1.0)
