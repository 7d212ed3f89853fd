"""``python -m experiments.labels.repair``: measure label repair on codecs and qualities.

A lossless label video, or drawn street scenes, is encoded and decoded. Each pixel is then
classified by its nearest palette colour and by label repair, and compared with the original.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.harness import RESULTS, Document, input_option, study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from p2p_runtime.labels.yuv import Picture
    from p2p_runtime.model.contract import PixelContract

    from .recoding import Coding, Recoded

__all__ = [
    "Row",
    "drawn_scenes",
    "main",
    "measure_coding",
    "measure_frames",
    "median_ms",
    "one_core",
    "table",
]

SIDE_PX = 256
"""Height and width of the generator's input, and of drawn scenes."""
SCENES, SMOKE_SCENES = 24, 2
THIN = ("pole", "traffic light", "traffic sign", "person", "rider", "motorcycle", "bicycle")
"""Classes of thin or small objects."""
LEAST_THIN_PX = 200
"""Number of pixels from which on a thin class is scored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The figures of one codec at one quality; shares are 0-1 of all pixels of all frames.

    Attributes:
        name: codec and quality.
        kib: size of the file.
        exact: pixels that kept their exact colour.
        nearest: pixels whose nearest palette colour is right.
        repaired: pixels that are right after repair as in ``p2p-run``, from YUV frames.
        repaired_bgr: pixels that are right after repair of FFmpeg's BGR.
        left: share of the nearest colour's errors that remain after repair, net.
        thin_nearest, thin_repaired: mean intersection over union of the thin classes.
        nearest_ms, repaired_ms: median time of a frame for a 256x256 input, on one core.
        native_ms: the same for repair at the frame's own size.
        mismatch: the colorspace mismatch that was detected, or "".
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
    mismatch: str


def measure_coding(truth: NDArray[np.uint8], coding: Coding, contract: PixelContract) -> Row:
    """Encode, decode and classify label maps.

    Args:
        truth: (N, H, W, 3) uint8 BGR in exact palette colours.
        coding: the codec.
        contract: of the frames' own size.
    """
    from .recoding import recode

    return measure_frames(coding.name, truth, recode(truth, coding), contract)


def measure_frames(
    name: str, truth: NDArray[np.uint8], decoded: Recoded, contract: PixelContract
) -> Row:
    """Compare decoded frames with the original, (N, H, W, 3) uint8 BGR."""
    import numpy as np

    from p2p_runtime.labels.colorspace import ColorspaceWatch

    assert contract.palette is not None
    palette = contract.palette
    ids = palette.to_ids(truth)  # (N, H, W)
    watch = ColorspaceWatch(palette)
    mismatch = [watch.update(frame) for frame in decoded.pictures][-1]
    nearest = palette.to_ids(decoded.bgr)
    repaired, repaired_bgr = (
        np.stack([contract.classify(frame, mismatch=mismatch) for frame in frames])
        for frames in (decoded.pictures, decoded.bgr)
    )
    small = replace(contract, height=SIDE_PX, width=SIDE_PX)
    errors, left = float((nearest != ids).mean()), float((repaired != ids).mean())
    return Row(
        name=name,
        kib=round(len(decoded.file) / 1024),
        exact=float((decoded.bgr == truth).all(axis=-1).mean()),
        nearest=1 - errors,
        repaired=1 - left,
        repaired_bgr=float((repaired_bgr == ids).mean()),
        left=left / errors if errors else None,
        thin_nearest=_thin_iou(nearest, ids, palette.classes),
        thin_repaired=_thin_iou(repaired, ids, palette.classes),
        nearest_ms=median_ms(
            lambda frame: palette.nearest_colours(small.preprocess(frame, repair_labels=False)),
            list(decoded.bgr),
        ),
        repaired_ms=median_ms(
            lambda frame: small.paint(small.classify(frame, mismatch=mismatch)), decoded.pictures
        ),
        native_ms=median_ms(
            lambda frame: contract.classify(frame, mismatch=mismatch), decoded.pictures
        ),
        mismatch=mismatch.name,
    )


def table(document: Document) -> str:
    """Return the codecs and the wrong colorspaces."""
    parts = [_codec_table(document["rows"]), "Colours stored in another colorspace than assumed:"]
    parts.append(_codec_table(document["wrong_colorspace"]))
    return "\n\n".join(parts)


def _codec_table(rows: Sequence[dict[str, Any]]) -> str:
    from experiments.harness import markdown_table

    titles = ["codec", "KiB", "exact", "nearest colour", "repaired", "repaired from BGR"]
    titles += ["errors left", "thin classes, IoU", "nearest, ms", "repaired, ms"]
    lines = [
        [
            row["name"],
            row["kib"],
            f"{row['exact']:.1%}",
            f"{row['nearest']:.2%}",
            f"{row['repaired']:.2%}",
            f"{row['repaired_bgr']:.2%}",
            "" if row["left"] is None else f"{row['left']:.0%}",
            f"{row['thin_nearest']:.2f} → {row['thin_repaired']:.2f}",
            f"{row['nearest_ms']:.2f}",
            f"{row['repaired_ms']:.2f}",
        ]
        for row in rows
    ]
    return markdown_table(titles, lines)


def _thin_iou(ids: NDArray[np.uint8], truth: NDArray[np.uint8], classes: tuple[str, ...]) -> float:
    scores = []
    for index, name in enumerate(classes):
        found, true = ids == index, truth == index
        if name in THIN and int(true.sum()) >= LEAST_THIN_PX:
            scores.append(float((found & true).sum() / (found | true).sum()))
    return statistics.fmean(scores) if scores else 1.0


def median_ms(work: Callable[[Any], object], frames: Sequence[Picture]) -> float:
    """Return the median time of ``work`` on a frame in milliseconds, after an untimed pass."""
    for frame in frames:
        work(frame)
    times_ms = []
    for frame in frames:
        start_s = time.perf_counter()
        work(frame)
        times_ms.append((time.perf_counter() - start_s) * 1e3)
    return statistics.median(times_ms)


def drawn_scenes(count: int) -> NDArray[np.uint8]:
    """Return label maps of drawn scenes, (N, H, W, 3) uint8 BGR."""
    import numpy as np

    from p2p_train.scenes import draw_scene

    return np.stack([draw_scene(seed, SIDE_PX, SIDE_PX)[0] for seed in range(count)])


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on one core while times are taken."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@study(
    "label-repair",
    input_option("--video", "Lossless label video.  [default: drawn scenes]", required=False),
    input_option("--lossy", "The same video after another encoder.", required=False),
    table=table,
)
def main(*, video: Path | None, lossy: Path | None, smoke: bool) -> Document:
    """Measure label repair on codecs and qualities, and draw a chart and crops."""
    import numpy as np

    from p2p_bench.files import read_frames
    from p2p_runtime.labels.palette import CITYSCAPES
    from p2p_runtime.model.contract import PixelContract

    from .recoding import CODINGS, WRONG_COLORSPACE, read_back

    scenes = SMOKE_SCENES if smoke else SCENES
    truth = np.stack(read_frames(video)) if video else drawn_scenes(scenes)
    height, width = truth.shape[1:3]
    contract = PixelContract(height=height, width=width, palette=CITYSCAPES)
    with one_core():
        codings = CODINGS[2:4] if smoke else CODINGS
        rows = [measure_coding(truth, coding, contract) for coding in codings]
        if lossy:
            decoded = read_back(io.BytesIO(lossy.read_bytes()))
            rows.append(measure_frames(lossy.name, truth, decoded, contract))
        shifted = [measure_coding(truth, coding, contract) for coding in WRONG_COLORSPACE]
    if not smoke:
        _write_pictures(rows, truth, contract)
    return {
        "video": video.name if video else "drawn scenes",
        "frames": len(truth),
        "size_px": [height, width],
        "input_px": SIDE_PX,
        "rows": list(map(asdict, rows)),
        "wrong_colorspace": list(map(asdict, shifted)),
    }


def _write_pictures(rows: list[Row], truth: NDArray[np.uint8], contract: PixelContract) -> None:
    from p2p_runtime.files import write_bytes

    from .pictures import draw_chart, draw_crops

    lossy = [(row.name, row.nearest, row.repaired) for row in rows if row.left is not None]
    write_bytes(RESULTS / "label-repair.png", draw_chart(lossy))
    write_bytes(RESULTS / "label-repair-crop.png", draw_crops(truth, contract))


if __name__ == "__main__":
    main()
