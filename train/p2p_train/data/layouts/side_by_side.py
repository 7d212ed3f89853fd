"""Side-by-side images: the target beside its input in one file."""

from __future__ import annotations

from pathlib import Path

from p2p_runtime.errors import DatasetError
from p2p_train.config import InputSide

from .images import ImageRef, Pair, images_in, listed, read_sizes

__all__ = ["side_by_side_pairs"]


def side_by_side_pairs(folder: Path, input_side: InputSide) -> tuple[Pair, ...]:
    """List the pairs of a folder of side-by-side images, by name.

    Raises:
        DatasetError: the folder is unreadable or empty, or a file is not an image of even width.
    """
    files = images_in(folder)
    odd = [
        f"{file} is {width} px wide; two halves side by side need an even width"
        for file, (width, _) in read_sizes(files).items()
        if width % 2
    ]
    if odd:
        raise DatasetError(listed(odd, "such files"))
    target_side: InputSide = "left" if input_side == "right" else "right"
    return tuple(
        Pair(
            stem=file.stem,
            input=ImageRef(path=file, part=input_side),
            target=ImageRef(path=file, part=target_side),
        )
        for file in files
    )
