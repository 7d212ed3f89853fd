"""``python -m experiments.speed.live``: how late is a frame when the source is faster?

Label frames are written to ``p2p-run`` through a pipe, several times as fast as its engine, as a
segmenter would. ``p2p-run`` drops the frames that arrive while one is being translated, so a frame
should be written before the engine could have made two. All frames sent are counted and compared
with the report.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from experiments.harness import (
    Document,
    files_option,
    float_option,
    markdown_table,
    study,
    threads_option,
)
from p2p_bench.files import read_frames
from p2p_runtime.errors import P2PError
from p2p_runtime.translate.translator import Translator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["main", "measure_live", "table"]

WARM_UP = 5
ENGINE_FRAMES = 40
PIPE_SHARE, LARGEST_PIPE = 4, 1 << 20
"""Capacity of the pipe: a fraction of a frame, at most what Linux grants without privileges."""


def measure_live(
    model: Path, frames: Sequence[NDArray[np.uint8]], *, speed: float, seconds: float, threads: int
) -> dict[str, Any]:
    """Send frames to ``p2p-run``, ``speed`` times as fast as its engine alone.

    Args:
        model: the bundle.
        frames: (H, W, 3) uint8 BGR each, all of one size, sent in a loop.
        speed: frames sent in the time that the engine needs for one.
        seconds: duration.
        threads: CPU threads of the model.

    Returns:
        ``engine_ms``, median time of the engine; ``sent`` and ``sent_fps``, frames sent, and per
        second; ``received``, ``dropped`` and ``written``, counts of ``p2p-run``; ``p50_ms`` and
        ``p95_ms``, latency from arrival to written; ``p95_in_engine_frames``, the latter over the
        engine's time; ``unaccounted``, frames neither dropped nor written.

    Raises:
        P2PError: ``p2p-run`` failed.
    """
    engine_s = _engine_s(model, frames, threads)
    height, width = frames[0].shape[:2]
    with tempfile.TemporaryDirectory() as scratch:
        report_file = Path(scratch) / "report.json"
        command = [
            *(sys.executable, "-m", "p2p_runtime.cli"),
            *("--video", "-", "--size", f"{width}x{height}", "--drop", "latest"),
            *("--model", str(model), "--device", "cpu", "--threads", str(threads)),
            *("--output", "null:", "--report", str(report_file)),
        ]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert process.stdin is not None
        sent = _feed(process.stdin, frames, engine_s / speed, seconds)
        if code := process.wait():
            raise P2PError(f"p2p-run ended with exit code {code}")
        report: dict[str, Any] = json.loads(report_file.read_text(encoding="utf-8"))
    p50_ms, p95_ms = (report["stages"]["latency"][name] for name in ("p50_ms", "p95_ms"))
    dropped, written = report["frames_dropped"], report["frames_out"]
    return {
        "engine_ms": engine_s * 1e3,
        "sent_fps": speed / engine_s,
        "sent": sent,
        "received": report["frames_in"],
        "dropped": dropped,
        "written": written,
        "p50_ms": p50_ms,
        "p95_ms": p95_ms,
        "p95_in_engine_frames": p95_ms / (engine_s * 1e3),
        "unaccounted": sent - dropped - written,
    }


def _engine_s(model: Path, frames: Sequence[NDArray[np.uint8]], threads: int) -> float:
    """Return the median of the engine's times, as ``p2p-run`` opens it for live sources."""
    with Translator.load(model, device="cpu", threads=threads, allow_spinning=False) as translator:
        seconds = []
        for number in range(WARM_UP + ENGINE_FRAMES):
            batch = translator.contract.preprocess(frames[number % len(frames)])[None]
            started_s = time.perf_counter()
            translator.engine.infer(batch)
            seconds.append(time.perf_counter() - started_s)
    return statistics.median(seconds[WARM_UP:])


def _feed(
    pipe: IO[bytes], frames: Sequence[NDArray[np.uint8]], every_s: float, seconds: float
) -> int:
    """Write a frame whenever it is due; return the number of frames written."""
    raw = [frame.tobytes() for frame in frames]
    sent, start_s = 0, 0.0
    with contextlib.suppress(BrokenPipeError), pipe:  # the exit code tells why it broke
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, min(len(raw[0]) // PIPE_SHARE, LARGEST_PIPE))
        pipe.write(raw[0])
        pipe.flush()  # returns when the model is loaded; from here on, frames are paced
        sent, start_s = 1, time.perf_counter()
        while (now_s := time.perf_counter() - start_s) < seconds:
            if now_s < sent * every_s:
                time.sleep(sent * every_s - now_s)
            pipe.write(raw[sent % len(raw)])
            pipe.flush()
            sent += 1
    return sent


def table(document: Mapping[str, Any]) -> str:
    """Return a result as Markdown, a row per model and video."""
    rows = [
        [
            name,
            f"{row['engine_ms']:.1f} ms",
            f"{row['sent']} at {row['sent_fps']:.0f}/s",
            row["dropped"],
            row["written"],
            row["unaccounted"],
            f"{row['p50_ms']:.1f} ms",
            f"{row['p95_ms']:.1f} ms, {row['p95_in_engine_frames']:.2f} engine frames",
        ]
        for name, row in document["models"].items()
    ]
    titles = ["model, video", "engine", "sent", "dropped", "written", "unaccounted", "p50", "p95"]
    return markdown_table(titles, rows)


@study(
    "live",
    files_option("--video", "videos", "Label video whose frames are sent, best a lossless one."),
    files_option("--model", "models", "Bundle."),
    float_option("--speed", 3, "Frames sent in the time that the engine needs for one."),
    float_option("--seconds", 20, "Duration for each model and video."),
    threads_option(2),
    table=table,
)
def main(
    *,
    videos: tuple[Path, ...],
    models: tuple[Path, ...],
    speed: float,
    seconds: float,
    threads: int,
    smoke: bool,
) -> Document:
    """Measure latency and dropped frames of a source that is faster than the model."""
    frames = {video: read_frames(video) for video in videos}
    options: dict[str, Any] = {
        "speed": speed, "seconds": 1.0 if smoke else seconds, "threads": threads,
    }  # fmt: skip
    rows = {
        f"{model.stem}, {video.name}": measure_live(model, frames[video], **options)
        for video, model in itertools.product(videos, models)
    }
    return {"speed": speed, "models": rows}


if __name__ == "__main__":
    main()
