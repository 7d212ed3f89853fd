"""One step of the game: the discriminator learns, then the generator.

The pairs of a step may pass in micro-batches, which saves memory and costs time: the generator
then draws twice, once for each half of the step.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from p2p_train.data.dataset import PairBatch
from p2p_train.losses.adversarial import (
    adversarial_loss,
    discriminator_loss,
    l1_loss,
    shift_consistency,
    shifted,
)
from p2p_train.networks.norms import frozen_batchnorm
from p2p_train.networks.pixels import to_signal
from p2p_train.precision import autocast

from .state import StepLosses, TrainState

__all__ = ["train_step"]

logger = logging.getLogger(__name__)

SHIFT_PX = 16
"""The consistency loss moves inputs by up to so many pixels: half a cell of the innermost level
when the image is halved five times, so that no mark is at home in a place of that grid."""

SHIFTED_ONE_IN = 4
"""The consistency loss draws one picture in so many again: marks are the same in all of them."""

Losses = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorOutput:
    """What the generator made of some inputs.

    Attributes:
        image: (N, 3, H, W) in [-1, 1].
        features: what each of its levels made on the way.
        consistency_error: how much some of the images change, beyond moving, when their inputs
            move; None where that was not asked.
    """

    image: torch.Tensor
    features: list[torch.Tensor]
    consistency_error: torch.Tensor | None = None


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
            generated = _draw_to_learn(state, source) if state.micro_batch >= len(source) else None
            if on_patches is None:  # a second try must not teach the discriminator twice
                on_patches = _discriminator_half(state, source, target, generated)
            on_images = _generator_half(state, source, target, generated)
        except torch.OutOfMemoryError:
            if not halve_on_out_of_memory or min(state.micro_batch, len(source)) == 1:
                raise
            generated = None  # lets its memory go
            state.micro_batch = (min(state.micro_batch, len(source)) + 1) // 2
            logger.warning("out of memory: going on with micro-batches of %d", state.micro_batch)
            continue
        found = {**on_patches, **on_images}
        return StepLosses(named={name: found[name] for name in state.config.loss_names})


def _discriminator_half(
    state: TrainState, source: torch.Tensor, target: torch.Tensor, generated: GeneratorOutput | None
) -> Losses:
    """Teach the discriminator, if there is one, to tell real from generated."""
    discriminator, player = state.discriminator, state.discriminator_player
    if discriminator is None or player is None:
        return {}
    discriminator.requires_grad_(True)
    player.adam.zero_grad(set_to_none=True)
    sums: Losses = {}
    for part, share in _micro_batches(state, len(source)):
        if generated is None:
            with torch.no_grad(), frozen_batchnorm(state.generator):
                drawn = _draw(state, source[part]).image
        else:
            drawn = generated.image.detach()
        with _autocast(state):
            real_logits = discriminator(source[part], target[part])
            fake_logits = discriminator(source[part], drawn)
        losses = {
            "discriminator_real": discriminator_loss(state.config.gan_loss, real_logits, real=True),
            "discriminator_fake": discriminator_loss(
                state.config.gan_loss, fake_logits, real=False
            ),
        }
        loss = 0.5 * share * torch.stack(list(losses.values())).sum()
        player.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        _add(sums, losses, share)
    player.learn()
    return sums


def _generator_half(
    state: TrainState, source: torch.Tensor, target: torch.Tensor, generated: GeneratorOutput | None
) -> Losses:
    """Teach the generator what its losses say."""
    player, weights = state.generator_player, state.generator_weights
    if state.discriminator is not None:
        state.discriminator.requires_grad_(False)
    player.adam.zero_grad(set_to_none=True)
    sums: Losses = {}
    for part, share in _micro_batches(state, len(source)):
        drawing = _draw_to_learn(state, source[part]) if generated is None else generated
        losses = _generator_losses(state, source[part], target[part], drawing)
        loss = share * torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        player.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        _add(sums, losses, share)
    player.learn()
    if state.config.even_ups:
        state.generator.make_checkerboard_free()
    return sums


def _generator_losses(
    state: TrainState, source: torch.Tensor, target: torch.Tensor, drawing: GeneratorOutput
) -> Losses:
    """Return everything that the generator is asked to minimise, unweighted."""
    losses = {"generator_l1": l1_loss(drawing.image, target)}
    if state.discriminator is not None:
        with _autocast(state):
            fooled_logits = state.discriminator(source, drawing.image)
        losses["generator_adversarial"] = adversarial_loss(state.config.gan_loss, fooled_logits)
    if state.reader is not None:
        seen = state.reader.look(drawing.image)
        losses["generator_labels"] = state.reader.labels_loss(seen, source)
        if state.config.lambda_style:
            losses["generator_style"] = state.reader.style_loss(seen, target)
    if drawing.consistency_error is not None:
        losses["generator_consistency"] = drawing.consistency_error
    if state.distillation is not None:
        losses |= state.distillation.compare(source, drawing.image, drawing.features)
    return losses


def _add(sums: Losses, losses: Losses, share: float) -> None:
    """Add a micro-batch's losses up, for the log."""
    for name, loss in losses.items():
        sums[name] = sums.get(name, 0.0) + share * loss.detach()


def _micro_batches(state: TrainState, pairs: int) -> Iterator[tuple[slice, float]]:
    """Yield the pairs of each micro-batch and their share of the batch."""
    for first in range(0, pairs, state.micro_batch):
        last = min(first + state.micro_batch, pairs)
        yield slice(first, last), (last - first) / pairs


def _signal(pixels: torch.Tensor) -> torch.Tensor:
    return to_signal(pixels).contiguous(memory_format=torch.channels_last)


def _draw(state: TrainState, source: torch.Tensor) -> GeneratorOutput:
    features: list[torch.Tensor] = []
    with _autocast(state):
        image: torch.Tensor = state.generator(source, features)
    return GeneratorOutput(image=image, features=features)


def _draw_to_learn(state: TrainState, source: torch.Tensor) -> GeneratorOutput:
    """Generate; for the consistency loss, draw some of the inputs again where they have moved to.

    All pass together, so that batch statistics are the same for both.
    """
    if not state.config.consistency:
        return _draw(state, source)
    whole, some = len(source), -(-len(source) // SHIFTED_ONE_IN)
    rows, columns = torch.randint(-SHIFT_PX, SHIFT_PX + 1, (2,)).tolist()
    drawn = _draw(state, torch.cat([source, shifted(source[:some], rows, columns)]))
    return GeneratorOutput(
        image=drawn.image[:whole],
        features=[feature[:whole] for feature in drawn.features],
        consistency_error=shift_consistency(drawn.image[:some], drawn.image[whole:], rows, columns),
    )


def _autocast(state: TrainState) -> torch.autocast:
    return autocast(state.config.precision, state.device)
