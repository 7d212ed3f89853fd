"""``python -m experiments.speed.training_step``: measure what the trainer adds to its networks.

The same step in five ways, in interleaved rounds: the trainer with batches decoded between the
steps, by a process meanwhile, and in the first epoch, in which label maps are repaired, too; a bare
loop of the same networks on one batch of noise; and that loop in float32 and NCHW, as pix2pix
repositories write it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.harness import Document, data_option, rounds_option, study, time_interleaved

if TYPE_CHECKING:
    from p2p_train.config import TrainConfig
    from p2p_train.data.dataset import PairBatch

__all__ = ["bare_step", "main", "table", "trainer_step"]

Step = Callable[[], None]
SETTINGS: dict[str, Any] = {"ngf": 32, "ndf": 32, "batch_size": 4}
SMOKE_SETTINGS: dict[str, Any] = {"ngf": 4, "ndf": 4, "batch_size": 2, "image_size": (64, 64)}
WARM_UP = 4
KNOWN_BATCHES = WARM_UP


def trainer_step(config: TrainConfig, steps: int, *, workers: int, first_epoch: bool) -> Step:
    """Return one step of the trainer: next batch, both updates, sums, rates, norms.

    Args:
        config: of the training.
        steps: number of steps that will be taken.
        workers: number of processes that decode.
        first_epoch: take new pairs in every step; otherwise those of a few batches again and
            again, whose labels are already repaired.
    """
    import torch

    from p2p_train.data.batches import EpochSampler, training_batches
    from p2p_train.data.prepare import prepare_data
    from p2p_train.training.state import TrainState
    from p2p_train.training.step import train_step

    data = prepare_data(config)
    state = TrainState(config, torch.device("cpu"))
    sampler = EpochSampler(
        pairs=len(data.train) if first_epoch else KNOWN_BATCHES * config.optim.batch_size,
        batch_size=config.optim.batch_size,
        seed=config.data.seed,
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
    torch.manual_seed(config.data.seed)
    networks = (make_generator(config), PatchDiscriminator(ndf=config.model.ndf))
    generator, discriminator = (network.to(memory_format=layout) for network in networks)
    adams = [torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in networks]
    shape = (config.optim.batch_size, 3, config.data.height, config.data.width)
    source, target = (torch.rand(shape).mul(2).sub(1).to(memory_format=layout) for _ in range(2))

    def bce(logits: torch.Tensor, label: float) -> torch.Tensor:
        logits = logits.float()
        return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    def step() -> None:
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16")
        with autocast:
            image = generator(source)
            real, fake = discriminator(source, target), discriminator(source, image.detach())
        adams[1].zero_grad()
        (0.5 * (bce(real, 1.0) + bce(fake, 0.0))).backward()  # type: ignore[no-untyped-call]  # torch's
        adams[1].step()
        discriminator.requires_grad_(False)
        with autocast:
            logits = discriminator(source, image)
        adams[0].zero_grad()
        loss = bce(logits, 1.0) + 100 * functional.l1_loss(image.float(), target)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        adams[0].step()
        discriminator.requires_grad_(True)

    return step


def table(document: Document) -> str:
    """Return the time of a step, and its ratio to the trainer's."""
    from experiments.harness import markdown_table

    medians = document["median_ms"]
    own = next(iter(medians.values()))
    rows = [[name, f"{ms:.0f} ms", f"{ms / own:.2f}"] for name, ms in medians.items()]
    return markdown_table(["", "a step", "of the trainer's"], rows)


@study("training-step", data_option(), rounds_option(30), table=table)
def main(*, data: Path, rounds: int, smoke: bool) -> Document:
    """Time a training step against a bare loop of the same networks, on the CPU."""
    import torch

    from p2p_train.config import TrainConfig
    from p2p_train.devices import choose_precision

    chosen = choose_precision("auto", torch.device("cpu"))
    settings = SMOKE_SETTINGS if smoke else SETTINGS
    config = TrainConfig.of(data=str(data), precision=chosen, **settings)
    warm_up = 1 if smoke else WARM_UP
    steps = rounds + warm_up
    trainer = {
        "": trainer_step(config, steps, workers=0, first_epoch=False),
        ", decoded by a process": trainer_step(config, steps, workers=1, first_epoch=False),
        ", first epoch": trainer_step(config, steps, workers=0, first_epoch=True),
    }
    runs = {f"trainer, {chosen}{how}": step for how, step in trainer.items()}
    runs[f"bare loop, {chosen}, channels last"] = bare_step(config, channels_last=True)
    plain = config.replace(precision="fp32")
    runs["bare loop, fp32, NCHW"] = bare_step(plain, channels_last=False)
    seconds = time_interleaved(runs, rounds=rounds, warm_up=warm_up)
    medians = {name: 1e3 * statistics.median(taken) for name, taken in seconds.items()}
    return {
        "settings": {**settings, "side_px": config.data.height},
        "rounds": rounds,
        "median_ms": medians,
    }


if __name__ == "__main__":
    main()
