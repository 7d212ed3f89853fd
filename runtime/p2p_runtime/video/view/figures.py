"""What the page, and those who collect figures, are told about a run."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from typing import Any

import numpy as np

from p2p_runtime.labels.palette import Palette
from p2p_runtime.video.frames import FrameSource, FrameTask
from p2p_runtime.video.live import LiveSource

from .screen import ShownFrame

__all__ = ["Figures"]

RECENT = 300
"""Number of frames whose times are looked at."""

RATE_S = 3.0
"""Duration over which the frame rate is measured."""

SMALLEST = 0.0005
"""Share of a class below which it cannot be seen."""

QUANTILES = (0.5, 0.95, 0.99)


class Figures:
    """The figures of a run while it goes on; there is no source before it is open."""

    def __init__(
        self, name: str, source: FrameSource | None = None, palette: Palette | None = None
    ) -> None:
        self._name, self._palette = name, palette
        self._source = source if isinstance(source, LiveSource) else None
        self._state = "starting" if source is None else "live" if self._source else "file"
        self._recent: deque[tuple[float, dict[str, float]]] = deque(maxlen=RECENT)
        self._total_ms: defaultdict[str, float] = defaultdict(float)
        self._frames = 0

    def add(self, task: FrameTask) -> None:
        """Count a frame that was written."""
        self._frames += 1
        self._recent.append((time.perf_counter(), task.times_ms))
        for stage, ms in task.times_ms.items():
            self._total_ms[stage] += ms

    def to_json(self, shown: ShownFrame | None, viewers: int) -> dict[str, Any]:
        """Return the figures as plain values: counts, milliseconds by stage, classes in sight."""
        recent = list(self._recent)
        source = self._source
        lost = source is not None and source.lost
        now_s = time.perf_counter()
        return {
            "source": self._name,
            "state": "lost" if lost else self._state,
            "silent_s": round(now_s - recent[-1][0], 3) if recent else None,
            "frames": self._frames,
            "fps": round(_rate([at_s for at_s, _ in recent], now_s), 2),
            "dropped": source.dropped if source else 0,
            "reconnects": source.reconnects if source else 0,
            "stalls": source.stalls if source else 0,
            "viewers": viewers,
            "stages": _percentiles([times_ms for _, times_ms in recent]),
            "classes": self._classes(shown),
        }

    def to_prometheus(self, viewers: int) -> str:
        """Return the figures in Prometheus' text format."""
        figures = self.to_json(None, viewers)
        lines = []
        for name, kind, value, text in (
            ("frames_total", "counter", figures["frames"], "Frames written."),
            ("frames_dropped_total", "counter", figures["dropped"], "Frames that came too fast."),
            ("reconnects_total", "counter", figures["reconnects"], "Times the source came back."),
            ("stalls_total", "counter", figures["stalls"], "Connections on which no frame came."),
            ("frames_per_second", "gauge", figures["fps"], "Frames written, of late."),
            ("source_up", "gauge", int(figures["state"] in ("live", "file")), "1 unless lost."),
            ("viewers", "gauge", viewers, "Open connections to the page."),
        ):
            lines += [f"# HELP p2p_{name} {text}", f"# TYPE p2p_{name} {kind}"]
            lines.append(f"p2p_{name} {value}")
        name = "p2p_stage_seconds"
        lines += [f"# HELP {name} Time of a frame in a stage.", f"# TYPE {name} summary"]
        for stage, row in figures["stages"].items():
            for quantile, ms in zip(QUANTILES, row, strict=True):
                lines.append(f'{name}{{stage="{stage}",quantile="{quantile}"}} {ms / 1e3:.6f}')
            lines.append(f'{name}_sum{{stage="{stage}"}} {self._total_ms[stage] / 1e3:.6f}')
            lines.append(f'{name}_count{{stage="{stage}"}} {self._frames}')
        return "\n".join(lines) + "\n"

    def _classes(self, shown: ShownFrame | None) -> list[dict[str, Any]]:
        """Return name, colour and share (0-1) of the classes of a frame's input, in their order."""
        if self._palette is None or shown is None or shown.class_ids is None:
            return []
        shares = np.bincount(shown.class_ids.ravel(), minlength=256) / shown.class_ids.size
        classes = zip(self._palette.classes, self._palette.colours_rgb, shares, strict=False)
        return [
            {"name": name, "rgb": colour, "share": round(float(share), 4)}
            for name, colour, share in classes
            if share > SMALLEST
        ]


def _rate(written_s: list[float], now_s: float) -> float:
    """Return frames a second from when they were written."""
    late = [at_s for at_s in written_s if at_s > now_s - RATE_S]
    return (len(late) - 1) / max(late[-1] - late[0], 1e-9) if len(late) > 1 else 0.0


def _percentiles(times_ms: list[dict[str, float]]) -> dict[str, list[float]]:
    """Return p50, p95 and p99 of each stage in milliseconds."""
    return {
        stage: np.quantile([row.get(stage, 0.0) for row in times_ms], QUANTILES).round(3).tolist()
        for stage in (times_ms[-1] if times_ms else {})
    }
