"""``python -m experiments.quality.enhance``: is a rendered picture a better input than its labels?

Runs on labels and on plain pictures of drawn drives are scored against the rich pictures, beside
the plain pictures as they are. The segmenter learned from rich pictures and their label maps.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experiments.harness import Document, data_option, input_option, segmenter_option, study
from experiments.quality.scores import named_run, scores_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from p2p_train.metrics.score import Translate

__all__ = ["main", "table"]

AS_IT_IS = "the plain picture itself"
SHOWN = 3
"""Number of pictures of the drive on the sheet."""


def table(document: Document) -> str:
    """Return a row per run, one for the plain pictures, and one for the rich ones."""
    return scores_table(document["scores"]).replace("real photos", "rich pictures")


@study(
    "enhance",
    click.argument("runs", metavar="TITLE=RUN...", nargs=-1, required=True),
    data_option(),
    segmenter_option(),
    input_option("--drive", "Frames of one drive: its folder of labels, plain and rich pictures."),
    click.option("--sheet", metavar="FILE", type=click.Path(path_type=Path), help="Of the drive."),
    table=table,
)
def main(
    *,
    runs: tuple[str, ...],
    data: Path,
    segmenter: Path,
    drive: Path,
    sheet: Path | None,
    smoke: bool,
) -> Document:
    """Score runs, whose inputs are the folder labels or plain of --data, on validation drives."""
    import torch

    from p2p_runtime.files import write_picture
    from p2p_train.metrics.clips import clip_frames
    from p2p_train.metrics.published import PublishedMetrics
    from p2p_train.metrics.score import (
        other_photos,
        pairs_of,
        score_generator,
        torch_translate,
        validation_pairs,
    )
    from p2p_train.segmentation.segmenter import Segmenter
    from p2p_train.training.checkpoint import Checkpoint
    from p2p_train.training.curves import sample_grid

    device = torch.device("cpu")
    evaluator = Segmenter.load(segmenter, device)
    scores: dict[str, dict[str, Any]] = {}
    columns: dict[str, NDArray[np.uint8]] = {}
    for title, path in map(named_run, runs):
        checkpoint = Checkpoint.load(path)
        kind, step = str(checkpoint.config.data.input_dir), checkpoint.progress["step"]
        answers: dict[str, Translate] = {
            f"{title}, {step} steps": torch_translate(checkpoint.build_generator(), device)
        }
        labels = "labels" if kind == "plain" else None
        if labels:
            answers[AS_IT_IS] = lambda frames: frames
        pairs = pairs_of(checkpoint.config.replace(label_dir=labels), data)
        for name, translate in answers.items():
            if name in scores:
                continue
            found = score_generator(
                translate,
                validation_pairs(pairs, checkpoint.contract),
                segmenter=evaluator,
                published=PublishedMetrics(device, other_photos(pairs, checkpoint.contract)),
                clip=clip_frames(str(drive / kind), checkpoint.contract, str(drive / "rich")),
            )
            # Flicker is of places that keep their input, which are others for pictures.
            scores[name] = replace(found, flicker=None, flicker_real=None).to_json()
            inputs, twins = _shown(drive / kind), _shown(drive / "rich")
            columns |= {kind: inputs, name: translate(inputs), "rich": twins}
    if sheet is not None:
        order = ["labels", "plain", *(n for n in columns if n in scores and n != AS_IT_IS), "rich"]
        write_picture(sheet, sample_grid({n: columns[n] for n in order if n in columns}))
    return {"scores": dict(sorted(scores.items(), key=lambda one: one[0] == AS_IT_IS))}


def _shown(folder: Path) -> NDArray[np.uint8]:
    """Return evenly spread pictures of a folder, (N, H, W, 3) uint8 BGR."""
    import numpy as np

    from p2p_runtime.video.sources import open_source
    from p2p_train.data.layouts.index import evenly_spread

    with contextlib.closing(open_source(str(folder))) as source:
        frames = [frame.image for frame in source]
    return np.stack([frames[index] for index in evenly_spread(len(frames), SHOWN)])


if __name__ == "__main__":
    main()
