"""What changes while training: two networks, their optimisers and the count of steps."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from p2p_runtime.contract import PixelContract
from p2p_runtime.errors import CheckpointError

from .checkpoint import Checkpoint, load_weights, make_generator
from .config import TrainConfig
from .networks import PatchDiscriminator, UNetGenerator

__all__ = ["StepLosses", "TrainState"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepLosses:
    """The losses of a step, scalars that stay on the device until somebody reads them.

    Attributes:
        generator_adversarial: how far the generator is from fooling the discriminator.
        generator_l1: mean absolute difference to the target, in [-1, 1] signal units, unweighted.
        discriminator_real, discriminator_fake: on real and on generated patches.
    """

    generator_adversarial: torch.Tensor
    generator_l1: torch.Tensor
    discriminator_real: torch.Tensor
    discriminator_fake: torch.Tensor

    def stacked(self) -> torch.Tensor:
        """Return the losses as a (4,) float32 tensor, in the order of the attributes."""
        return torch.stack([getattr(self, name) for name in LOSS_NAMES])


LOSS_NAMES = tuple(field.name for field in fields(StepLosses))


@dataclass(kw_only=True, slots=True)
class TrainState:
    """Both players, ready to be trained.

    Attributes:
        config: the run's settings.
        generator, discriminator: the networks, on ``device``, in channels-last memory.
        generator_adam, discriminator_adam: their optimisers.
        step: steps taken since the run began.
        best_l1: least validation L1 so far, in [-1, 1] signal units.
        loss_sums: (4,) float32 on ``device``, sums since the last log line.
        loss_steps: how many steps are in ``loss_sums``.
    """

    config: TrainConfig
    device: torch.device
    generator: UNetGenerator
    discriminator: PatchDiscriminator
    generator_adam: torch.optim.Adam
    discriminator_adam: torch.optim.Adam
    loss_sums: torch.Tensor
    loss_steps: int = 0
    step: int = 0
    best_l1: float = float("inf")

    @classmethod
    def create(cls, config: TrainConfig, device: torch.device) -> TrainState:
        """Seed torch and build the players with fresh weights."""
        torch.manual_seed(config.seed)
        generator = make_generator(config)
        discriminator = PatchDiscriminator(ndf=config.ndf, norm=config.norm)
        generator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        discriminator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(
            config=config,
            device=device,
            generator=generator,
            discriminator=discriminator,
            generator_adam=_adam(generator, config),
            discriminator_adam=_adam(discriminator, config),
            loss_sums=torch.zeros(len(LOSS_NAMES), device=device),
        )

    def count(self, losses: StepLosses) -> None:
        """Count a step and add its losses up, without waiting for the device."""
        self.step += 1
        self.loss_steps += 1
        self.loss_sums += losses.stacked()

    def mean_losses(self) -> dict[str, float]:
        """Return the mean of each loss since :meth:`forget_losses`; this waits for the device."""
        means = (self.loss_sums / self.loss_steps).tolist()
        return dict(zip(LOSS_NAMES, means, strict=True))

    def forget_losses(self) -> None:
        """Begin new means."""
        self.loss_sums.zero_()
        self.loss_steps = 0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on exactly where ``checkpoint`` stopped.

        Raises:
            CheckpointError: it was made for other networks or holds no training state.
        """
        training = checkpoint.training
        try:
            load_weights(self.generator, checkpoint.generator, "generator")
            load_weights(self.discriminator, training["discriminator"], "discriminator")
            self.generator_adam.load_state_dict(training["generator_adam"])
            self.discriminator_adam.load_state_dict(training["discriminator_adam"])
            torch.set_rng_state(training["rng_cpu"])
            if self.device.type == "cuda" and "rng_cuda" in training:
                torch.cuda.set_rng_state(training["rng_cuda"], self.device)
            self.step = int(checkpoint.progress["step"])
            self.best_l1 = float(checkpoint.progress["best_l1"])
            self.loss_steps = int(checkpoint.progress["loss_steps"])
            self.loss_sums.copy_(torch.tensor(checkpoint.progress["loss_sums"]))
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"the checkpoint cannot be resumed: {error}") from error

    def to_checkpoint(
        self, contract: PixelContract, frames: torch.Tensor, dataset: dict[str, Any]
    ) -> Checkpoint:
        """Return the state as a checkpoint; its tensors are views, so save it before going on."""
        training: dict[str, Any] = {
            "discriminator": self.discriminator.state_dict(),
            "generator_adam": self.generator_adam.state_dict(),
            "discriminator_adam": self.discriminator_adam.state_dict(),
            "rng_cpu": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            training["rng_cuda"] = torch.cuda.get_rng_state(self.device)
        batch_size = min(self.config.batch_size, int(dataset["train_pairs"]))
        return Checkpoint(
            config=self.config,
            contract=contract,
            generator=self.generator.state_dict(),
            frames=frames,
            progress={
                "step": self.step,
                "images_seen": self.step * batch_size,
                "best_l1": self.best_l1,
                "loss_steps": self.loss_steps,
                "loss_sums": self.loss_sums.tolist(),
            },
            dataset=dataset,
            training=training,
        )

    def weights_are_finite(self) -> bool:
        """Say whether every weight of both networks is a number."""
        parameters = [*self.generator.parameters(), *self.discriminator.parameters()]
        return all(bool(parameter.isfinite().all()) for parameter in parameters)


def _adam(network: nn.Module, config: TrainConfig) -> torch.optim.Adam:
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam(network.parameters(), lr=config.lr, betas=betas)
