"""One training step: the discriminator's update, then the generator's.

The pairs of a step may pass in micro-batches, which saves memory and costs time: the generator then
runs twice, once for each half of the step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from p2p_train.data.dataset import PairBatch
from p2p_train.devices import autocast
from p2p_train.losses.base import GeneratorOutput, LossBatch
from p2p_train.networks.norms import frozen_batchnorm
from p2p_train.networks.pixels import to_signal

from .state import Losses, ModelOptimizer, TrainState

__all__ = ["train_step"]

logger = logging.getLogger(__name__)


def train_step(
    state: TrainState, batch: PairBatch, *, halve_on_out_of_memory: bool = False
) -> Losses:
    """Update both networks once, without waiting for the device, on which the batch lies.

    The mean losses of the step are returned by name, unweighted scalars on the device. With
    ``halve_on_out_of_memory``, it goes on with micro-batches of half the size, as often as needed.

    Raises:
        torch.OutOfMemoryError: memory ran out, and halving is off or at its end.
    """
    ignored = None if batch.ignored is None else batch.ignored[:, None]  # (N, 1, H, W)
    pairs = LossBatch(
        source=_signal(batch.source),
        target=_signal(batch.target),
        ignored=ignored,
        labels=None if batch.labels is None else _signal(batch.labels),
        corners=batch.corners,
    )
    count = len(pairs.source)
    of_discriminator: Losses | None = None
    while True:
        try:
            whole = _generate(state, pairs) if state.micro_batch >= count else None
            if of_discriminator is None:  # a second try must not update the discriminator twice
                of_discriminator = _update_discriminator(state, pairs, whole)
            of_generator = _update_generator(state, pairs, whole)
        except torch.OutOfMemoryError:
            if not halve_on_out_of_memory or min(state.micro_batch, count) == 1:
                raise
            whole = None  # frees its memory
            state.micro_batch = (min(state.micro_batch, count) + 1) // 2
            logger.warning("out of memory: going on with micro-batches of %d", state.micro_batch)
            continue
        state.show_average(pairs.source)
        return {**of_generator, **of_discriminator}


def _update_discriminator(
    state: TrainState, pairs: LossBatch, whole: GeneratorOutput | None
) -> Losses:
    """Update the discriminator, if there is one.

    ``whole`` is the generator's output for all pairs, or None to generate by micro-batch.
    """
    discriminator, optimizer = state.discriminator, state.discriminator_optimizer
    if discriminator is None or optimizer is None:
        return {}
    discriminator.requires_grad_(True)

    def losses_of(part: LossBatch) -> Losses:
        if whole is None:
            # This pass is repeated for the generator, so it must not count in BatchNorm twice.
            with torch.no_grad(), frozen_batchnorm(state.generator):
                image = part.fill_ignored(_run_generator(state, part.source).image)
        else:
            image = whole.image.detach()
        with autocast(state.config.precision, state.device):
            real = discriminator(part.source, part.target)  # (N, 1, h, w) logits
            fake = discriminator(part.source, image)
        return {loss.name: loss(real, fake) for loss in state.discriminator_losses}

    weights = {loss.name: loss.weight for loss in state.discriminator_losses}
    return _update(optimizer, pairs, state.micro_batch, losses_of, weights)


def _update_generator(state: TrainState, pairs: LossBatch, whole: GeneratorOutput | None) -> Losses:
    if state.discriminator is not None:  # it passes gradients on and keeps none
        state.discriminator.requires_grad_(False)

    def losses_of(part: LossBatch) -> Losses:
        output = _generate(state, part) if whole is None else whole
        return {loss.name: loss(part, output) for loss in state.generator_losses}

    weights = {loss.name: loss.weight(state.progress) for loss in state.generator_losses}
    sums = _update(state.generator_optimizer, pairs, state.micro_batch, losses_of, weights)
    state.constrain_generator()
    return sums


def _update(
    optimizer: ModelOptimizer,
    pairs: LossBatch,
    micro_batch: int,
    losses_of: Callable[[LossBatch], Losses],
    weights: dict[str, float],
) -> Losses:
    """Step along the gradients of the weighted losses; return the unweighted means by name."""
    optimizer.adam.zero_grad()
    sums: Losses = {}
    count = len(pairs.source)
    for first in range(0, count, micro_batch):
        part = slice(first, min(first + micro_batch, count))
        share = (part.stop - first) / count  # of the batch
        losses = losses_of(pairs.part(part))
        total = share * torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        scaled: Any = optimizer.scaler.scale(total)
        scaled.backward()
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0.0) + share * loss.detach()
    optimizer.step()
    return sums


def _generate(state: TrainState, pairs: LossBatch) -> GeneratorOutput:
    """Translate the pairs' inputs; images are photos where pixels do not count."""
    output = _run_generator(state, pairs.source)
    return replace(output, image=pairs.fill_ignored(output.image))


def _run_generator(state: TrainState, source: torch.Tensor) -> GeneratorOutput:
    with autocast(state.config.precision, state.device):
        return GeneratorOutput(image=state.generator(source))


def _signal(pixels: torch.Tensor) -> torch.Tensor:
    # (N, H, W, 3) uint8 BGR -> (N, 3, H, W) RGB in [-1, 1], channels last in memory
    return to_signal(pixels).contiguous(memory_format=torch.channels_last)
