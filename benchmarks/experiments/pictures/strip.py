"""``python -m experiments.pictures.strip``: a picture of a translation, for a page or a report."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2p_runtime.console import P2PCommand, setup_logging
from p2p_runtime.errors import SourceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["draw_strip", "main"]

GAP_PX = 4
GAIN = 8


def draw_strip(rows: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Return rows of pictures with thin white lines between them, (h, w, 3) uint8 BGR.

    Args:
        rows: (H, W, 3) uint8 BGR each, all of one size, as many in each row.
    """
    import numpy as np

    edge = ((0, GAP_PX), (0, GAP_PX), (0, 0))
    lines = [
        np.hstack([np.pad(picture, edge, constant_values=255) for picture in row]) for row in rows
    ]
    return np.vstack(lines)[:-GAP_PX, :-GAP_PX]


def _difference(first: NDArray[np.uint8], last: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return ``GAIN`` times what parts two images, (H, W, 3) uint8 BGR."""
    import cv2
    import numpy as np

    return np.asarray(cv2.convertScaleAbs(cv2.absdiff(first, last), alpha=GAIN), np.uint8)


@click.command(cls=P2PCommand)
@click.option("--video", metavar="FILE", required=True, help="A label video.")
@click.option(
    "--model", "models", metavar="FILE.onnx", required=True, multiple=True, help="A row each."
)
@click.option("--output", metavar="FILE.png|.jpg", type=click.Path(path_type=Path), required=True)
@click.option(
    "--frames", "count", metavar="N", type=click.IntRange(2, 12), default=4, show_default=True
)
@click.option(
    "--difference",
    is_flag=True,
    help="Frames downwards, and 8x what parts the last model's image from the first's.",
)
def main(video: str, models: tuple[str, ...], output: Path, count: int, difference: bool) -> None:
    """Show some frames of a label video, and below them what each model makes of them."""
    setup_logging()

    from p2p_runtime.files import write_picture
    from p2p_runtime.translate.translator import Translator
    from p2p_runtime.video.sources import open_source

    with contextlib.closing(open_source(video)) as source:
        everything = [frame.image for frame in source]
    if not everything:
        raise SourceError(f"{video} holds no frames")
    frames = everything[:: max(1, (len(everything) - 1) // (count - 1))][:count]
    rows = [frames]
    for model in models:
        with Translator.load(model, device="cpu") as translate:
            rows.append([translate(frame) for frame in frames])
    if difference:
        rows.append([_difference(*pair) for pair in zip(rows[1], rows[-1], strict=True)])
        rows = [list(column) for column in zip(*rows, strict=True)]
    write_picture(output, draw_strip(rows))
    click.echo(output)


if __name__ == "__main__":
    main()
