"""``python -m experiments.speed.encoding``: what it costs to write a translated video as H.264.

Each preset of libx264 writes the frames that a model makes of a label video, through the encoder of
`p2p-run`, at several qualities. All take turns.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p_runtime.console import P2PCommand, setup_logging

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EncodingFigures", "main", "measure_encodings"]

ENCODING_SCHEMA = 1
PRESETS = ("veryfast", "superfast", "ultrafast")
QUALITIES = (17, 18, 19, 20)
FRAMES_PER_S = 15

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingFigures:
    """What one way to encode costs, and what it keeps.

    Attributes:
        preset, crf: libx264's.
        cpu_ms: CPU time a frame, with the conversion from BGR; the median of the rounds.
        kib: size of the file.
        psnr_db: of what is read back against what was written, the mean over the frames.
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
    """Encode frames in memory, each way once a round.

    Args:
        frames: (H, W, 3) uint8 BGR each, all of one size.
        rounds: how often everything takes its turn.
        presets, qualities: libx264's; every preset is tried at every quality.
    """
    from p2p_runtime.translate.workers import use_one_opencv_thread

    use_one_opencv_thread()
    ways = [(preset, crf) for preset in presets for crf in qualities]
    cpu_ms: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    files: dict[tuple[str, int], io.BytesIO] = {}
    for first in range(rounds):
        start = first % len(ways)
        for way in ways[start:] + ways[:start]:
            start_s = time.process_time()
            files[way] = _encode(frames, *way)
            cpu_ms[way].append((time.process_time() - start_s) / len(frames) * 1e3)
    return [
        EncodingFigures(
            preset=preset,
            crf=crf,
            cpu_ms=round(statistics.median(cpu_ms[preset, crf]), 2),
            kib=round(files[preset, crf].getbuffer().nbytes / 1024),
            psnr_db=round(_psnr_db(frames, files[preset, crf]), 2),
        )
        for preset, crf in ways
    ]


def _encode(frames: Sequence[NDArray[np.uint8]], preset: str, crf: int) -> io.BytesIO:
    import av

    from p2p_runtime.video.frames import FrameTask
    from p2p_runtime.video.sinks.h264 import H264Sink

    file = io.BytesIO()
    height, width = frames[0].shape[:2]
    container: Any = av.open(file, "w", format="matroska")
    encoder = H264Sink(
        container, "memory", width=width, height=height, fps=FRAMES_PER_S, preset=preset, crf=crf
    )
    for index, image in enumerate(frames):
        encoder.write(FrameTask(picture=image, index=index, timestamp_s=index / FRAMES_PER_S))
    encoder.close()
    return file


def _psnr_db(frames: Sequence[NDArray[np.uint8]], file: io.BytesIO) -> float:
    import cv2

    from experiments.labels.recoding import read_back

    read = read_back(file).bgr
    height, width = frames[0].shape[:2]
    pairs = zip(frames, read[:, :height, :width], strict=True)
    return statistics.mean(cv2.PSNR(written, seen) for written, seen in pairs)


def _translate(video: Path, model: Path) -> list[NDArray[np.uint8]]:
    from p2p_runtime.translate.translator import Translator
    from p2p_runtime.video.sources import open_source

    with (
        Translator.load(model, device="cpu") as translator,
        contextlib.closing(open_source(str(video))) as source,
    ):
        return [translator(frame.picture) for frame in source]


def _table(figures: Sequence[EncodingFigures]) -> str:
    lines = ["| preset | crf | CPU a frame | size | PSNR |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.preset} | {row.crf} | {row.cpu_ms:.1f} ms | {row.kib} KiB | {row.psnr_db:.1f} dB |"
        for row in figures
    ]
    return "\n".join(lines)


@click.command(cls=P2PCommand)
@click.option("--video", metavar="FILE", type=_FILE, required=True, help="A label video.")
@click.option("--model", metavar="FILE.onnx", type=_FILE, help="[default: the demo model]")
@click.option("--rounds", metavar="N", type=click.IntRange(1), default=5, show_default=True)
@click.option("--json", "output", metavar="FILE", type=click.Path(path_type=Path), default=None)
def main(video: Path, model: Path | None, rounds: int, output: Path | None) -> None:
    """Say what each preset of libx264 costs p2p-run, and what it keeps; Markdown on stdout.

    Example: python -m experiments.speed.encoding --video labels.mp4
    """
    setup_logging()
    from p2p_bench.machine import describe_machine
    from p2p_runtime.app.discover import demo_bundle
    from p2p_runtime.errors import ConfigError
    from p2p_runtime.files import write_json

    model = model or demo_bundle()
    if model is None:
        raise ConfigError("no demo model is installed; name a model with --model")
    machine = describe_machine(None)
    figures = measure_encodings(_translate(video, model), rounds=rounds)
    click.echo(_table(figures))
    if output is not None:
        document = {
            "schema": ENCODING_SCHEMA,
            "machine": machine,
            "rounds": rounds,
            "rows": [asdict(row) for row in figures],
        }
        write_json(output, document)


if __name__ == "__main__":
    main()
