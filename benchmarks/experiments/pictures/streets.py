"""``python -m experiments.pictures.streets``: show several runs on the same streets."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2p_runtime.console import P2PCommand, setup_logging

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["draw_streets", "main"]


def draw_streets(
    checkpoints: Iterable[Path], streets: int, data: Path | None = None
) -> NDArray[np.uint8]:
    """Return a row a validation pair: label, photo, and what each checkpoint makes of the label.

    Args:
        checkpoints: whose runs had the same pairs.
        streets: how many pairs, the first ones.
        data: where they lie now; None for where they lay when training.

    Returns:
        (height, width, 3) uint8 BGR.

    Raises:
        CheckpointError: one is missing or broken.
        DatasetError: the pairs are.
    """
    import numpy as np
    import torch

    from experiments.pictures.strip import draw_strip
    from p2p_train.metrics.score import torch_translate, validation_pairs
    from p2p_train.training.checkpoint import Checkpoint

    loaded = [Checkpoint.load(path) for path in checkpoints]
    pairs = validation_pairs(loaded[0].config, loaded[0].contract, data)
    batches = list(itertools.islice(pairs, streets))
    labels = np.concatenate([batch.source.numpy() for batch in batches])[:streets]
    photos = np.concatenate([batch.target.numpy() for batch in batches])[:streets]
    device = torch.device("cpu")
    made = [torch_translate(one.build_generator(), device)(labels) for one in loaded]
    return draw_strip([list(row) for row in zip(labels, photos, *made, strict=True)])


@click.command(cls=P2PCommand)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path), default=None)
@click.option("--streets", metavar="N", type=click.IntRange(1), default=3, show_default=True)
@click.option("--output", metavar="FILE", type=click.Path(path_type=Path), default="streets.jpg")
def main(runs: tuple[Path, ...], data: Path | None, streets: int, output: Path) -> None:
    """Draw validation pairs, and what each run's latest checkpoint makes of them.

    A row for each street: label map, photo, then the runs in the order in which they are named.
    """
    setup_logging()

    from p2p_runtime.files import write_picture

    checkpoints = [run / "checkpoints" / "last.pt" for run in runs]
    write_picture(output, draw_streets(checkpoints, streets, data))
    click.echo(f"{output}: label map, photo, {', '.join(run.name for run in runs)}")


if __name__ == "__main__":
    main()
