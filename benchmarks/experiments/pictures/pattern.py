"""``python -m experiments.pictures.pattern``: map the fixed pattern of generators.

The mean of all images of a plain surface, as :mod:`p2p_train.metrics.pattern` computes it, beside
that of the real photos.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import click
import numpy as np

from experiments.harness import data_option, picture_study

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from p2p_train.metrics.pattern import FixedPattern

__all__ = ["draw_patterns", "main", "picture_of"]

RANGE_LEVELS = 12.0
"""Levels of the darkest colours of the map."""


def draw_patterns(patterns: dict[str, FixedPattern]) -> NDArray[np.uint8]:
    """Return a map of each pattern by its title, (H, W, 3) uint8 BGR."""
    import cv2
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(patterns) + 1.2, 2.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(patterns)))
    for axes, (title, pattern) in zip(panels, patterns.items(), strict=True):
        drawn = axes.imshow(
            _cropped(picture_of(pattern)), cmap="RdBu_r", vmin=-RANGE_LEVELS, vmax=RANGE_LEVELS
        )
        axes.set_title(f"{title}\n{pattern.levels():.1f} levels")
        axes.set(xticks=[], yticks=[], facecolor="0.85")
    figure.colorbar(drawn, ax=list(panels), label="levels")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    encoded = np.frombuffer(png.getvalue(), np.uint8)
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def picture_of(pattern: FixedPattern) -> NDArray[np.float64]:
    """Return the pattern of the label with most surface.

    It is (H, W) float64, levels above and below the local mean; NaN where too few pictures show
    that label's surface. There has to be some.
    """
    from p2p_train.metrics.pattern import MIN_PICTURES

    pictures, levels, _ = max(pattern.surfaces.values(), key=lambda one: float(one[0].sum()))
    return np.where(pictures >= MIN_PICTURES, levels / np.maximum(pictures, 1), np.nan)


def _cropped(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut off the rows without any surface."""
    rows = np.flatnonzero(np.isfinite(picture).any(axis=1))
    return picture[rows[0] : rows[-1] + 1]


@picture_study(
    click.argument("runs", metavar="TITLE=RUN...", nargs=-1, required=True), data_option()
)
def main(*, runs: tuple[str, ...], data: Path) -> NDArray[np.uint8]:
    """Draw the fixed pattern of each run's last checkpoint and that of the real photos."""
    import torch

    from experiments.quality.scores import named_run
    from p2p_train.metrics.pattern import FixedPattern
    from p2p_train.metrics.score import pairs_of, torch_translate, validation_pairs
    from p2p_train.training.checkpoint import Checkpoint

    patterns = {"real photos": FixedPattern()}
    for number, (title, path) in enumerate(map(named_run, runs)):
        checkpoint = Checkpoint.load(path)
        translate = torch_translate(checkpoint.build_generator(), torch.device("cpu"))
        patterns[title] = FixedPattern()
        for batch in validation_pairs(pairs_of(checkpoint.config, data), checkpoint.contract):
            labels, photos = batch.source.numpy(), batch.target.numpy()
            for label, photo, image in zip(labels, photos, translate(labels), strict=True):
                patterns[title].add(label, image)
                if number == 0:  # the photos are the same for every run
                    patterns["real photos"].add(label, photo)
    return draw_patterns(patterns)


if __name__ == "__main__":
    main()
