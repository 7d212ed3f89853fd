"""``python -m experiments.labels.repair``: what codecs do to label colours, and what repair undoes.

A lossless label video, or drawn street scenes, is sent through codecs and read back: by the colours
alone, by the nearest palette colour, and by label repair.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p_runtime.console import P2PCommand, setup_logging
from p2p_runtime.errors import SourceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from experiments.labels.recoding import Coding, Recoded
    from p2p_runtime.labels.yuv import Picture
    from p2p_runtime.model.contract import PixelContract

__all__ = ["Row", "main", "measure_coding", "measure_votes"]

SIDE_PX = 256
THIN = ("pole", "traffic light", "traffic sign", "person", "rider", "motorcycle", "bicycle")
LEAST_THIN_PX = 200
VOTES = (1, 3, 5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One codec at one quality; shares are 0-1 of all pixels of all frames.

    Attributes:
        name: codec and quality.
        kib: the file's size.
        exact: pixels that have their exact colour still.
        nearest: pixels whose nearest palette colour is right.
        repaired: pixels that are right after repair as `p2p-run` does it, from planes.
        repaired_bgr: pixels that are right after repair of what FFmpeg made BGR of.
        left: of the pixels that the nearest colour gets wrong, how many repair gets wrong, net.
        thin_nearest, thin_repaired: mean intersection over union of small and thin classes.
        nearest_ms, repaired_ms: median time to fit a frame to 256x256 px on one core.
        native_ms: the same at the frame's own size.
        drift: what was recognised to be off with the colours as a whole.
    """

    name: str
    kib: int
    exact: float
    nearest: float
    repaired: float
    repaired_bgr: float
    left: float | None
    thin_nearest: float
    thin_repaired: float
    nearest_ms: float
    repaired_ms: float
    native_ms: float
    drift: str


def measure_coding(truth: NDArray[np.uint8], coding: Coding, contract: PixelContract) -> Row:
    """Send label maps through a codec and read them back.

    Args:
        truth: (N, H, W, 3) uint8 BGR in exact palette colours.
        coding: the codec.
        contract: of the frames' own size.
    """
    from experiments.labels.recoding import recode

    return measure_frames(coding.name, truth, recode(truth, coding), contract)


def measure_frames(
    name: str,
    truth: NDArray[np.uint8],
    decoded: Recoded,
    contract: PixelContract,
) -> Row:
    """Compare what was decoded with the truth, (N, H, W, 3) uint8 BGR."""
    from dataclasses import replace

    import numpy as np

    from p2p_runtime.labels.colorspace import ColorspaceWatch

    assert contract.palette is not None
    palette = contract.palette
    ids = palette.to_ids(truth)
    watch = ColorspaceWatch(palette)
    drift = [watch.update(frame) for frame in decoded.pictures][-1]
    nearest = palette.to_ids(decoded.bgr)
    repaired, repaired_bgr = (
        np.stack([contract.classify(frame, mismatch=drift) for frame in frames])
        for frames in (decoded.pictures, decoded.bgr)
    )
    small = replace(contract, height=SIDE_PX, width=SIDE_PX)
    wrong, left = float((nearest != ids).mean()), float((repaired != ids).mean())
    return Row(
        name=name,
        kib=decoded.kib,
        exact=float((decoded.bgr == truth).all(axis=-1).mean()),
        nearest=1 - wrong,
        repaired=1 - left,
        repaired_bgr=float((repaired_bgr == ids).mean()),
        left=left / wrong if wrong else None,
        thin_nearest=_thin_iou(nearest, ids, palette.classes),
        thin_repaired=_thin_iou(repaired, ids, palette.classes),
        nearest_ms=_median_ms(
            lambda frame: palette.nearest_colours(small.preprocess(frame, repair_labels=False)),
            list(decoded.bgr),
        ),
        repaired_ms=_median_ms(
            lambda frame: small.paint(small.classify(frame, mismatch=drift)), decoded.pictures
        ),
        native_ms=_median_ms(
            lambda frame: contract.classify(frame, mismatch=drift), decoded.pictures
        ),
        drift=drift.name,
    )


def measure_votes(
    truth: NDArray[np.uint8], coding: Coding, contract: PixelContract
) -> dict[int, dict[str, float]]:
    """Return, by the number of frames that vote, the shares of right and of flickering pixels.

    A pixel flickers when its class changes from one frame to the next and the truth's does not.
    """
    import numpy as np

    from experiments.labels.recoding import recode
    from p2p_runtime.translate.preprocess import Preprocessor

    assert contract.palette is not None
    ids = contract.palette.to_ids(truth)
    calm = ids[1:] == ids[:-1]
    decoded = recode(truth, coding)
    results = {}
    for vote in VOTES:
        fitter = Preprocessor(contract, temporal_filter=vote)
        voted = contract.palette.to_ids(np.stack([fitter(frame) for frame in decoded.pictures]))
        flickers = (voted[1:] != voted[:-1]) & calm
        results[vote] = {
            "right": float((voted == ids).mean()),
            "flickering": float(flickers.mean()),
        }
    return results


