"""``python -m experiments.speed.soak``: do memory, descriptors or threads grow in a long run?

The whole of a run except decoding: drawn label maps with noise, no two alike, through repair, the
engine in lanes, and an H.264 file; status lines and all.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p_runtime.console import P2PCommand, setup_logging

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from p2p_runtime.video.frames import FrameTask, VideoInfo

__all__ = ["SoakReport", "main", "soak"]

SOAK_SCHEMA = 1
SCENES = 24
NOISE_LEVELS = 3
WARM_UP = 0.2
"""Share of the run before memory counts as settled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SoakReport:
    """How a process's resources went along in a run.

    Attributes:
        frames: how many were translated.
        fps: frames a second.
        slope_mib: growth of resident memory in MiB per 10,000 frames, by least squares over
            what came after the first fifth.
        rss_mib: resident memory at the first sample after that, the last, and the largest.
        descriptors, threads: fewest and most after that.
        samples: [frames, rss_mib, descriptors, threads] at regular intervals.
    """

    frames: int
    fps: float
    slope_mib: float
    rss_mib: tuple[float, float, float]
    descriptors: tuple[int, int]
    threads: tuple[int, int]
    samples: list[list[float]]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"schema": SOAK_SCHEMA, **asdict(self)}


class _Scenes:
    """Drawn label maps for ever, with noise, so that no two frames are alike."""

    frames_lost = 0

    def __init__(self, frames: int, height: int, width: int) -> None:
        import numpy as np

        from p2p_runtime.video.frames import VideoInfo
        from p2p_train.scenes import draw_scene

        self._scenes = [draw_scene(seed, height, width)[0] for seed in range(SCENES)]
        self._noise = np.random.default_rng(0)
        self.info: VideoInfo = VideoInfo(width=width, height=height, fps=25, frame_count=frames)

    def __iter__(self) -> Iterator[FrameTask]:
        import numpy as np

        from p2p_runtime.video.frames import FrameTask

        for index in range(self.info.frame_count or 0):
            scene: NDArray[np.int16] = self._scenes[index % SCENES].astype(np.int16)
            scene += self._noise.integers(-NOISE_LEVELS, NOISE_LEVELS + 1, scene.shape, np.int16)
            image = scene.clip(0, 255).astype(np.uint8)
            yield FrameTask(picture=image, index=index, timestamp_s=index / self.info.fps)

    def close(self) -> None:
        """Nothing to free."""


def soak(
    model: Path, frames: int, folder: Path, *, size_px: tuple[int, int] = (96, 128)
) -> SoakReport:
    """Translate so many frames and return a :class:`SoakReport`.

    Args:
        model: the bundle.
        frames: how many.
        folder: where the video goes.
        size_px: height and width of the frames.
    """
    from p2p_runtime.app.heartbeat import resources
    from p2p_runtime.translate.pipeline import run_pipeline
    from p2p_runtime.translate.translator import Translator
    from p2p_runtime.translate.workers import default_workers, use_one_opencv_thread
    from p2p_runtime.video.sinks import open_sink

    use_one_opencv_thread()
    samples: list[list[float]] = []
    every = max(1, frames // 200)

    def sample(task: FrameTask) -> None:
        if task.index % every == 0:
            found = resources()
            samples.append([task.index, found["rss_mib"], found["descriptors"], found["threads"]])

    source = _Scenes(frames, *size_px)
    sink = open_sink(
        folder / "soak.mp4", width=size_px[1], height=size_px[0], fps=25, overwrite=True
    )
    with Translator.load(model, device="cpu", workers=default_workers("cpu", None)) as translator:
        report = run_pipeline(source, translator, sink, on_frame=sample)
    return _report(report.frames_out, report.fps, samples)


def _report(frames: int, fps: float, samples: list[list[float]]) -> SoakReport:
    import numpy as np

    settled = np.array([row for row in samples if row[0] >= WARM_UP * frames])
    at, rss_mib, descriptors, threads = settled.T
    slope, _ = np.polyfit(at, rss_mib, 1)
    return SoakReport(
        frames=frames,
        fps=round(fps, 1),
        slope_mib=round(float(slope) * 1e4, 3),
        rss_mib=(float(rss_mib[0]), float(rss_mib[-1]), float(rss_mib.max())),
        descriptors=(int(descriptors.min()), int(descriptors.max())),
        threads=(int(threads.min()), int(threads.max())),
        samples=samples,
    )


@click.command(cls=P2PCommand)
@click.option("--frames", metavar="N", type=click.IntRange(100), default=20_000, show_default=True)
@click.option("--ngf", metavar="N", type=click.IntRange(1), default=8, show_default=True)
@click.option("--json", "output", metavar="FILE", type=click.Path(path_type=Path), default=None)
def main(frames: int, ngf: int, output: Path | None) -> None:
    """Translate many frames with a tiny generator, and say whether anything grows."""
    setup_logging()
    from experiments.random_models import write_random_model
    from p2p_bench.machine import describe_machine
    from p2p_runtime.files import write_text

    machine = describe_machine(None)
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "tiny-int8.onnx"
        # In a process of its own: torch would be in the memory that is measured.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(write_random_model, model, ngf=ngf, side_px=64).result()
        report = soak(model, frames, Path(scratch))
    click.echo(
        f"{report.frames} frames at {report.fps} frames/s: memory {report.rss_mib[0]:.1f} -> "
        f"{report.rss_mib[1]:.1f} MiB, {report.slope_mib:+.2f} MiB per 10,000 frames; "
        f"descriptors {report.descriptors[0]}-{report.descriptors[1]}, "
        f"threads {report.threads[0]}-{report.threads[1]}"
    )
    if output is not None:
        write_text(output, json.dumps({"machine": machine, **report.to_json()}) + "\n")


if __name__ == "__main__":
    main()
