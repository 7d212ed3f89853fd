"""``python -m experiments.speed.loss_costs``: measure what each loss adds to a training step.

The steps take turns on one batch of real pairs, which is there already; only what follows is timed.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p_runtime.console import P2PCommand, setup_logging

from .training_step import take_turns

if TYPE_CHECKING:
    from p2p_runtime.model.contract import PixelContract
    from p2p_train.config import TrainConfig
    from p2p_train.data.dataset import PairBatch

    from .training_step import Step

__all__ = ["contenders", "main", "ready_step"]

LESSONS = ("l1", "ssim", "channel", "feature", "style", "tv")
WARM_UP = 2


def contenders(teacher: str, judge: str) -> dict[str, dict[str, Any]]:
    """Return, by name, the settings in which each step differs from a student's that is alone."""

    def learning(*lessons: str, eyes: str = "teacher") -> dict[str, Any]:
        weights = {f"distil_{name}": float(name in lessons) for name in LESSONS}
        return {"teacher": teacher, "eyes": eyes, "gan_loss": "none", "lambda_l1": 0.0, **weights}

    most = ("l1", "ssim", "channel")
    seen = (*most, "feature", "style")
    return {
        "alone, with a discriminator": {},
        "alone, with even ups": {"even_ups": True},
        "alone, and steady under shifts": {"even_ups": True, "consistency": 50.0},
        "alone, read by a judge": {"reader": judge},
        "alone, and its style seen, too": {"reader": judge, "lambda_style": 100.0},
        "alone, without a discriminator": {"gan_loss": "none"},
        "teacher's image: L1": learning("l1"),
        "and SSIM, channels": learning(*most),
        "and features, style, seen by a judge": learning(*seen, eyes=judge),
        "or by the teacher's discriminator": learning(*seen),
        "that, with a discriminator": {**learning(*seen), "gan_loss": "bce"},
    }


def ready_step(config: TrainConfig, batch: PairBatch, contract: PixelContract) -> Step:
    """Return one training step on pairs that are decoded."""
    import torch

    from p2p_train.distillation import load_teacher
    from p2p_train.segmentation.semantic import load_reader
    from p2p_train.training.state import TrainState
    from p2p_train.training.step import train_step

    device = torch.device("cpu")
    state = TrainState(
        config,
        device,
        teacher=load_teacher(config, contract, device),
        reader=load_reader(config, contract, device),
    )
    return lambda: state.count(train_step(state, batch))


@click.command(cls=P2PCommand)
@click.option("--data", metavar="DIR", default="data", show_default=True, help="The pairs.")
@click.option("--teacher", metavar="RUN|FILE.pt", required=True)
@click.option("--judge", metavar="FILE.pt", required=True, help="From p2p-train judge.")
@click.option("--ngf", metavar="N", type=int, default=16, show_default=True)
@click.option("--ndf", metavar="N", type=int, default=32, show_default=True)
@click.option("--batch-size", metavar="N", type=int, default=4, show_default=True)
@click.option("--rounds", metavar="N", type=click.IntRange(3), default=15, show_default=True)
@click.option("--threads", metavar="N", type=click.IntRange(1), default=1, show_default=True)
@click.option("--json", "output", metavar="FILE", type=click.Path(path_type=Path), default=None)
def main(
    data: str,
    teacher: str,
    judge: str,
    ngf: int,
    ndf: int,
    batch_size: int,
    rounds: int,
    threads: int,
    output: Path | None,
) -> None:
    """Time a step alone, with a reader, and with a teacher, on the CPU."""
    setup_logging()
    import torch

    from p2p_bench.machine import describe_machine
    from p2p_runtime.files import write_json
    from p2p_train.config import RECIPES, TrainConfig
    from p2p_train.data.batches import validation_batches
    from p2p_train.data.prepare import prepare_data
    from p2p_train.precision import choose_precision

    torch.set_num_threads(threads)
    precision = choose_precision("auto", torch.device("cpu"))
    alone = TrainConfig(
        data=data,
        ngf=ngf,
        ndf=ndf,
        batch_size=batch_size,
        precision=precision,
        downs=RECIPES["edge"]["downs"],
        dropout=RECIPES["edge"]["dropout"],
    )
    pairs = prepare_data(alone)
    batch = next(validation_batches(pairs.val, batch_size))
    steps = {
        name: ready_step(replace(alone, **changes), batch, pairs.contract)
        for name, changes in contenders(teacher, judge).items()
    }
    seconds = take_turns(steps, rounds=rounds, warm_up=WARM_UP)
    medians_ms = {name: 1e3 * statistics.median(taken) for name, taken in seconds.items()}
    click.echo("| | a step |\n|---|---|")
    for name, median_ms in medians_ms.items():
        click.echo(f"| {name} | {median_ms:.0f} ms |")
    if output is not None:
        document = {
            "machine": describe_machine(threads),
            "settings": {
                "ngf": ngf,
                "ndf": ndf,
                "batch_size": batch_size,
                "side_px": alone.height,
                "precision": precision,
            },
            "rounds": rounds,
            "median_ms": {name: round(median_ms, 1) for name, median_ms in medians_ms.items()},
        }
        write_json(output, document)


if __name__ == "__main__":
    main()
