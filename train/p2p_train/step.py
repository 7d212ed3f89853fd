"""One step of the game: the discriminator learns, then the generator.

The pairs of a step may pass in micro-batches, which saves memory and costs time: the generator
then draws twice, once for each half of the step.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch

from .data import PairBatch
from .losses import adversarial_loss, discriminator_loss, l1_loss, shift_consistency
from .norms import statistics_kept
from .pixels import to_signal
from .state import StepLosses, TrainState

__all__ = ["train_step"]

logger = logging.getLogger(__name__)

SHIFT_PX = 8
"""The consistency loss moves inputs by up to so many pixels: a few frames of driving."""

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
Losses = tuple[torch.Tensor, torch.Tensor]


def train_step(
    state: TrainState, batch: PairBatch, *, halve_on_out_of_memory: bool = False
) -> StepLosses:
    """Update both networks once; nothing here waits for the device.

    Args:
        state: the players, changed in place.
        batch: the pairs, on the players' device.
        halve_on_out_of_memory: go on with micro-batches of half the size, as often as needed.

    Raises:
        torch.OutOfMemoryError: memory ran out, and halving is off or at its end.
    """
    source, target = _signal(batch.source), _signal(batch.target)
    on_patches: Losses | None = None
    while True:
        try:
            generated = _draw(state, source) if state.micro_batch >= len(source) else None
            if on_patches is None:  # a second try must not teach the discriminator twice
                on_patches = _discriminator_half(state, source, target, generated)
            adversarial, l1 = _generator_half(state, source, target, generated)
        except torch.OutOfMemoryError:
            if not halve_on_out_of_memory or min(state.micro_batch, len(source)) == 1:
                raise
            generated = None  # lets its memory go
            state.micro_batch = (min(state.micro_batch, len(source)) + 1) // 2
            logger.warning("out of memory: going on with micro-batches of %d", state.micro_batch)
            continue
        return StepLosses(
            generator_adversarial=adversarial,
            generator_l1=l1,
            discriminator_real=on_patches[0],
            discriminator_fake=on_patches[1],
        )


def _discriminator_half(
    state: TrainState, source: torch.Tensor, target: torch.Tensor, generated: torch.Tensor | None
) -> Losses:
    """Teach the discriminator to tell real from generated; return its two losses."""
    player, kind = state.discriminator_player, state.config.gan_loss
    state.discriminator.requires_grad_(True)
    player.adam.zero_grad(set_to_none=True)
    sums = torch.zeros(2, device=state.device)
    for part, share in _micro_batches(state, len(source)):
        if generated is None:
            with torch.no_grad(), statistics_kept(state.generator):
                drawn = _draw(state, source[part])
        else:
            drawn = generated.detach()
        with _autocast(state):
            real_logits = state.discriminator.judge(source[part], target[part])
            fake_logits = state.discriminator.judge(source[part], drawn)
        real = discriminator_loss(kind, real_logits, real=True)
        fake = discriminator_loss(kind, fake_logits, real=False)
        player.scaler.scale(0.5 * share * (real + fake)).backward()  # type: ignore[no-untyped-call]
        sums += share * torch.stack([real.detach(), fake.detach()])
    player.learn()
    return sums[0], sums[1]


def _generator_half(
    state: TrainState, source: torch.Tensor, target: torch.Tensor, generated: torch.Tensor | None
) -> Losses:
    """Teach the generator to be taken for real and to match the target; return its two losses."""
    player, config = state.generator_player, state.config
    state.discriminator.requires_grad_(False)
    player.adam.zero_grad(set_to_none=True)
    sums = torch.zeros(2, device=state.device)
    for part, share in _micro_batches(state, len(source)):
        drawn = _draw(state, source[part]) if generated is None else generated
        with _autocast(state):
            fooled_logits = state.discriminator.judge(source[part], drawn)
        adversarial = adversarial_loss(config.gan_loss, fooled_logits)
        l1 = l1_loss(drawn, target[part])
        loss = adversarial + config.lambda_l1 * l1
        if config.consistency:
            loss = loss + config.consistency * _steadiness(state, source[part], drawn)
        player.scaler.scale(share * loss).backward()  # type: ignore[no-untyped-call]
        sums += share * torch.stack([adversarial.detach(), l1.detach()])
    player.learn()
    return sums[0], sums[1]


def _steadiness(state: TrainState, source: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """Draw the input again, moved by a few pixels, and compare."""
    rows, columns = torch.randint(-SHIFT_PX, SHIFT_PX + 1, (2,)).tolist()
    with statistics_kept(state.generator):
        moved = _draw(state, source.roll((rows, columns), dims=(2, 3)))
    return shift_consistency(drawn, moved, rows, columns)


def _micro_batches(state: TrainState, pairs: int) -> Iterator[tuple[slice, float]]:
    """Yield the pairs of each micro-batch and their share of the batch."""
    for first in range(0, pairs, state.micro_batch):
        last = min(first + state.micro_batch, pairs)
        yield slice(first, last), (last - first) / pairs


def _signal(pixels: torch.Tensor) -> torch.Tensor:
    return to_signal(pixels).contiguous(memory_format=torch.channels_last)


def _draw(state: TrainState, source: torch.Tensor) -> torch.Tensor:
    with _autocast(state):
        image: torch.Tensor = state.generator(source)
    return image


def _autocast(state: TrainState) -> torch.autocast:
    kind = AUTOCAST[state.config.precision]
    return torch.autocast(state.device.type, kind or torch.bfloat16, enabled=kind is not None)
