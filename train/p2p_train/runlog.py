"""What a run leaves to look at: a line of JSON an epoch, curves, and sample grids."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from p2p_runtime.files import write_bytes, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["EpochRecord", "RunLog", "sample_grid"]

mpl.use("Agg")
GRID_GAP_PX = 4
CAPTION_PX = 28


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """One line of the log: means over the steps since the line before.

    Attributes:
        epoch: epochs done, with a fraction when the run stopped within one.
        step: steps done.
        images_seen: training images shown to the generator so far.
        generator_adversarial, generator_l1, discriminator_real, discriminator_fake: mean losses;
            the L1 is unweighted, in [-1, 1] signal units.
        val_l1, val_psnr_db: on the validation pairs.
        mean_image_l1: validation L1 of answering with the mean training photo.
        images_per_s: training speed since the line before, validation not counted.
        peak_memory_mib: most memory used so far (CUDA allocations on a GPU, else resident size).
    """

    epoch: float
    step: int
    images_seen: int
    generator_adversarial: float
    generator_l1: float
    discriminator_real: float
    discriminator_fake: float
    val_l1: float
    val_psnr_db: float
    mean_image_l1: float
    images_per_s: float
    peak_memory_mib: float


class RunLog:
    """The log of a run directory.

    Args:
        run_dir: where ``log.jsonl``, ``curves.png`` and ``samples/`` go.
        first_step: a resumed run's first step; later lines, of work that was lost, are dropped.
    """

    def __init__(self, run_dir: Path, first_step: int) -> None:
        self._jsonl = run_dir / "log.jsonl"
        self._curves = run_dir / "curves.png"
        self._samples = run_dir / "samples"
        self.records = [record for record in _read(self._jsonl) if record["step"] <= first_step]

    def add(self, record: EpochRecord, grid: NDArray[np.uint8]) -> None:
        """Write a line, redraw the curves and save a sample grid (H, W, 3) uint8 BGR.

        Raises:
            OutputError: a file cannot be written.
        """
        self.records.append(asdict(record))
        write_text(self._jsonl, "".join(json.dumps(line) + "\n" for line in self.records))
        write_bytes(self._curves, _draw_curves(self.records))
        png = _png(grid)
        write_bytes(self._samples / f"step-{record.step:07d}.png", png)
        write_bytes(self._samples / "latest.png", png)


def sample_grid(
    sources: NDArray[np.uint8], generated: NDArray[np.uint8], targets: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return a captioned picture: a row a pair, columns input, generated, target.

    Args:
        sources, generated, targets: (N, H, W, 3) uint8 BGR.

    Returns:
        (h, w, 3) uint8 BGR.
    """
    columns = [_column("input", sources), _column("generated", generated)]
    return np.hstack([*columns, _column("target", targets)])


def _column(caption: str, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width = images.shape[2]
    head = np.full((CAPTION_PX, width, 3), 255, np.uint8)
    cv2.putText(
        head,
        caption,
        (6, CAPTION_PX - 9),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.55,
        (0, 0, 0),
        1,
        cv2.LINE_AA,
    )
    gap = np.full((GRID_GAP_PX, width, 3), 255, np.uint8)
    column = np.vstack([head, *(row for image in images for row in (image, gap))])
    return np.pad(
        column, ((0, 0), (GRID_GAP_PX // 2, GRID_GAP_PX // 2), (0, 0)), constant_values=255
    )


def _png(image: NDArray[np.uint8]) -> bytes:
    _, encoded = cv2.imencode(".png", image)
    return encoded.tobytes()


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _draw_curves(records: list[dict[str, Any]]) -> bytes:
    """Return a PNG with three panels: the game, the distance to the photos, PSNR."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    game, distance, psnr = figure.subplots(1, 3)
    _plot(game, records, {"generator_adversarial": "G adversarial"}, "-")
    _plot(game, records, {"discriminator_real": "D real", "discriminator_fake": "D fake"}, "--")
    game.axhline(float(np.log(2)), color="0.8", zorder=0)  # a discriminator that only guesses
    game.set(title="adversarial losses", xlabel="epoch", ylabel="binary cross-entropy")
    _plot(distance, records, {"generator_l1": "training", "val_l1": "validation"}, "-")
    _plot(distance, records, {"mean_image_l1": "mean photo (no skill)"}, ":")
    distance.set(title="L1 to the photo", xlabel="epoch", ylabel="signal units, [-1, 1]")
    _plot(psnr, records, {"val_psnr_db": "validation"}, "-")
    psnr.set(title="PSNR", xlabel="epoch", ylabel="dB")
    for axes in (game, distance, psnr):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    return _figure_png(figure)


def _plot(axes: Axes, records: list[dict[str, Any]], labels: dict[str, str], style: str) -> None:
    marker = "o" if len(records) < 20 else ""
    epochs = [record["epoch"] for record in records]
    for key, label in labels.items():
        values = [record[key] for record in records]
        axes.plot(epochs, values, style, marker=marker, markersize=3, label=label)


def _figure_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