def to_markdown(rows: list[Row]) -> str:
    """Return the rows as a table for a page."""
    lines = [
        "| codec | KiB | exact | nearest colour | repaired | from BGR | errors left "
        "| thin classes, IoU | ms, nearest | ms, repaired |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        left = "" if row.left is None else f"{row.left:.0%}"
        lines.append(
            f"| {row.name} | {row.kib} | {row.exact:.1%} | {row.nearest:.2%} | {row.repaired:.2%} "
            f"| {row.repaired_bgr:.2%} | {left} | {row.thin_nearest:.2f} → {row.thin_repaired:.2f} "
            f"| {row.nearest_ms:.2f} | {row.repaired_ms:.2f} |"
        )
    return "\n".join(lines)


def _thin_iou(ids: NDArray[np.uint8], truth: NDArray[np.uint8], classes: tuple[str, ...]) -> float:
    scores = []
    for index, name in enumerate(classes):
        here, there = ids == index, truth == index
        if name in THIN and int(there.sum()) >= LEAST_THIN_PX:
            scores.append(float((here & there).sum() / (here | there).sum()))
    return statistics.fmean(scores) if scores else 1.0


def _median_ms(work: Callable[[Any], object], frames: Sequence[Picture]) -> float:
    """Return the median time of ``work`` on a frame, in milliseconds, once all are known to it."""
    for frame in frames:
        work(frame)
    times_ms = []
    for frame in frames:
        start_s = time.perf_counter()
        work(frame)
        times_ms.append((time.perf_counter() - start_s) * 1e3)
    return statistics.median(times_ms)


def _measure_lossy(path: Path, truth: NDArray[np.uint8], contract: PixelContract) -> Row:
    from experiments.labels.recoding import read_back

    return measure_frames(path.name, truth, read_back(io.BytesIO(path.read_bytes())), contract)


def _read(path: str) -> NDArray[np.uint8]:
    import numpy as np

    from p2p_runtime.video.sources import open_source

    with contextlib.closing(open_source(path)) as source:
        frames = [frame.image for frame in source]
    if not frames:
        raise SourceError(f"{path} holds no frames")
    return np.stack(frames)


def _draw(count: int) -> NDArray[np.uint8]:
    import numpy as np

    from p2p_train.scenes import draw_scene

    return np.stack([draw_scene(seed, SIDE_PX, SIDE_PX)[0] for seed in range(count)])


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process on one core, so that the times mean what they say."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@click.command(cls=P2PCommand)
@click.option("--video", metavar="FILE", help="A lossless label video. [default: drawn scenes]")
@click.option("--lossy", metavar="FILE", help="The same video from elsewhere, with losses.")
@click.option("--scenes", type=click.IntRange(2), default=24, show_default=True)
@click.option("--palette", default="cityscapes", show_default=True, metavar="NAME|FILE.json")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for label-repair.json, label-repair.png and label-repair-crop.png.",
)
def main(
    video: str | None, lossy: str | None, scenes: int, palette: str, output: Path | None
) -> None:
    """Measure label repair on codecs and qualities."""
    setup_logging()
    from experiments.labels.recoding import CODINGS, DRIFTED
    from p2p_runtime.labels.palette import load_palette
    from p2p_runtime.model.contract import PixelContract

    truth = _read(video) if video else _draw(scenes)
    contract = PixelContract(
        height=truth.shape[1], width=truth.shape[2], palette=load_palette(palette)
    )
    document = _settings(video, truth)
    with _one_core():
        rows = [measure_coding(truth, coding, contract) for coding in CODINGS]
        if lossy:
            rows.append(_measure_lossy(Path(lossy), truth, contract))
        drifted = [measure_coding(truth, coding, contract) for coding in DRIFTED]
    votes = measure_votes(truth, CODINGS[4], contract) if video else {}
    document |= {
        "rows": [_rounded(asdict(row)) for row in rows],
        "drifted": [_rounded(asdict(row)) for row in drifted],
        "votes": {str(count): _rounded(figures) for count, figures in votes.items()},
    }
    click.echo(to_markdown(rows))
    click.echo(f"\n{to_markdown(drifted)}\n\n{json.dumps(document['votes'])}")
    if output is not None:
        _write(output, document, rows, truth, contract)


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, 5) if isinstance(value, float) else value
        for name, value in figures.items()
    }


def _settings(video: str | None, truth: NDArray[np.uint8]) -> dict[str, Any]:
    from p2p_bench.machine import describe_machine

    return {
        "machine": describe_machine(1),
        "video": Path(video).name if video else "drawn scenes",
        "frames": len(truth),
        "size_px": list(truth.shape[1:3]),
        "fitted_px": SIDE_PX,
    }


def _write(
    folder: Path,
    document: dict[str, Any],
    rows: list[Row],
    truth: NDArray[np.uint8],
    contract: PixelContract,
) -> None:
    from p2p_runtime.files import write_bytes, write_json

    from .pictures import draw_chart, draw_crops

    write_json(folder / "label-repair.json", document)
    write_bytes(folder / "label-repair.png", draw_chart(rows))
    write_bytes(folder / "label-repair-crop.png", draw_crops(truth, contract))


if __name__ == "__main__":
    main()
