"""``python -m experiments.pictures.streets``: show what several runs make of the same streets."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.harness import data_option, files_option, frames_option, picture_study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["main"]


@picture_study(files_option("--run", "runs", "Run directory."), data_option(), frames_option(3))
def main(*, runs: tuple[Path, ...], data: Path, frames: int) -> NDArray[np.uint8]:
    """Show validation pairs and, beside them, the images of each run's last checkpoint.

    A row per pair: label map, photo, then the runs in the given order, which had the same pairs.
    """
    import numpy as np
    import torch

    from p2p_train.metrics.score import torch_translate, validation_pairs
    from p2p_train.training.checkpoint import Checkpoint

    from .strip import draw_strip

    loaded = [Checkpoint.load(run / "checkpoints" / "last.pt") for run in runs]
    pairs = validation_pairs(loaded[0].config, loaded[0].contract, data)
    batches = list(itertools.islice(pairs, frames))
    labels = np.concatenate([batch.source.numpy() for batch in batches])[:frames]
    photos = np.concatenate([batch.target.numpy() for batch in batches])[:frames]
    device = torch.device("cpu")
    images = [torch_translate(one.build_generator(), device)(labels) for one in loaded]
    return draw_strip([list(row) for row in zip(labels, photos, *images, strict=True)])


if __name__ == "__main__":
    main()
