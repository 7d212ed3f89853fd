"""The sound of a file on its way from the source to the outputs, as packets, never decoded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

__all__ = ["SoundPacket", "SoundTrack"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundPacket:
    """An encoded piece of sound; its times are by the file's clock."""

    content: bytes
    start_s: float
    duration_s: float


class SoundTrack:
    """The first sound track of a file.

    Outputs that want it subscribe before the first frame is read; without them, nothing is kept.

    Attributes:
        stream: the ``av`` stream, as a template for outputs.
        time_base: unit of its times in seconds.
        zero_s: time of the first frame of the video by the file's clock.
        longest_s: distance of two packets in seconds above which the clock has jumped.
    """

    def __init__(self, stream: Any, *, longest_s: float) -> None:
        self.stream, self.time_base = stream, Fraction(stream.time_base)
        self.zero_s, self.longest_s = 0.0, longest_s
        self._early: deque[SoundPacket] = deque()  # read with the first frame, before outputs open
        self._queues = [self._early]

    def subscribe(self) -> deque[SoundPacket]:
        """Return a queue that gets every packet."""
        queue = self._early.copy()
        self._queues.append(queue)
        return queue

    def begin(self) -> None:
        """Note that every output has subscribed."""
        self._queues = [queue for queue in self._queues if queue is not self._early]
        self._early.clear()

    def put(self, packet: Any) -> None:
        """Give an ``av`` packet to the outputs; one without a time or bytes is left out."""
        if not self._queues or packet.pts is None or not packet.size:
            return
        piece = SoundPacket(
            content=bytes(packet),
            start_s=float(packet.pts * self.time_base),
            duration_s=float((packet.duration or 0) * self.time_base),
        )
        for queue in self._queues:
            queue.append(piece)
