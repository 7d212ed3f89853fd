"""One step of the game: the discriminator learns, then the generator."""

from __future__ import annotations

import torch

from .data import PairBatch
from .losses import adversarial_loss, discriminator_losses, l1_loss
from .pixels import to_signal
from .state import StepLosses, TrainState

__all__ = ["train_step"]


def train_step(state: TrainState, batch: PairBatch) -> StepLosses:
    """Update both networks once; nothing here waits for the device.

    Args:
        state: the players, changed in place.
        batch: the pairs, on the players' device.
    """
    source = to_signal(batch.source).contiguous(memory_format=torch.channels_last)
    target = to_signal(batch.target).contiguous(memory_format=torch.channels_last)
    autocast = torch.autocast(
        state.device.type, torch.bfloat16, enabled=state.config.precision == "bf16"
    )

    # The generator draws.
    with autocast:
        generated = state.generator(source)

    # The discriminator learns to tell real from generated.
    state.discriminator.requires_grad_(True)
    with autocast:
        real_logits = state.discriminator.judge(source, target)
        fake_logits = state.discriminator.judge(source, generated.detach())
    real, fake = discriminator_losses(real_logits.float(), fake_logits.float())
    state.discriminator_adam.zero_grad(set_to_none=True)
    (0.5 * (real + fake)).backward()  # type: ignore[no-untyped-call]
    state.discriminator_adam.step()

    # The generator learns to be taken for real and to match the target.
    state.discriminator.requires_grad_(False)
    with autocast:
        fooled_logits = state.discriminator.judge(source, generated)
    adversarial = adversarial_loss(fooled_logits.float())
    l1 = l1_loss(generated.float(), target)
    state.generator_adam.zero_grad(set_to_none=True)
    (adversarial + state.config.lambda_l1 * l1).backward()  # type: ignore[no-untyped-call]
    state.generator_adam.step()

    return StepLosses(
        generator_adversarial=adversarial.detach(),
        generator_l1=l1.detach(),
        discriminator_real=real.detach(),
        discriminator_fake=fake.detach(),
    )
