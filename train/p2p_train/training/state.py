"""What changes while training: two networks, their optimisers and the count of steps."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from p2p_runtime.errors import CheckpointError
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.distillation import Distillation, Teacher
from p2p_train.networks.discriminators import PatchDiscriminator
from p2p_train.networks.generator import UNetGenerator
from p2p_train.networks.norms import batch_norms
from p2p_train.segmentation.semantic import SemanticLoss
from p2p_train.tensorfile import load_weights

from .checkpoint import Checkpoint, make_discriminator, make_generator
from .distributed import Distributed
from .optimizer import ModelOptimizer

__all__ = ["StepLosses", "TrainState"]


logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepLosses:
    """The losses of a step, scalars that stay on the device until somebody reads them.

    Attributes:
        named: the losses by name, unweighted, in the order of :attr:`.TrainConfig.loss_names`.
    """

    named: dict[str, torch.Tensor]

    def stacked(self) -> torch.Tensor:
        """Return the losses as a float32 vector, in their order."""
        return torch.stack(list(self.named.values()))


class TrainState:
    """Both players, ready to be trained.

    Attributes:
        config: the run's settings.
        device: where the networks are.
        generator, discriminator: the networks, in channels-last memory; without an adversarial
            loss there is no discriminator.
        distillation: what the generator learns from a teacher, or None.
        reader: checks whether labels can be read off what the generator makes, or None.
        average: the moving average of the generator, or None; this, if any, is what ships.
        micro_batch: pairs at a time within a step; halved when memory runs out.
        step: steps taken since the run began.
        generator_weights: how much each of the generator's losses counts now, by name.
        norms_frozen: whether the last step trained with running statistics (``freeze_norm``).
        best_l1: validation L1 of the best weights so far, in [-1, 1] signal units.
        best_frozen: whether these were trained with frozen norms.
    """

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        team: Distributed | None = None,
        teacher: Teacher | None = None,
        reader: SemanticLoss | None = None,
    ) -> None:
        """Seed torch and build the players with fresh weights, the same on every process."""
        torch.manual_seed(config.seed)
        self.config = config
        self.device = device
        self.team = team or Distributed()
        self.generator: UNetGenerator = _on(device, make_generator(config))
        if config.even_ups:
            self.generator.make_checkerboard_free()
        self.discriminator: PatchDiscriminator | None = None
        if config.gan_loss != "none":
            self.discriminator = _on(device, make_discriminator(config))
        self.distillation: Distillation | None = None
        if teacher is not None:
            self.distillation = Distillation(teacher, self.generator, config.distillation)
        self.reader = reader
        self.average = copy.deepcopy(self.generator).eval() if config.ema else None
        self.generator_player, self.discriminator_player = self._players()
        self.micro_batch = config.micro_batch or config.batch_size
        torch.manual_seed(config.seed + self.team.rank)  # each process has dropout of its own
        self._randomness: list[torch.Tensor] = []
        self.step = 0
        self.generator_weights = config.generator_weights(0.0)
        self.norms_frozen = False
        self.best_l1 = float("inf")
        self.best_frozen = False
        self._loss_sums = torch.zeros(len(config.loss_names), device=device)
        self._loss_steps = 0

    def _players(self) -> tuple[ModelOptimizer, ModelOptimizer | None]:
        config, learning = self.config, nn.ModuleList([self.generator])
        if self.distillation is not None:
            learning.append(_on(self.device, self.distillation.adapters))
        generator = ModelOptimizer(learning, config.lr, config, self.team)
        if self.discriminator is None:
            return generator, None
        rate = config.lr_discriminator or config.lr
        return generator, ModelOptimizer(self.discriminator, rate, config, self.team)

    def players(self) -> list[ModelOptimizer]:
        """Return who learns: the generator and, if there is one, the discriminator."""
        return [self.generator_player, *filter(None, [self.discriminator_player])]

    def shipped(self) -> UNetGenerator:
        """Return the generator that is measured, saved for export and shown in sample grids."""
        return self.generator if self.average is None else self.average

    def begin_step(self, total_steps: int) -> None:
        """Set what depends on how far the run is: step sizes, weights, whether norms are frozen."""
        done = self.step / total_steps
        self.generator_weights = self.config.generator_weights(done)
        if self.config.lr_decay:
            for player in self.players():
                player.set_rate(min(1.0, 2 * (1 - done)))
        self.norms_frozen = done >= self.config.freeze_norm
        for norm in batch_norms(self.generator):
            norm.train(not self.norms_frozen)

    def note_validation(self, l1: float) -> bool:
        """Keep a validation's L1 if its weights are the best so far, and return whether they are.

        Weights trained with frozen norms are what ``freeze_norm`` is for: they are better than any
        from before, whose L1 is often least when the picture is still a blur. Among their like,
        the least L1 wins.
        """
        best = (not self.norms_frozen, l1) < (not self.best_frozen, self.best_l1)
        if best:
            self.best_l1, self.best_frozen = l1, self.norms_frozen
        return best

    def synchronise_norms(self) -> None:
        """Let BatchNorm see the whole team's batch; GPUs only."""
        convert: Callable[[Any], Any] = nn.SyncBatchNorm.convert_sync_batchnorm
        self.generator = convert(self.generator)
        if self.discriminator is not None:
            self.discriminator = convert(self.discriminator)

    def compile(self) -> None:
        """Let torch.compile fuse the networks."""
        self.generator.compile()
        if self.discriminator is not None:
            self.discriminator.compile()

    def loss_scales(self) -> list[float]:
        """Return each player's fp16 loss scale, 1 in other precisions; this waits for the device.

        A scale halves whenever gradients overflow; below 1, nothing finite is left to scale.
        """
        return [player.scaler.get_scale() for player in self.players()]

    @torch.no_grad()
    def count(self, losses: StepLosses) -> None:
        """Count a step, add its losses up and move the average, without waiting for the device."""
        self.step += 1
        self._loss_steps += 1
        self._loss_sums += losses.stacked()
        if self.average is not None:
            # A young run averages over what there is: the decay grows with the steps.
            decay = min(self.config.ema, self.step / (self.step + 10))
            averages: list[torch.Tensor] = list(self.average.parameters())
            weights: list[torch.Tensor] = list(self.generator.parameters())
            torch._foreach_lerp_(averages, weights, 1 - decay)
            for average, buffer in zip(
                self.average.buffers(), self.generator.buffers(), strict=True
            ):
                average.copy_(buffer)

    def mean_losses(self) -> dict[str, float]:
        """Return the mean of each loss since :meth:`forget_losses`; this waits for the device."""
        means = (self._loss_sums / self._loss_steps).tolist()
        return dict(zip(self.config.loss_names, means, strict=True))

    def forget_losses(self) -> None:
        """Begin new means."""
        self._loss_sums.zero_()
        self._loss_steps = 0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on exactly where ``checkpoint`` stopped.

        Raises:
            CheckpointError: it was made for other networks or holds no training state.
        """
        training, progress = checkpoint.training, checkpoint.progress
        try:
            load_weights(self.shipped(), checkpoint.generator, "generator")
            if self.average is not None:
                load_weights(self.generator, training["generator"], "generator")
            self.generator_player.restore(training["generator_player"])
            if self.discriminator is not None and self.discriminator_player is not None:
                load_weights(self.discriminator, training["discriminator"], "discriminator")
                self.discriminator_player.restore(training["discriminator_player"])
            if self.distillation is not None:
                self.distillation.restore(training["distillation"])
            if self.reader is not None and training["reader"] != self.reader.sha256:
                raise CheckpointError(
                    "the reader has other weights than when this run began; name that file with "
                    "--reader"
                )
            self._set_randomness(training["randomness"])
            self.step = int(progress["step"])
            self.best_l1 = float(progress["best_l1"])
            self.best_frozen = bool(progress.get("best_frozen", False))  # not in older checkpoints
            self.micro_batch = int(progress["micro_batch"])
            if len(progress["loss_sums"]) == len(self._loss_sums):  # older ones logged fewer
                self._loss_steps = int(progress["loss_steps"])
                self._loss_sums.copy_(torch.tensor(progress["loss_sums"]))
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"the checkpoint cannot be resumed: {error}") from error

    def to_checkpoint(
        self, contract: PixelContract, frames: torch.Tensor, dataset: dict[str, Any]
    ) -> Checkpoint:
        """Return the state as a checkpoint; its tensors are views, so save it before going on."""
        training: dict[str, Any] = {
            "generator_player": self.generator_player.training_state(),
            "randomness": self._randomness or [self._own_randomness()],
        }
        if self.discriminator is not None and self.discriminator_player is not None:
            training["discriminator"] = self.discriminator.state_dict()
            training["discriminator_player"] = self.discriminator_player.training_state()
        if self.distillation is not None:
            training["distillation"] = self.distillation.training_state()
        if self.reader is not None:
            training["reader"] = self.reader.sha256
        if self.average is not None:
            training["generator"] = self.generator.state_dict()
        batch_size = min(self.config.batch_size, int(dataset["train_pairs"]))
        return Checkpoint(
            config=self.config,
            contract=contract,
            generator=self.shipped().state_dict(),
            frames=frames,
            progress={
                "step": self.step,
                "images_seen": self.step * batch_size,
                "best_l1": self.best_l1,
                "best_frozen": self.best_frozen,
                "micro_batch": self.micro_batch,
                "loss_steps": self._loss_steps,
                "loss_sums": self._loss_sums.tolist(),
            },
            dataset=dataset,
            training=training,
        )

    def collect_randomness(self) -> None:
        """Gather every process's random state for the next checkpoint; all must call this."""
        self._randomness = self.team.gather(self._own_randomness())

    def _own_randomness(self) -> torch.Tensor:
        states = [torch.get_rng_state()]
        if self.device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self.device))
        return torch.cat(states)

    def _set_randomness(self, states: list[torch.Tensor]) -> None:
        own = self._own_randomness()
        if len(states) != self.team.size or len(states[self.team.rank]) != len(own):
            logger.warning("other processes or devices than before: dropout will draw anew")
            return
        state = states[self.team.rank]
        on_cpu = len(torch.get_rng_state())
        torch.set_rng_state(state[:on_cpu])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state[on_cpu:], self.device)

    def weights_are_finite(self) -> bool:
        """Say whether every weight that learns is a number."""
        networks = [player.network for player in self.players()]
        return all(bool(p.isfinite().all()) for network in networks for p in network.parameters())


def _on(device: torch.device, network: Any) -> Any:
    return network.to(device, memory_format=torch.channels_last)
