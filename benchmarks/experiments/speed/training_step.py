"""``python -m experiments.speed.training_step``: what the trainer costs beyond its networks.

Ways to take a step that take turns: the trainer, its batches decoded and augmented between the
steps, or meanwhile by a process, and in the first epoch, when each label map is repaired, too; a
bare loop of the same networks on one batch that is already
there; and that loop as pix2pix repositories write it, in float32 and NCHW.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2p_runtime.console import P2PCommand, setup_logging

if TYPE_CHECKING:
    from p2p_train.config import TrainConfig
    from p2p_train.data.dataset import PairBatch
    from p2p_train.precision import PrecisionWish

__all__ = ["bare_step", "main", "take_turns"]

Step = Callable[[], None]
WARM_UP = 4
KNOWN_BATCHES = WARM_UP


def trainer_step(config: TrainConfig, steps: int, *, workers: int, first_epoch: bool) -> Step:
    """Return one step of the trainer: next batch, both updates, count, rates, norms.

    Args:
        config: what is trained.
        steps: how many will be taken.
        workers: processes that decode.
        first_epoch: take pairs that come for the first time; else those of a few batches again
            and again, so that all but the first steps find their labels repaired.
    """
    import torch

    from p2p_train.data.batches import EpochSampler, training_batches
    from p2p_train.data.prepare import prepare_data
    from p2p_train.training.state import TrainState
    from p2p_train.training.step import train_step

    data = prepare_data(config)
    state = TrainState(config, torch.device("cpu"))
    sampler = EpochSampler(
        pairs=len(data.train) if first_epoch else KNOWN_BATCHES * config.batch_size,
        batch_size=config.batch_size,
        seed=config.seed,
        first_step=0,
        last_step=steps,
    )
    batches: Iterator[PairBatch] = iter(
        training_batches(data.train, sampler, workers=workers, pin_memory=False)
    )

    def step() -> None:
        batch = next(batches)
        state.begin_step(steps)
        state.count(train_step(state, batch.to(state.device)))

    return step


def bare_step(config: TrainConfig, *, channels_last: bool) -> Step:
    """Return one step of the two networks and nothing else, on a batch of noise."""
    import torch
    from torch.nn import functional

    from p2p_train.networks.discriminators import PatchDiscriminator
    from p2p_train.training.checkpoint import make_generator

    layout = torch.channels_last if channels_last else torch.contiguous_format
    torch.manual_seed(config.seed)
    networks = (make_generator(config), PatchDiscriminator(ndf=config.ndf))
    generator, discriminator = (network.to(memory_format=layout) for network in networks)
    adams = [torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in networks]
    shape = (config.batch_size, 3, config.height, config.width)
    source, target = (torch.rand(shape).mul(2).sub(1).to(memory_format=layout) for _ in range(2))

    def logits(image: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = discriminator(source, image)
        return answer

    def against(answer: torch.Tensor, label: float) -> torch.Tensor:
        answer = answer.float()
        return functional.binary_cross_entropy_with_logits(answer, torch.full_like(answer, label))

    def step() -> None:
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16")
        with autocast:
            image = generator(source)
            real, fake = logits(target), logits(image.detach())
        adams[1].zero_grad()
        (0.5 * (against(real, 1.0) + against(fake, 0.0))).backward()  # type: ignore[no-untyped-call]  # torch's
        adams[1].step()
        discriminator.requires_grad_(False)
        with autocast:
            fooled = logits(image)
        adams[0].zero_grad()
        loss = against(fooled, 1.0) + 100 * functional.l1_loss(image.float(), target)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        adams[0].step()
        discriminator.requires_grad_(True)

    return step


def take_turns(steps: dict[str, Step], *, rounds: int, warm_up: int) -> dict[str, list[float]]:
    """Return seconds a step of each contender; they take turns, so that load hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(warm_up + rounds):
        for name, step in steps.items():
            started_s = time.perf_counter()
            step()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - started_s)
    return seconds


@click.command(cls=P2PCommand)
@click.option("--data", metavar="DIR", default="data", show_default=True, help="The pairs.")
@click.option("--ngf", metavar="N", type=int, default=32, show_default=True)
@click.option("--ndf", metavar="N", type=int, default=32, show_default=True)
@click.option("--batch-size", metavar="N", type=int, default=4, show_default=True)
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto")
@click.option("--rounds", metavar="N", type=click.IntRange(3), default=30, show_default=True)
@click.option("--json", "output", metavar="FILE", type=click.Path(path_type=Path), default=None)
def main(
    data: str,
    ngf: int,
    ndf: int,
    batch_size: int,
    precision: PrecisionWish,
    rounds: int,
    output: Path | None,
) -> None:
    """Time the trainer's step against a bare loop, on the CPU."""
    setup_logging()
    import torch

    from p2p_bench.machine import describe_machine
    from p2p_runtime.files import write_json
    from p2p_train.config import TrainConfig
    from p2p_train.precision import choose_precision

    chosen = choose_precision(precision, torch.device("cpu"))
    fast = TrainConfig(data=data, ngf=ngf, ndf=ndf, batch_size=batch_size, precision=chosen)
    plain, steps = replace(fast, precision="fp32"), rounds + WARM_UP
    contenders = {
        f"trainer, {chosen}": trainer_step(fast, steps, workers=0, first_epoch=False),
        f"trainer, {chosen}, a process decodes": trainer_step(
            fast, steps, workers=1, first_epoch=False
        ),
        f"trainer, {chosen}, first epoch": trainer_step(fast, steps, workers=0, first_epoch=True),
        f"bare loop, {chosen}, channels last": bare_step(fast, channels_last=True),
        "bare loop, fp32, NCHW": bare_step(plain, channels_last=False),
    }
    seconds = take_turns(contenders, rounds=rounds, warm_up=WARM_UP)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    own = next(iter(medians.values()))
    for name, median in medians.items():
        click.echo(
            f"{name:34s} {1000 * median:8.1f} ms a step  {median / own:5.2f} of the trainer's"
        )
    if output is not None:
        document = {
            "machine": describe_machine(None),
            "settings": {"ngf": ngf, "ndf": ndf, "batch_size": batch_size, "side_px": fast.height},
            "rounds": rounds,
            "median_ms": {name: round(1000 * median, 2) for name, median in medians.items()},
            "of_the_trainers": {name: round(median / own, 3) for name, median in medians.items()},
        }
        write_json(output, document)


if __name__ == "__main__":
    main()
