"""The way from a container's packets to its frames, on which whatever is lost is counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

from p2p_runtime.errors import SourceError
from p2p_runtime.pictures import LARGEST_PIXELS
from p2p_runtime.video.clock import Clock
from p2p_runtime.video.size_guard import check_size
from p2p_runtime.video.sound import SoundTrack

__all__ = ["Decoded", "VideoDecoder"]

_IN_A_ROW = ("matroska,webm", "flv")
_SLACK_BYTES = 128
"""Formats whose packets lie one behind the other, and the bytes that may lie between two of them.
Their readers skip what is damaged without a word."""

_JOINED_FLAG, _JOINED_S, _LONGEST_S = 0x200, 10.0, 3600.0
"""FFmpeg's mark of formats whose clock may start again (AVFMT_TS_DISCONT), and the distance of two
frames above which the clock has jumped: in these formats, and in others."""

_HELD = 2
"""Number of packets that wait until it is clear why one of them is marked as damaged."""

_NOT_CODED_BYTES = 19
"""Largest MPEG-4 packet that repeats the last frame (FFmpeg's MAX_NVOP_SIZE)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """A decoded frame.

    Attributes:
        frame: the ``av.VideoFrame``.
        timestamp_s: seconds since the first frame, see :class:`Clock`.
        damaged: whether its data are damaged, or those of a frame that it is predicted from.
        jumped: whether the stream's clock jumped before it.
        began_s: ``time.perf_counter()`` when its decoding began.
    """

    frame: Any
    timestamp_s: float
    damaged: bool
    jumped: bool
    began_s: float


class VideoDecoder:
    """Decodes the first video of a container packet by packet; a broken one costs only its frames.

    Attributes:
        stream: the ``av`` stream of the video.
        sound: the first sound track; None without one.
        clock: the clock of its frames.
        frames: number of frames that were decoded.
        beginning: fingerprint of its first packet.
        packets_read: number of packets of the video, those that show nothing included.
    """

    def __init__(self, name: str, container: InputContainer, fps: float) -> None:
        """Take a container that has a video; ``fps`` is its frame rate.

        A SourceError is raised as by :func:`check_size`; larger frames that come later are lost.
        """
        self._name, self._container, self._step_s = name, container, 1 / fps
        self.stream: Any = container.streams.video[0]
        self._bound_size()
        joined = bool(container.format.flags & _JOINED_FLAG)
        self._longest_s = max(_JOINED_S if joined else _LONGEST_S, 10 * self._step_s)
        # Frames state it, too, but not all (PyAV 17.0).
        self._base: tuple[int, int] = Fraction(self.stream.time_base or 1).as_integer_ratio()
        self._longest_ticks = self._longest_s * self._base[1] / self._base[0]
        self._codec = self.stream.codec_context.name
        self.clock = Clock(name, step_s=self._step_s)
        sounds = container.streams.audio
        self.sound = SoundTrack(sounds[0], longest_s=self._longest_s) if sounds else None
        self.packets_read = self.beginning = self._end_pts = 0
        self.frames = self._shown = self._skipped = 0
        self._pending: set[int] = set()  # times of packets whose frames have not come
        # The last packet's time of decoding, and whether it was a jump that no frame has shown yet.
        self._last_dts: int | None = None
        self._jump_ahead = False
        self._in_a_row, self._skips, self._end_byte = container.format.name in _IN_A_ROW, False, 0
        # The first times at which frames may be missing, and are damaged; a key frame ends both.
        self._damage: tuple[int, int] | None = None

    @property
    def frames_lost(self) -> int:
        """Number of frames whose packets came but were not decoded, or did not come; at the end."""
        return max(0, self._shown - self.frames) + self._skipped

    @property
    def end_s(self) -> float:
        """End of the last packet by the file's own clock, in seconds."""
        return self._end_pts * self._base[0] / self._base[1] + self._step_s

    def __iter__(self) -> Iterator[Decoded]:
        """Yield the frames in their order.

        Raises:
            av.error.FFmpegError, OSError: reading failed; frames up to there were yielded.
        """
        packets = self._checked(self._demux())
        while True:
            began_s = time.perf_counter()
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError):
                for frame in self.stream.codec_context.decode(None):  # those it still holds
                    yield self._place(frame, began_s)
                raise
            yield from self._decode(packet)

    def _bound_size(self) -> None:
        context = self.stream.codec_context
        try:
            check_size(self._name, context.width, context.height)
        except SourceError:
            self._container.close()
            raise
        context.options = {"max_pixels": str(LARGEST_PIXELS)}  # of frames that are larger than that

    def _decode(self, packet: Any) -> Iterator[Decoded]:
        began_s = time.perf_counter()
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            _log.debug("%s: a packet was not decoded: %s", self._name, error.strerror)
            self._note_damage(packet)
            return
        for frame in frames:
            yield self._place(frame, began_s)
            began_s = time.perf_counter()

    def _demux(self) -> Iterator[Any]:
        """Yield the video's packets, and pass those of the sound on."""
        for packet in self._container.demux():
            if self._in_a_row and packet.size:
                self._skips |= self._skips_bytes(packet)
            stream = packet.stream  # at the end, PyAV 17.0 states the first index for all
            if stream is self.stream:
                yield packet
            elif self.sound and stream is self.sound.stream:
                self.sound.put(packet)

    def _skips_bytes(self, packet: Any) -> bool:
        skips: bool = 0 < self._end_byte < packet.pos - _SLACK_BYTES
        # The packets of one block state the same place.
        self._end_byte = max(self._end_byte, packet.pos) + packet.size
        return skips

    def _checked(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Count packets. One that is marked as damaged waits for the next ones.

        MPEG-TS marks one of the last two of a recording, too, when another one is joined to it.
        """
        held: list[Any] = []
        for packet in packets:
            jumps = self._jumps(packet)
            if self._skips and not jumps:  # a joint has the headers of another recording
                self._note_damage(packet)
            self._skips = False
            if held and (jumps or len(held) == _HELD):
                if not jumps:
                    self._note_damage(held[0])
                yield from held
                held = []
            self._jump_ahead |= jumps
            if packet.size:
                if self.packets_read == 0:
                    self.beginning = hash((packet.pts, bytes(packet)))
                self.packets_read += 1
                self._end_pts = max(self._end_pts, _time_of(packet))
                if not packet.is_discard and _shows_a_frame(self._codec, packet):
                    self._shown += 1
                    self._pending.add(_time_of(packet))
            if held or packet.is_corrupt:
                held.append(packet)
            else:
                yield packet
        if held:
            self._note_damage(held[0])
            yield from held

    def _jumps(self, packet: Any) -> bool:
        """Tell whether the clock jumps before a packet: times of decoding grow."""
        before, self._last_dts = self._last_dts, packet.dts
        if before is None or packet.dts is None:
            return False
        ticks: int = packet.dts - before
        return not 0 <= ticks <= self._longest_ticks

    def _note_damage(self, packet: Any) -> None:
        if self.frames:
            pts = _time_of(packet)
            self._damage = (pts if packet.dts is None else packet.dts, pts)

    def _place(self, frame: Any, began_s: float) -> Decoded:
        """Give a frame its time, and note what is missing before it."""
        pts, last_s, jumps = frame.pts or 0, self.clock.last_s, self.clock.jumps
        time_s = None if frame.pts is None else frame.pts * self._base[0] / self._base[1]
        timestamp_s = self.clock(time_s, longest_s=self._longest_s if self._jump_ahead else None)
        jumped = self.clock.jumps > jumps
        self._pending.discard(pts)
        self._jump_ahead &= not jumped
        damaged = False
        if self._damage is not None and not jumped:
            missing_from, damaged_from = self._damage
            if pts >= missing_from:
                self._note_missing(pts, timestamp_s - last_s)
            damaged = pts >= damaged_from
        if jumped or (damaged and frame.key_frame):
            self._damage, damaged = None, False
        if frame.is_corrupt:
            self._damage, damaged = (pts, pts), True
        self.frames += 1
        if self.sound and self.frames == 1:
            self.sound.zero_s = self.clock.zero_s or 0.0
        return Decoded(
            frame=frame, timestamp_s=timestamp_s, damaged=damaged, jumped=jumped, began_s=began_s
        )

    def _note_missing(self, pts: int, interval_s: float) -> None:
        """Count the frames that should have come before this one, and whose packets did not."""
        came = {time for time in self._pending if time < pts}
        self._pending -= came
        self._skipped += max(0, round(interval_s / self._step_s) - 1 - len(came))


def _time_of(packet: Any) -> int:
    """Return the time of a packet's frame in the stream's unit; 0 where it has none."""
    time = packet.dts if packet.pts is None else packet.pts
    return time or 0


def _shows_a_frame(codec: str, packet: Any) -> bool:
    """Tell packets that show a frame from those that only serve others."""
    if codec in ("vp8", "libvpx"):
        return bool(memoryview(packet)[0] & 0x10)  # RFC 6386, 9.1: show_frame
    return codec != "mpeg4" or packet.size > _NOT_CODED_BYTES
