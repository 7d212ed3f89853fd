"""The report of a run: frames in and out, how long each stage took, what was lost."""

from __future__ import annotations

import json
import math
import platform
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.console import whole_seconds
from p2p_runtime.errors import OutputError, count_of
from p2p_runtime.files import check_writable_folder, refuse_protected, write_text
from p2p_runtime.memory import anon_rss_mib, peak_rss_mib
from p2p_runtime.redaction import redact
from p2p_runtime.video.frames import FrameSource, FrameTask
from p2p_runtime.video.live import LiveSource

from .constant_output import BlankAlarm
from .painted import PaintedShares

__all__ = ["OFF_PALETTE_WARN", "REPORT_SCHEMA", "STAGES", "Histogram", "Recorder", "RunReport"]

REPORT_SCHEMA = 2
STAGES = ("decode", "wait", "check", "preprocess", "infer", "postprocess", "encode", "latency")
"""Stages of a frame. ``latency`` is its way from the decoder into the sink, so the sum of the six
stages between; ``wait`` is the time it spent in queues."""

OFF_PALETTE_WARN = 0.05
"""Share of pixels far from every palette colour above which the palette is likely wrong."""

_LONG_S = 100.0
"""Duration from which on it is given in hours, minutes and seconds."""

_STEP = 1.01
_LOWEST_MS, _HIGHEST_MS = 1e-3, 1e6
"""Ratio of neighbouring buckets of the histogram, and its ends."""


