"""``python -m experiments.pictures.streets``: show what several runs make of the same streets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from experiments.harness import data_option, frames_option, picture_study

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["main"]

ROWS = 6
"""Maximum number of pairs below each other; more stand beside them."""


@picture_study(
    click.argument("runs", metavar="TITLE=RUN...", nargs=-1, required=True),
    data_option(),
    frames_option(12),
    click.option("--photos/--no-photos", default=True, help="Show the targets, too."),
)
def main(*, runs: tuple[str, ...], data: Path, frames: int, photos: bool) -> NDArray[np.uint8]:
    """Show evenly spread validation pairs and the images of each run's last checkpoint.

    A row holds the label map, the runs in the given order, and the target. All runs had the same
    pairs; all pictures are stretched to the size of the first run's.
    """
    import numpy as np
    import torch

    from experiments.quality.scores import named_run, stretched
    from p2p_train.data.layouts.index import evenly_spread
    from p2p_train.metrics.score import pairs_of, torch_translate, validation_pairs
    from p2p_train.training.checkpoint import Checkpoint
    from p2p_train.training.curves import sample_grid

    loaded = {title: Checkpoint.load(path) for title, path in map(named_run, runs)}
    first = next(iter(loaded.values()))
    batches = list(validation_pairs(pairs_of(first.config, data), first.contract))
    labels, targets = (
        np.concatenate([getattr(batch, side).numpy() for batch in batches])
        for side in ("source", "target")
    )
    chosen = evenly_spread(len(labels), frames)
    device = torch.device("cpu")
    columns = {"label map": labels[chosen]}
    for title, checkpoint in loaded.items():
        translate = torch_translate(checkpoint.build_generator(), device)
        translate = stretched(translate, checkpoint.contract, first.contract)
        columns[title] = translate(labels[chosen])
    if photos:
        columns["target"] = targets[chosen]
    return _beside([sample_grid(part) for part in _parts(columns)])


def _parts(columns: dict[str, NDArray[np.uint8]]) -> list[dict[str, NDArray[np.uint8]]]:
    """Return up to :data:`ROWS` rows of all columns at a time."""
    count = len(next(iter(columns.values())))
    return [
        {caption: images[start : start + ROWS] for caption, images in columns.items()}
        for start in range(0, count, ROWS)
    ]


def _beside(grids: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return pictures of one width beside each other; shorter ones end in white."""
    import numpy as np

    height = max(map(len, grids))
    missing = [((0, height - len(grid)), (0, 0), (0, 0)) for grid in grids]
    return np.hstack(
        [np.pad(g, edge, constant_values=255) for g, edge in zip(grids, missing, strict=True)]
    )


if __name__ == "__main__":
    main()
