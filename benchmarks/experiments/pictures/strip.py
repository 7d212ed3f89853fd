"""``python -m experiments.pictures.strip``: show frames of a label video and their translations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from experiments.harness import frames_option, input_option, picture_study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["main"]

WIDTH_PX = 240
"""Width of a frame in the picture, in which captions can then be read."""

GAP_PX = 4
"""Width of the white lines between frames."""


@picture_study(
    click.argument("models", metavar="TITLE=BUNDLE...", nargs=-1, required=True),
    input_option("--video", "Label video."),
    frames_option(4),
)
def main(*, video: Path, models: tuple[str, ...], frames: int) -> NDArray[np.uint8]:
    """Show frames of a label video and, below them, their translations by each model."""
    import numpy as np

    from p2p_bench.files import read_frames
    from p2p_runtime.translate.translator import Translator
    from p2p_train.training.curves import sample_grid

    everything = read_frames(video)
    chosen = everything[:: max(1, (len(everything) - 1) // max(1, frames - 1))][:frames]
    rows = {"label frames": chosen}
    for title, model in (text.split("=", 1) for text in models):
        with Translator.load(model, device="cpu") as translate:
            rows[title] = [translate(frame) for frame in chosen]
    return np.vstack([sample_grid({title: _beside(row)}) for title, row in rows.items()])


def _beside(frames: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return frames, (H, W, 3) uint8 BGR, beside each other as one picture, (1, h, w, 3)."""
    import cv2
    import numpy as np

    size = (WIDTH_PX, round(WIDTH_PX * frames[0].shape[0] / frames[0].shape[1]))
    edge = ((0, 0), (0, GAP_PX), (0, 0))
    resized = (cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames)
    row = np.hstack([np.pad(frame, edge, constant_values=255) for frame in resized])
    return np.asarray(row[None, :, :-GAP_PX], np.uint8)


if __name__ == "__main__":
    main()
