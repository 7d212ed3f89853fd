"""``python -m experiments.speed.loss_costs``: measure what each loss adds to a training step.

Rounds are interleaved; all steps use one batch of pairs, decoded before.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.harness import (
    Document,
    data_option,
    input_option,
    rounds_option,
    segmenter_option,
    study,
    threads_option,
    time_interleaved,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_runtime.model.contract import PixelContract
    from p2p_train.config import TrainConfig
    from p2p_train.data.dataset import PairBatch

__all__ = ["main", "table", "training_step", "variants"]

DISTILLATION = ("l1", "ssim", "feature", "style")
SETTINGS: dict[str, Any] = {"ngf": 16, "ndf": 32, "batch_size": 4}
SMOKE_SETTINGS: dict[str, Any] = {"ngf": 4, "ndf": 4, "batch_size": 2, "image_size": (64, 64)}
WARM_UP = 2


def variants(teacher: str, segmenter: str) -> dict[str, dict[str, Any]]:
    """Return the settings that each variant adds to those of a plain training, by name."""

    def student(*losses: str, gan_loss: str = "none") -> dict[str, Any]:
        weights = {f"lambda_distil_{name}": float(name in losses) for name in DISTILLATION}
        return {"teacher": teacher, "gan_loss": gan_loss, "lambda_l1": 0.0, **weights}

    return {
        "no teacher": {},
        "and checkerboard-free": {"checkerboard_free": True},
        "and pattern loss": {"checkerboard_free": True, "lambda_pattern": 5.0},
        "no teacher, semantic loss": {"segmenter": segmenter},
        "no teacher, no discriminator": {"gan_loss": "none"},
        "student: L1 to the teacher's image": student("l1"),
        "and SSIM": student("l1", "ssim"),
        "and features, style": student(*DISTILLATION),
        "that, with a discriminator, too": student(*DISTILLATION, gan_loss="bce"),
    }


def training_step(
    config: TrainConfig, batch: PairBatch, contract: PixelContract
) -> Callable[[], None]:
    """Return one training step on decoded pairs."""
    import torch

    from p2p_train.training.loss_networks import load_loss_networks
    from p2p_train.training.state import TrainState
    from p2p_train.training.step import train_step

    device = torch.device("cpu")
    teacher, segmenter = load_loss_networks(config, contract, device)
    state = TrainState(config, device, teacher=teacher, segmenter=segmenter)
    return lambda: state.count(train_step(state, batch))


def table(document: Document) -> str:
    """Return the time of a step of each variant; those that are gone are left out."""
    from experiments.harness import markdown_table

    known, medians = variants("", ""), document["median_ms"]
    rows = [[name, f"{median:.0f} ms"] for name, median in medians.items() if name in known]
    return markdown_table(["", "a step"], rows)


@study(
    "loss-costs",
    data_option(),
    input_option("--teacher", "Run or checkpoint of the teacher."),
    segmenter_option(),
    rounds_option(15),
    threads_option(1),
    table=table,
)
def main(
    *, data: Path, teacher: Path, segmenter: Path, rounds: int, threads: int, smoke: bool
) -> Document:
    """Time a training step with each loss, on the CPU."""
    import torch

    from p2p_train.config import TrainConfig
    from p2p_train.data.batches import validation_batches
    from p2p_train.data.prepare import prepare_data
    from p2p_train.devices import choose_precision
    from p2p_train.recipes import RECIPES

    torch.set_num_threads(threads)
    precision = choose_precision("auto", torch.device("cpu"))
    settings = SMOKE_SETTINGS if smoke else SETTINGS
    shape = {name: RECIPES["edge"][name] for name in ("num_downs", "dropout")}
    plain = TrainConfig.of(data=str(data), precision=precision, **settings, **shape)
    pairs = prepare_data(plain)
    batch = next(validation_batches(pairs.val, plain.optim.batch_size))
    runs = {
        name: training_step(plain.replace(**changes), batch, pairs.contract)
        for name, changes in variants(str(teacher), str(segmenter)).items()
    }
    seconds = time_interleaved(runs, rounds=rounds, warm_up=1 if smoke else WARM_UP)
    medians = {name: 1e3 * statistics.median(taken) for name, taken in seconds.items()}
    return {
        "settings": {**settings, "side_px": plain.data.height, "precision": precision},
        "rounds": rounds,
        "median_ms": medians,
    }


if __name__ == "__main__":
    main()