class Histogram:
    """Durations in buckets that are 1 % wide, from 1 us to 1000 s.

    The memory is constant however long the run; a percentile is within 0.5 % of the exact one.
    """

    def __init__(self) -> None:
        self._counts = [0] * (self._bucket(_HIGHEST_MS) + 1)
        self._count, self._total_ms, self._max_ms = 0, 0.0, 0.0

    @staticmethod
    def _bucket(ms: float) -> int:
        return round(math.log(min(max(ms, _LOWEST_MS), _HIGHEST_MS) / _LOWEST_MS) / math.log(_STEP))

    def add(self, ms: float) -> None:
        """Count one duration in milliseconds."""
        self._counts[self._bucket(ms)] += 1
        self._count += 1
        self._total_ms += ms
        self._max_ms = max(self._max_ms, ms)

    def percentile_ms(self, percent: float) -> float:
        """Return the duration that ``percent`` (0-100) of all do not exceed; 0 when empty."""
        rank, passed = max(1, math.ceil(self._count * percent / 100)), 0
        for bucket, count in enumerate(self._counts):
            passed += count
            if passed >= rank:
                return min(_LOWEST_MS * _STEP**bucket, self._max_ms)
        return 0.0

    def to_json(self) -> dict[str, float]:
        """Return mean, p50, p95, p99 and max in milliseconds, and the count."""
        return {
            "count": self._count,
            "mean_ms": round(self._total_ms / self._count, 4) if self._count else 0.0,
            "p50_ms": round(self.percentile_ms(50), 4),
            "p95_ms": round(self.percentile_ms(95), 4),
            "p99_ms": round(self.percentile_ms(99), 4),
            "max_ms": round(self._max_ms, 4),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class RunReport:
    """A finished run.

    Attributes:
        frames_in: frames that came from the source, dropped ones included.
        frames_dropped: frames that a newer one replaced because the translator was busy.
        frames_translated: frames that the translator finished, reused ones included.
        frames_out: frames that were written.
        frames_lost: frames of the source whose data came and could not be decoded, or did not come.
        frames_damaged: frames that were written although their data are damaged, or those of a
            frame that they are predicted from.
        frames_missed: frames that an output did not get, by the output's name.
        frames_reused: frames that got the image of an earlier, equal input.
        frames_blank: images of one colour whose input has several.
        reconnects: how often a live source was lost and came back.
        stalls: how often a live source was connected and no frame came.
        clock_jumps: how often the clock of a recording jumped; the output's does not.
        source_lost: why a live source was given up; None if it was not.
        off_palette_share: share (0-1) of input pixels more than 31 levels from every palette
            colour, from one pixel in 64 of every fourth frame, damaged ones left out; None if none
            was measured.
        wall_s: seconds from the first request for a frame to the last frame written.
        fps: ``frames_out / wall_s``.
        first_frame_s: seconds from the start of the command to the first frame written.
        peak_rss_mib: the process's largest resident memory, in MiB.
        anon_rss_mib: the part of resident memory at the end that belongs to no file, see
            :mod:`p2p_runtime.memory`; the rest is mostly unchanged pages of libraries.
        interrupted: whether a signal ended the run early.
        error: why the run failed; None if it did not.
        painted: mean share (0-1) of each class in the first frames, by its name; empty without a
            palette, or if labels were not repaired.
        label_warnings: why the labels are likely not what the model was trained on.
        stages: per stage of :data:`STAGES`, see :meth:`Histogram.to_json`. Frames overlap, so the
            stages add up to the latency, not to the wall time.
        run: model, precision, device, versions, source and output.
    """

    frames_in: int
    frames_dropped: int
    frames_translated: int
    frames_out: int
    frames_lost: int
    frames_damaged: int
    frames_missed: dict[str, int]
    frames_reused: int
    frames_blank: int
    reconnects: int
    stalls: int
    clock_jumps: int
    source_lost: str | None
    off_palette_share: float | None
    wall_s: float
    fps: float
    first_frame_s: float | None
    peak_rss_mib: float
    anon_rss_mib: float | None
    interrupted: bool
    error: str | None
    painted: dict[str, float]
    label_warnings: tuple[str, ...]
    stages: dict[str, dict[str, float]]
    run: dict[str, Any]

    @staticmethod
    def check_place(path: Path, holds: str = "frames_in") -> None:
        """Raise an OutputError if a report cannot be written, or would replace another file.

        A report is a JSON object with a field ``holds``.
        """
        if path.name == "-":
            raise OutputError("a report is a file; - is no name of one")
        check_writable_folder(path.parent)
        refuse_protected(path)
        if not path.exists():
            return
        try:
            document = json.loads(path.read_bytes()) if path.is_file() else None
        except (OSError, ValueError, RecursionError):
            document = None
        if not isinstance(document, dict) or holds not in document:
            raise OutputError(f"{path} exists and is no report; name another file for the report")

    def save(self, path: Path) -> None:
        """Write the report as JSON; raise an OutputError if that fails."""
        document = {"schema": REPORT_SCHEMA, **asdict(self)}
        write_text(path, json.dumps(document, indent=2, sort_keys=True) + "\n")

    def to_line(self) -> str:
        """Return the report as one line for people."""
        counts = {"lost": self.frames_lost, "damaged": self.frames_damaged}
        counts["dropped"] = self.frames_dropped
        more = "".join(f", {count} {name}" for name, count in counts.items() if count)
        more += f", {count_of(self.reconnects, 'reconnect')}" if self.reconnects else ""
        if not self.frames_out:
            return f"nothing was written: no frame was translated{more}"
        frames = count_of(self.frames_out, "frame")
        if self.frames_out != self.frames_in:
            frames = f"{self.frames_out} of {self.frames_in} frames"
        wall = f"{self.wall_s:.1f} s" if self.wall_s < _LONG_S else whole_seconds(self.wall_s)
        rate = f"{self.fps:.{1 if self.fps < 10 else 0}f} frames/s"
        outputs = redact(", ".join(self.run.get("outputs", ())))
        return f"{frames}{more} in {wall}, {rate}, written to {outputs}"

    def to_table(self) -> str:
        """Return the durations of the stages, and what else is of interest, as a few lines."""
        lines = [f"{'stage':<11}{'p50 ms':>10}{'p95 ms':>10}{'p99 ms':>10}"]
        lines += [
            f"{stage:<11}{row['p50_ms']:>10.2f}{row['p95_ms']:>10.2f}{row['p99_ms']:>10.2f}"
            for stage, row in self.stages.items()
        ]
        first, own = self.first_frame_s, self.anon_rss_mib
        facts = [] if first is None else [f"first frame after {first:.2f} s"]
        facts += [f"{self.frames_reused} reused", f"{self.stalls} stalls"]
        facts += [f"{self.peak_rss_mib:.0f} MiB"]
        facts += [] if own is None else [f"{own:.0f} without libraries"]
        lines.append(", ".join(facts))
        if self.off_palette_share is not None:
            lines.append(f"{self.off_palette_share:.1%} of the pixels are far from the palette")
        return "\n".join(lines)


class Recorder:
    """Collects a run's figures while it goes, in constant memory.

    ``started_s`` is ``time.perf_counter()`` when the command began; None for now.
    """

    def __init__(
        self, started_s: float | None = None, painted: PaintedShares | None = None
    ) -> None:
        self._painted = painted
        self._began_s = time.perf_counter()
        self._started_s = self._began_s if started_s is None else started_s
        self._first_s: float | None = None
        self._stages = {stage: Histogram() for stage in STAGES}
        self._off_palette, self._measured = 0.0, 0
        self._translated, self._lock = 0, threading.Lock()
        self._blank = BlankAlarm()
        self.frames_in = self.frames_out = self.frames_reused = 0
        self.frames_damaged = self.clock_jumps = 0

    def painted_classes(self, classes: NDArray[np.uint8]) -> None:
        """Count the class indices (H, W) of a frame; from any thread."""
        if self._painted is not None:
            self._painted.add(classes)

    def translated(self) -> None:
        """Count a frame that the translator finished; from any thread."""
        with self._lock:
            self._translated += 1

    def wrote(self, task: FrameTask) -> None:
        """Count a frame that was written; raise an EngineError after too many blank images."""
        self.frames_out += 1
        self.frames_reused += bool(task.reused)
        self.frames_damaged += task.damaged
        self.clock_jumps += task.clock_jumped
        if self._first_s is None:
            self._first_s = time.perf_counter() - self._started_s
        for stage, ms in task.times_ms.items():
            self._stages[stage].add(ms)
        if task.off_palette is not None:
            self._off_palette += task.off_palette
            self._measured += 1
        self._blank.add(task.blank)

    def finish(
        self,
        source: FrameSource,
        source_lost: str | None,
        interrupted: bool,
        run: dict[str, Any],
        error: str | None = None,
        frames_missed: dict[str, int] | None = None,
    ) -> RunReport:
        """Stop the clock and return the report; for the arguments see :class:`RunReport`."""
        wall_s = time.perf_counter() - self._began_s
        painted = self._painted
        if painted is not None:
            painted.finish()
        warnings = (painted.warning,) if painted is not None and painted.warning else ()
        live = source if isinstance(source, LiveSource) else None
        frames_dropped = live.dropped if live else 0
        return RunReport(
            frames_in=self.frames_in + frames_dropped,
            frames_dropped=frames_dropped,
            frames_translated=self._translated,
            frames_out=self.frames_out,
            frames_lost=source.frames_lost,
            frames_damaged=self.frames_damaged,
            frames_missed=frames_missed or {},
            frames_reused=self.frames_reused,
            frames_blank=self._blank.count,
            reconnects=live.reconnects if live else 0,
            stalls=live.stalls if live else 0,
            clock_jumps=self.clock_jumps,
            source_lost=source_lost,
            off_palette_share=self._off_palette / self._measured if self._measured else None,
            wall_s=wall_s,
            fps=self.frames_out / wall_s if wall_s > 0 else 0.0,
            first_frame_s=self._first_s,
            peak_rss_mib=peak_rss_mib(),
            anon_rss_mib=anon_rss_mib(),
            interrupted=interrupted,
            error=error,
            painted=painted.to_json() if painted else {},
            label_warnings=warnings,
            stages={stage: histogram.to_json() for stage, histogram in self._stages.items()},
            run={"python": platform.python_version(), "machine": platform.machine(), **run},
        )
