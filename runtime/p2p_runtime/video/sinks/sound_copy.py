"""Copies the packets of a sound track beside the frames of a video file."""

from __future__ import annotations

from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from p2p_runtime.video.clock import Clock
from p2p_runtime.video.sound import SoundPacket, SoundTrack

__all__ = ["SoundCopy"]

_EVERYWHERE = ("aac", "ac3", "alac", "eac3", "mp2", "mp3")
_TAKEN = {
    "mp4": (*_EVERYWHERE, "flac", "opus"),
    "mov": (*_EVERYWHERE, "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le"),
    "matroska": (*_EVERYWHERE, "flac", "opus", "pcm_s16le", "pcm_s24le", "vorbis"),
}
"""Codecs by container. FFmpeg's muxers accept more, and then fail or write what nobody reads."""

_STEP_S = 0.02
"""Usual length of a packet in seconds, for times that are missing or jump."""


class SoundCopy:
    """The sound of an output; it begins and ends with the frames."""

    def __init__(self, container: Any, track: SoundTrack) -> None:
        """Add the track to an open ``av`` container; a ValueError if it takes no such codec."""
        codec = track.stream.codec_context.codec.canonical_name
        if codec not in _TAKEN[container.format.name]:
            raise ValueError(f"{container.format.name} does not take {codec}")
        self._container, self._track = container, track
        self._stream = container.add_stream_from_template(track.stream)
        context = track.stream.codec_context
        # MPEG-TS repeats in each packet of AAC what other formats state once.
        bare = context.name != "aac" or context.extradata
        self._filter = None if bare else BitStreamFilterContext("aac_adtstoasc", track.stream)
        self._packets = track.subscribe()
        self._clock = Clock("", step_s=_STEP_S, zero_s=track.zero_s)
        self._next: tuple[SoundPacket, float] | None = None  # taken, and later than asked for
        self._last_pts = -1

    def write_until(self, end_s: float) -> None:
        """Write what begins before ``end_s``, in seconds since the first frame.

        An av.error.FFmpegError or an OSError is raised if that fails.
        """
        while self._next is not None or self._packets:
            packet, start_s = self._next or self._timed(self._packets.popleft())
            if start_s >= end_s:
                self._next = packet, start_s
                return
            self._next = None
            self._write(packet, start_s)

    def _timed(self, packet: SoundPacket) -> tuple[SoundPacket, float]:
        return packet, self._clock(packet.start_s, longest_s=self._track.longest_s)

    def _write(self, packet: SoundPacket, start_s: float) -> None:
        pts = round(start_s / self._track.time_base)
        if pts <= self._last_pts:  # before the first frame, or lost in rounding
            return
        self._last_pts = pts
        # Filled afterwards: one made from bytes points at them, and PyAV 17.0 lets them go.
        copy = av.Packet(len(packet.content))
        copy.update(packet.content)
        copy.time_base, copy.is_keyframe = self._track.time_base, True
        copy.pts = copy.dts = pts
        copy.duration = round(packet.duration_s / self._track.time_base)
        for piece in [copy] if self._filter is None else self._filter.filter(copy):
            piece.stream = self._stream
            self._container.mux(piece)
