"""What becomes of a live source's frames, and how long it is waited for."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from p2p_runtime.errors import ConfigError

__all__ = ["DROPS", "LivePolicy"]

DROPS = ("none", "latest")


@dataclass(frozen=True, kw_only=True, slots=True)
class LivePolicy:
    """How to treat a live source.

    Attributes:
        drop: ``latest`` keeps the newest frame and counts the others as dropped, ``none`` lets
            the source wait; None leaves it to the source: what ends by itself waits, the rest
            drops.
        timeout_s: seconds without a frame after which a connection counts as stalled.
        patience_s: seconds without a frame after which the source is given up.
        first_delay_s, longest_delay_s: bounds of the waits between two attempts to reconnect.
    """

    drop: str | None = None
    timeout_s: float = 10.0
    patience_s: float = 300.0
    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    _random: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.drop is not None and self.drop not in DROPS:
            raise ConfigError(f"drop is {self.drop!r}; use {' or '.join(DROPS)}")
        if not self.timeout_s > 0:
            raise ConfigError(f"a time-out of {self.timeout_s:g} s cannot be kept; use more than 0")
        if not self.patience_s >= 0:
            raise ConfigError(f"patience of {self.patience_s:g} s is not possible; use 0 or more")

    def delay_s(self, attempt: int) -> float:
        """Return how long to wait before an attempt to reconnect.

        It doubles with each attempt up to a cap; a random half keeps several devices that lost
        the same source from coming back all at once.

        Args:
            attempt: 0 for the first one after frames came.
        """
        delay_s = min(self.first_delay_s * 2.0 ** min(attempt, 60), self.longest_delay_s)
        return delay_s * self._random.uniform(0.5, 1.0)
