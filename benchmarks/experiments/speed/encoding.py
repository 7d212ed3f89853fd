"""``python -m experiments.speed.encoding``: measure what it costs to write H.264.

Each preset of libx264 encodes the images that a model generates from a label video, with the
encoder of ``p2p-run``, at several qualities. Rounds are interleaved.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.harness import Document, input_option, rounds_option, study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EncodingFigures", "main", "measure_encodings", "table"]

PRESETS = ("veryfast", "superfast", "ultrafast")
QUALITIES = (17, 18, 19, 20)
FRAMES_PER_S = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingFigures:
    """The cost and quality of one setting of libx264.

    Attributes:
        preset, crf: the setting.
        cpu_ms: CPU time per frame with the conversion from BGR; the median of the rounds.
        kib: size of the file.
        psnr_db: PSNR of the decoded frames to the encoded ones, averaged over the frames.
    """

    preset: str
    crf: int
    cpu_ms: float
    kib: int
    psnr_db: float


def measure_encodings(
    frames: Sequence[NDArray[np.uint8]],
    *,
    rounds: int,
    presets: Sequence[str] = PRESETS,
    qualities: Sequence[int] = QUALITIES,
) -> list[EncodingFigures]:
    """Encode frames in memory, once per round with every preset at every quality.

    Args:
        frames: (H, W, 3) uint8 BGR each, all of one size.
        rounds: number of interleaved rounds.
        presets, qualities: of libx264; a quality is its ``crf``.
    """
    from p2p_bench.measure import rotate
    from p2p_runtime.translate.workers import use_one_opencv_thread

    use_one_opencv_thread()
    settings = [(preset, crf) for preset in presets for crf in qualities]
    cpu_ms: dict[tuple[str, int], list[float]] = {one: [] for one in settings}
    files: dict[tuple[str, int], io.BytesIO] = {}
    for number in range(rounds):
        for preset, crf in rotate(settings, number):
            start_s = time.process_time()
            files[preset, crf] = _encode(frames, preset, crf)
            cpu_ms[preset, crf].append((time.process_time() - start_s) / len(frames) * 1e3)
    return [
        EncodingFigures(
            preset=preset,
            crf=crf,
            cpu_ms=statistics.median(cpu_ms[preset, crf]),
            kib=round(files[preset, crf].getbuffer().nbytes / 1024),
            psnr_db=_psnr_db(frames, files[preset, crf]),
        )
        for preset, crf in settings
    ]


def _encode(frames: Sequence[NDArray[np.uint8]], preset: str, crf: int) -> io.BytesIO:
    import av

    from p2p_runtime.video.frames import FrameTask, VideoInfo
    from p2p_runtime.video.sinks.h264 import H264Sink

    file = io.BytesIO()
    height, width = frames[0].shape[:2]
    container: Any = av.open(file, "w", format="matroska")
    video = VideoInfo(width=width, height=height, fps=FRAMES_PER_S, frame_count=len(frames))
    encoder = H264Sink(container, "memory", video, preset=preset, crf=crf)
    for index, image in enumerate(frames):
        encoder.write(FrameTask(picture=image, index=index, timestamp_s=index / FRAMES_PER_S))
    encoder.close()
    return file


def _psnr_db(frames: Sequence[NDArray[np.uint8]], file: io.BytesIO) -> float:
    import cv2

    from experiments.labels.recoding import read_back

    decoded_bgr = read_back(file).bgr  # (N, H, W, 3)
    height, width = frames[0].shape[:2]
    pairs = zip(frames, decoded_bgr[:, :height, :width], strict=True)
    return statistics.mean(cv2.PSNR(encoded, decoded) for encoded, decoded in pairs)


def table(document: Document) -> str:
    """Return a row per preset and quality."""
    from experiments.harness import markdown_table

    rows = [
        [
            row["preset"],
            row["crf"],
            f"{row['cpu_ms']:.1f} ms",
            f"{row['kib']} KiB",
            f"{row['psnr_db']:.1f} dB",
        ]
        for row in document["rows"]
    ]
    return markdown_table(["preset", "crf", "CPU time per frame", "file", "PSNR"], rows)


@study(
    "encoding",
    input_option("--video", "Label video."),
    input_option("--model", "Bundle.  [default: the demo model]", required=False),
    rounds_option(5),
    table=table,
)
def main(*, video: Path, model: Path | None, rounds: int, smoke: bool) -> Document:
    """Measure what each preset of libx264 costs p2p-run, and the quality it keeps."""
    from p2p_bench.files import read_frames
    from p2p_runtime.translate.discover import DEMO_MODELS, find_bundles
    from p2p_runtime.translate.translator import Translator

    model = model or find_bundles(DEMO_MODELS)[0]
    with Translator.load(model, device="cpu") as translator:
        frames = [translator(frame) for frame in read_frames(video)[: 3 if smoke else None]]
    presets, qualities = (PRESETS[:1], QUALITIES[:1]) if smoke else (PRESETS, QUALITIES)
    rows = measure_encodings(frames, rounds=rounds, presets=presets, qualities=qualities)
    return {"rounds": rounds, "rows": [asdict(row) for row in rows]}


if __name__ == "__main__":
    main()
