"""What a run leaves to look at: a line of JSON an epoch, curves, sample grids, TensorBoard.

All of them show the same :class:`EpochRecord`.
"""

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
from matplotlib.ticker import MaxNLocator

from p2p_runtime.files import write_bytes, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from torch.utils.tensorboard import SummaryWriter

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
        val_l1, val_psnr_db, val_ssim: on the validation pairs.
        mean_image_l1: validation L1 of answering with the mean training photo.
        images_per_s: training speed since the line before, validation not counted.
        peak_memory_mib: most memory used so far (CUDA allocations on a GPU, else resident size).
        val_pixel_accuracy, val_class_accuracy, val_mean_iou: label fidelity of the validation
            images, 0-1; None, and left out of the log, in a run without a judge.
        ceiling_mean_iou: the judge's mean IoU on real photos.
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
    val_ssim: float
    mean_image_l1: float
    images_per_s: float
    peak_memory_mib: float
    val_pixel_accuracy: float | None = None
    val_class_accuracy: float | None = None
    val_mean_iou: float | None = None
    ceiling_mean_iou: float | None = None

    def to_json(self) -> dict[str, float]:
        """Return what was measured, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class RunLog:
    """The log of a run directory.

    Args:
        run_dir: where ``log.jsonl``, ``curves.png`` and ``samples/`` go.
        first_step: a resumed run's first step; later lines, of work that was lost, are dropped.
        tensorboard: write the same to ``run_dir/tensorboard``.
    """

    def __init__(self, run_dir: Path, first_step: int, *, tensorboard: bool = False) -> None:
        self._jsonl = run_dir / "log.jsonl"
        self._curves = run_dir / "curves.png"
        self._samples = run_dir / "samples"
        self._board = _open_board(run_dir / "tensorboard", first_step) if tensorboard else None
        self.records = [record for record in _read(self._jsonl) if record["step"] <= first_step]

    def add(self, record: EpochRecord, grid: NDArray[np.uint8]) -> None:
        """Write a line, redraw the curves and save a sample grid (H, W, 3) uint8 BGR.

        Raises:
            OutputError: a file cannot be written.
        """
        self.records.append(record.to_json())
        write_text(self._jsonl, "".join(json.dumps(line) + "\n" for line in self.records))
        write_bytes(self._curves, draw_curves(self.records))
        png = _png(grid)
        write_bytes(self._samples / f"step-{record.step:07d}.png", png)
        write_bytes(self._samples / "latest.png", png)
        if self._board is not None:
            _show_on_board(self._board, record, grid)

    def close(self) -> None:
        """Finish what TensorBoard reads."""
        if self._board is not None:
            self._board.close()


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


def _open_board(folder: Path, first_step: int) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter  # takes seconds to import

    return SummaryWriter(str(folder), purge_step=first_step + 1)


def _show_on_board(board: Any, record: EpochRecord, grid: NDArray[np.uint8]) -> None:
    for name, value in record.to_json().items():
        kind = "losses" if name.startswith(("generator", "discriminator")) else "run"
        kind = "validation" if name.startswith(("val", "ceiling", "mean_image")) else kind
        board.add_scalar(f"{kind}/{name}", value, record.step)
    board.add_image("samples", grid[..., ::-1], record.step, dataformats="HWC")
    board.flush()


def draw_curves(records: list[dict[str, float]]) -> bytes:
    """Return a PNG with a panel each for the game, L1, PSNR, SSIM and, if judged, the labels."""
    judged = any("val_mean_iou" in record for record in records)
    figure = Figure(figsize=(13.5, 7.5) if judged else (10, 7.5))
    figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.15)
    panels = figure.subplots(2, 3 if judged else 2).ravel()
    _draw_game(panels[0], records)
    _plot(panels[1], records, {"generator_l1": "training", "val_l1": "validation"})
    _plot(panels[1], records, {"mean_image_l1": "mean photo (no skill)"}, style=":", colour="0.45")
    panels[1].set(title="L1 to the photo", ylabel="signal units, [-1, 1]")
    _plot(panels[2], records, {"val_psnr_db": "validation"}, colours_from=1)
    panels[2].set(title="PSNR", ylabel="dB")
    _plot(panels[3], records, {"val_ssim": "validation"}, colours_from=1)
    panels[3].set(title="SSIM", ylabel="1 = equal")
    if judged:
        _draw_fidelity(panels[4], records)
        panels[5].remove()
    for axes in panels[: 5 if judged else 4]:
        _finish(axes, records)
    return _figure_png(figure)


def _draw_game(axes: Axes, records: list[dict[str, float]]) -> None:
    names = {"generator_adversarial": "G", "discriminator_real": "D, real"}
    _plot(axes, records, {**names, "discriminator_fake": "D, fake"})
    axes.set(title="adversarial losses", ylabel="mean over the epoch")
    axes.set_ylim(bottom=0)


def _draw_fidelity(axes: Axes, records: list[dict[str, float]]) -> None:
    names = {"pixel_accuracy": "pixel accuracy", "class_accuracy": "class accuracy"}
    names["mean_iou"] = "mean IoU"
    _plot(axes, records, {f"val_{name}": label for name, label in names.items()}, colours_from=2)
    ceiling = {"ceiling_mean_iou": "mean IoU of real photos"}
    _plot(axes, records, ceiling, style=":", colour="C4")
    axes.set(title="label fidelity", ylabel="share, 0-1")
    axes.set_ylim(0, 1)


def _plot(
    axes: Axes,
    records: list[dict[str, float]],
    labels: dict[str, str],
    *,
    style: str = "-",
    colour: str | None = None,
    colours_from: int = 0,
) -> None:
    marker = "o" if len(records) <= 20 and style == "-" else ""
    for number, (key, label) in enumerate(labels.items(), start=colours_from):
        known = [record for record in records if key in record]
        last = f"{label}: {known[-1][key]:.4g}" if known else label
        if style == ":" and known:  # the same at every epoch
            axes.axhline(known[-1][key], ls=style, color=colour, label=last)
        elif known:
            x, y = [r["epoch"] for r in known], [r[key] for r in known]
            axes.plot(x, y, style, color=f"C{number}", marker=marker, markersize=4, label=last)


def _finish(axes: Axes, records: list[dict[str, float]]) -> None:
    axes.set_xlim(0, max(records[-1]["epoch"] * 1.02, 1.02))
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    )
    axes.set_xlabel("epoch")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(fontsize="small", edgecolor="none", framealpha=0.8)
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="0.5")


def _figure_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
