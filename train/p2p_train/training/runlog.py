"""The log of a run: a line of JSON an epoch, curves, sample grids, TensorBoard.

All of them show the same :class:`EpochRecord`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from p2p_runtime.files import write_bytes, write_text

from .curves import draw_curves

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.utils.tensorboard import SummaryWriter

    from p2p_train.losses.base import Curve

__all__ = ["EpochRecord", "RunLog", "sample_grid"]

GRID_GAP_PX = 4
CAPTION_PX = 28


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """One line of the log: means over the steps since the line before.

    Attributes:
        epoch: epochs done, with a fraction when the run stopped within one.
        step: steps done.
        images_seen: training images shown to the generator so far.
        losses: mean of each loss of the run, unweighted, by the loss's name.
        val_l1, val_psnr_db, val_ssim: on the validation pairs; L1 in [-1, 1] signal units.
        mean_image_l1: validation L1 of the mean training photo as the output for every input.
        images_per_s: training speed since the line before, validation not counted.
        peak_memory_mib: maximum memory so far (CUDA allocations on a GPU, else resident size).
        segmentation: scores of the validation images, 0-1, by name; empty without a segmenter.
    """

    epoch: float
    step: int
    images_seen: int
    losses: dict[str, float]
    val_l1: float
    val_psnr_db: float
    val_ssim: float
    mean_image_l1: float
    images_per_s: float
    peak_memory_mib: float
    segmentation: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, float]:
        """Return all numbers in one flat object, by name."""
        document = asdict(self)
        losses, scores = document.pop("losses"), document.pop("segmentation")
        return {**document, **losses, **scores}


class RunLog:
    """The log of a run directory.

    Args:
        run_dir: where ``log.jsonl``, ``curves.png`` and ``samples/`` go.
        first_step: a resumed run's first step; later lines, of work that was lost, are dropped.
        curves: where each loss of the run is drawn, by name.
        tensorboard: write the same to ``run_dir/tensorboard``.
    """

    def __init__(
        self,
        run_dir: Path,
        first_step: int,
        curves: dict[str, Curve],
        *,
        tensorboard: bool = False,
    ) -> None:
        self._loss_curves = curves
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
        write_bytes(self._curves, draw_curves(self.records, self._loss_curves))
        png = _png(grid)
        write_bytes(self._samples / f"step-{record.step:07d}.png", png)
        write_bytes(self._samples / "latest.png", png)
        if self._board is not None:
            _show_on_board(self._board, record, grid)

    def close(self) -> None:
        """Close TensorBoard's file."""
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
        kind = "losses" if name in record.losses else "run"
        kind = "validation" if name.startswith(("val", "photo", "mean_image")) else kind
        board.add_scalar(f"{kind}/{name}", value, record.step)
    board.add_image("samples", grid[..., ::-1], record.step, dataformats="HWC")
    board.flush()
