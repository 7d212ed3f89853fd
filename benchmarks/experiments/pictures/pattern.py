"""``python -m experiments.pictures.pattern``: map the fixed pattern of generators.

The mean of all pictures of a plain surface, as :mod:`p2p_train.metrics.pattern` takes it, drawn
beside that of the real photos.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from p2p_runtime.console import P2PCommand, setup_logging

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_runtime.labels.palette import Palette
    from p2p_train.metrics import FixedPattern

__all__ = ["draw_patterns", "main"]

RANGE_LEVELS = 12.0
MOST_LABELS = 4


def draw_patterns(patterns: dict[str, FixedPattern]) -> bytes:
    """Return a PNG with a map of each pattern, by the title that it gets."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(patterns) + 1.2, 2.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(patterns)))
    for axes, (title, pattern) in zip(panels, patterns.items(), strict=True):
        drawn = axes.imshow(
            _framed(pattern.picture()), cmap="RdBu_r", vmin=-RANGE_LEVELS, vmax=RANGE_LEVELS
        )
        axes.set_title(f"{title}\n{pattern.levels():.1f} levels")
        axes.set(xticks=[], yticks=[], facecolor="0.85")
    figure.colorbar(drawn, ax=list(panels), label="levels")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    return png.getvalue()


def _framed(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut away the rows that show nothing."""
    rows = np.flatnonzero(np.isfinite(picture).any(axis=1))
    return picture[rows[0] : rows[-1] + 1]


def _in_words(pattern: FixedPattern, palette: Palette | None) -> str:
    """Name the labels with most surface, and their figures."""
    if palette is None:
        return ""
    colours = zip(palette.classes, palette.colours_rgb, strict=True)
    names = {(red << 16) | (green << 8) | blue: name for name, (red, green, blue) in colours}
    most = list(pattern.of_colours().items())[:MOST_LABELS]
    return f" ({', '.join(f'{names[code]} {levels:.1f}' for code, levels in most)})"


@click.command(cls=P2PCommand)
@click.argument("runs", metavar="TITLE=RUN...", nargs=-1, required=True)
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path), default=None)
@click.option("--output", metavar="FILE.png", type=click.Path(path_type=Path), required=True)
def main(runs: tuple[str, ...], data: Path | None, output: Path) -> None:
    """Draw the fixed pattern of each run's latest checkpoint, and that of the real photos."""
    setup_logging()
    import torch

    from experiments.quality.scores import named_run
    from p2p_runtime.files import write_bytes
    from p2p_train.metrics import FixedPattern
    from p2p_train.metrics.score import torch_translate, validation_pairs
    from p2p_train.training.checkpoint import Checkpoint

    patterns = {"real photos": FixedPattern()}
    for number, (title, path) in enumerate(map(named_run, runs)):
        checkpoint = Checkpoint.load(path)
        translate = torch_translate(checkpoint.build_generator(), torch.device("cpu"))
        patterns[title] = FixedPattern()
        for batch in validation_pairs(checkpoint.config, checkpoint.contract, data):
            labels, photos = batch.source.numpy(), batch.target.numpy()
            for label, photo, image in zip(labels, photos, translate(labels), strict=True):
                patterns[title].add(label, image)
                if number == 0:  # the photos are the same for every run
                    patterns["real photos"].add(label, photo)
    write_bytes(output, draw_patterns(patterns))
    for title, pattern in patterns.items():
        of_labels = _in_words(pattern, checkpoint.contract.palette)
        click.echo(f"{title}: {pattern.levels():.2f} levels{of_labels}")


if __name__ == "__main__":
    main()
