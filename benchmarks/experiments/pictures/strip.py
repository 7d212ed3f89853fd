"""``python -m experiments.pictures.strip``: show frames of a label video and their translations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.harness import files_option, frames_option, input_option, picture_study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GAP_PX", "draw_strip", "main"]

GAP_PX = 4
"""Width of the white lines between pictures."""


def draw_strip(rows: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Return rows of pictures with white lines between them, (h, w, 3) uint8 BGR.

    Args:
        rows: (H, W, 3) uint8 BGR each, all of one size, as many in each row.
    """
    import numpy as np

    edge = ((0, GAP_PX), (0, GAP_PX), (0, 0))
    lines = [
        np.hstack([np.pad(picture, edge, constant_values=255) for picture in row]) for row in rows
    ]
    return np.vstack(lines)[:-GAP_PX, :-GAP_PX]


@picture_study(
    input_option("--video", "Label video."),
    files_option("--model", "models", "Bundle; a row each."),
    frames_option(4),
)
def main(*, video: Path, models: tuple[Path, ...], frames: int) -> NDArray[np.uint8]:
    """Show frames of a label video and, below them, their translations by each model."""
    from p2p_bench.inputs import read_frames
    from p2p_runtime.translate.translator import Translator

    everything = read_frames(video)
    chosen = everything[:: max(1, (len(everything) - 1) // max(1, frames - 1))][:frames]
    rows = [chosen]
    for model in models:
        with Translator.load(model, device="cpu") as translate:
            rows.append([translate(frame) for frame in chosen])
    return draw_strip(rows)


if __name__ == "__main__":
    main()
