"""One clock between a source and its outputs."""

from __future__ import annotations

import logging

__all__ = ["Clock"]

_JITTER_STEPS = 3
"""Steps back that are a disorder of times, not a new zero."""

_log = logging.getLogger(__name__)


class Clock:
    """Seconds since the first frame, from a stream's own times; they always grow.

    Where recordings were joined, a time far before or after the last one becomes a new zero: its
    frame comes one step after the last. A time that is missing takes one step, one that is repeated
    or out of order half of one, so that those behind keep their places.

    Attributes:
        zero_s: the stream's time that is 0 now; None before the first.
        last_s: the last time that was returned; one step before 0 at first.
        jumps: how often the zero has changed.
    """

    def __init__(self, name: str, *, step_s: float, zero_s: float | None = None) -> None:
        """Set the clock: ``zero_s`` becomes 0, or the first time; times are ``step_s`` apart.

        The stream's name is for the log, and empty where others tell of jumps.
        """
        self._name, self._step_s = name, step_s
        self.zero_s, self.last_s, self.jumps = zero_s, -step_s, 0
        self._started = False

    def __call__(self, time_s: float | None, *, longest_s: float | None = None) -> float:
        """Return the seconds since the first frame of the next one, whose stream states ``time_s``.

        Args:
            time_s: None where the stream states no time.
            longest_s: distance from the last time in seconds above which this one is a new zero,
                as is one that is more than three steps back; None where no jump is possible.
        """
        next_s = self.last_s + self._step_s
        if self.zero_s is None and time_s is not None:
            self.zero_s = time_s - next_s
        if time_s is None or self.zero_s is None:
            now_s = next_s
        elif longest_s is not None and self._jumps(time_s - self.zero_s, longest_s):
            self._note_jump(time_s - self.zero_s - next_s)
            self.zero_s, now_s = time_s - next_s, next_s
        elif self._started and time_s - self.zero_s <= self.last_s:
            now_s = self.last_s + self._step_s / 2
        else:
            now_s = time_s - self.zero_s
        self.last_s, self._started = now_s, True
        return now_s

    def _jumps(self, now_s: float, longest_s: float) -> bool:
        ahead_s = now_s - self.last_s
        return self._started and not -_JITTER_STEPS * self._step_s <= ahead_s <= longest_s

    def _note_jump(self, by_s: float) -> None:
        self.jumps += 1
        if self.jumps == 1 and self._name:
            _log.warning(
                "%s: its clock jumps by %.1f s; the frames go on one frame later", self._name, by_s
            )
