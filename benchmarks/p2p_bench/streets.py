"""``python -m p2p_bench.streets``: what several runs make of the same streets, side by side."""

from __future__ import annotations

import itertools
from pathlib import Path

import click

from p2p_runtime.console import P2PCommand, setup_logging

__all__ = ["main"]


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
    import numpy as np
    import torch

    from p2p_runtime.files import write_picture
    from p2p_train.checkpoint import Checkpoint
    from p2p_train.score import torch_translate, validation_pairs

    from .strip import draw_strip

    checkpoints = [Checkpoint.load(run / "checkpoints" / "last.pt") for run in runs]
    batches = list(itertools.islice(validation_pairs(checkpoints[0], data), streets))
    labels = np.concatenate([batch.source.numpy() for batch in batches])[:streets]
    photos = np.concatenate([batch.target.numpy() for batch in batches])[:streets]
    columns = [labels, photos]
    for checkpoint in checkpoints:
        columns.append(torch_translate(checkpoint, torch.device("cpu"))(labels))
    strip = draw_strip([[column[row] for column in columns] for row in range(len(labels))])
    write_picture(output, strip)
    click.echo(f"{output}: label map, photo, {', '.join(run.name for run in runs)}")


if __name__ == "__main__":
    main()
