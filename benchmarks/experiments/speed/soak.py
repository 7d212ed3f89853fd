"""``python -m experiments.speed.soak``: does memory, descriptors or threads grow in a long run?

All of ``p2p-run`` except decoding: drawn label maps with noise, no two alike, through label repair,
the engine in workers, and an H.264 file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.harness import Document, frames_option, study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from p2p_runtime.video.frames import FrameTask, VideoInfo

__all__ = ["SoakReport", "main", "soak", "summarise", "table"]

NGF, SIDE_PX = 8, 64
SMOKE_FRAMES = 200
SCENES = 24
NOISE_LEVELS = 3
WARM_UP = 0.2
"""Share of the run in which memory may grow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SoakReport:
    """The resources of a process during a run.

    Attributes:
        frames: number of translated frames.
        fps: frames a second.
        slope_mib: growth of resident memory in MiB per 10,000 frames, by least squares after the
            first fifth of the run.
        rss_mib: resident memory at the first sample after that, at the last, and the largest.
        descriptors, threads: least and greatest number after that.
        samples: [frames, rss_mib, descriptors, threads] at regular intervals.
    """

    frames: int
    fps: float
    slope_mib: float
    rss_mib: tuple[float, float, float]
    descriptors: tuple[int, int]
    threads: tuple[int, int]
    samples: list[list[float]]


class _Scenes:
    """A source of drawn label maps with noise, no two of them alike."""

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
    """Translate frames and watch the resources of this process.

    Args:
        model: the bundle.
        frames: number of frames.
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
    sink = open_sink(folder / "soak.mp4", source.info, overwrite=True)
    with Translator.load(model, device="cpu", workers=default_workers("cpu", None)) as translator:
        report = run_pipeline(source, translator, sink, on_frame=sample)
    return summarise(report.frames_out, report.fps, samples)


def summarise(frames: int, fps: float, samples: list[list[float]]) -> SoakReport:
    """Return the report of samples, each [frame, rss_mib, descriptors, threads]."""
    import numpy as np

    later = np.array([row for row in samples if row[0] >= WARM_UP * frames])
    at, rss_mib, descriptors, threads = later.T
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


def table(document: Document) -> str:
    """Return memory, descriptors and threads, at the beginning and at the end."""
    from experiments.harness import markdown_table

    first, last, largest = document["rss_mib"]
    growth = f"{document['slope_mib']:+.2f} MiB per 10,000 frames"
    rows = [
        ["frames", f"{document['frames']}"],
        ["resident memory after a fifth, at the end", f"{first:.1f} MiB, {last:.1f} MiB"],
        ["largest resident memory, growth", f"{largest:.1f} MiB, {growth}"],
        ["file descriptors", "{} to {}".format(*document["descriptors"])],
        ["threads", "{} to {}".format(*document["threads"])],
    ]
    return markdown_table(["", "measured"], rows)


@study("soak", frames_option(20_000), table=table)
def main(*, frames: int, smoke: bool) -> Document:
    """Translate many frames with a tiny generator, and record whether anything grows."""
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "tiny-int8.onnx"
        # In a process of its own, since torch would be part of the memory that is measured.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(_write_model, model).result()
        return asdict(soak(model, SMOKE_FRAMES if smoke else frames, Path(scratch)))


def _write_model(path: Path) -> None:
    from experiments.random_models import write_random_int8
    from p2p_train.config import TrainConfig

    write_random_int8(path, TrainConfig.of(ngf=NGF, image_size=(SIDE_PX, SIDE_PX)))


if __name__ == "__main__":
    main()
