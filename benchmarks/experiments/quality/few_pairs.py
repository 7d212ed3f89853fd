"""``python -m experiments.quality.few_pairs``: what runs on few pairs are worth.

Each run's last checkpoint is scored on pairs that it never saw, beside the mean training photo as
the answer to every input.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experiments.harness import Document, data_option, study
from experiments.quality.scores import named_run, scores_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["main", "table"]


def table(document: Document) -> str:
    """Return a row per run, one per mean photo, and one for the real photos."""
    return scores_table(document["scores"])


@study(
    "few-pairs",
    click.argument("runs", metavar="TITLE=RUN...", nargs=-1, required=True),
    data_option(),
    table=table,
)
def main(*, runs: tuple[str, ...], data: Path, smoke: bool) -> Document:
    """Score runs on the validation pairs of --data, whose training pairs are theirs."""
    import numpy as np
    import torch

    from p2p_train.config import TrainConfig
    from p2p_train.metrics.published import PublishedMetrics
    from p2p_train.metrics.score import (
        Translate,
        other_photos,
        pairs_of,
        score_generator,
        torch_translate,
        validation_pairs,
    )
    from p2p_train.training.checkpoint import Checkpoint

    device = torch.device("cpu")
    scores: dict[str, dict[str, Any]] = {}
    for title, path in map(named_run, runs):
        checkpoint = Checkpoint.load(path)
        contract = checkpoint.contract
        config = TrainConfig.of(data=str(data), image_size=(contract.width, contract.height))
        pairs = pairs_of(config)
        photos = list(other_photos(pairs, contract))
        mean = np.concatenate(photos).mean(axis=0).round().astype(np.uint8)  # (H, W, 3) BGR

        def mean_photo(frames: NDArray[np.uint8], mean: NDArray[np.uint8] = mean) -> Any:
            return np.broadcast_to(mean, frames.shape)

        size = f"{contract.width}x{contract.height}"
        step = checkpoint.progress["step"]
        answers: dict[str, Translate] = {
            f"{size}: {title}, {step} steps": torch_translate(checkpoint.build_generator(), device),
            f"{size}: the mean photo": mean_photo,
        }
        for name, translate in answers.items():
            if name not in scores:
                batches = validation_pairs(pairs, contract)
                published = PublishedMetrics(device, photos)
                scores[name] = score_generator(translate, batches, published=published).to_json()
    return {"scores": scores}


if __name__ == "__main__":
    main()
