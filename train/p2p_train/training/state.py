"""What changes while training: networks, optimisers and the count of steps."""

from __future__ import annotations

import copy
import logging
import math
from typing import Any

import torch
from torch import nn

from p2p_runtime.errors import CheckpointError, TrainingError
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.devices import autocast
from p2p_train.distillation import Teacher
from p2p_train.losses import discriminator_losses, generator_losses
from p2p_train.losses.base import Loss, LossSetup
from p2p_train.networks.generator import UNetGenerator
from p2p_train.networks.norms import batch_norms
from p2p_train.segmentation.segmenter import FrozenSegmenter
from p2p_train.tensorfile import load_weights, shape_differences

from .checkpoint import AnyDiscriminator, Checkpoint, make_discriminator, make_generator
from .distributed import Distributed

__all__ = ["Losses", "ModelOptimizer", "TrainState"]

logger = logging.getLogger(__name__)

Losses = dict[str, torch.Tensor]
"""Scalars by the name of their loss, unweighted; they stay on the device until they are read."""


AVERAGE_LOOKS_EVERY = 4
"""Steps from one batch that the average of the generator sees to the next."""

BATCHNORM_MOMENTUM = 0.1
"""Share of the newest batch in BatchNorm's running statistics: torch's own."""

AVERAGE_MOMENTUM = 0.05
"""Share of the newest batch in the statistics of the average's BatchNorm."""

BEST_WITHIN = 1.1
"""Validation L1 of the best weights, as a multiple of the least: they are the newest within it."""


class ModelOptimizer:
    """A network's Adam, over all processes' gradients, and, for fp16, its loss scaling."""

    def __init__(
        self, network: nn.Module, lr: float, config: TrainConfig, distributed: Distributed
    ) -> None:
        self.network, self._lr, self._distributed = network, lr, distributed
        betas = (config.optim.beta1, config.optim.beta2)
        self.adam = torch.optim.Adam(network.parameters(), lr=lr, betas=betas)
        device = next(network.parameters()).device
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")

    def scale_lr(self, factor: float) -> None:
        """Set the learning rate to ``factor`` times what it was at the start."""
        for group in self.adam.param_groups:
            group["lr"] = self._lr * factor

    def step(self) -> None:
        """Step along the processes' mean gradients; one that overflowed in fp16 is skipped."""
        self._distributed.average_gradients(self.network)
        self.scaler.step(self.adam)
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the weights."""
        return {"adam": self.adam.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Read what :meth:`state_dict` returned."""
        self.adam.load_state_dict(state["adam"])
        self.scaler.load_state_dict(state["scaler"])


class TrainState:
    """Networks, losses and optimisers of a run, ready to be trained.

    ``grey`` generators have grey outputs, since all targets are.

    Attributes:
        generator, discriminator: the networks, in channels-last memory; without an adversarial
            loss there is no discriminator.
        loss_names: names of all losses, in the order in which checkpoints keep their sums.
        average: the moving average of the generator, or None.
        micro_batch: pairs at a time within a step; halved when memory runs out.
        step: steps taken since the run began.
        progress: share (0-1) of the run's steps that were done before the current one.
        batchnorm_frozen: whether the last step used running statistics (``freeze_batchnorm``).
        best_l1: least validation L1 so far, in [-1, 1] signal units; once there are weights that
            were trained with frozen BatchNorm, of these.
        best_frozen: whether there are.
    """

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        distributed: Distributed | None = None,
        teacher: Teacher | None = None,
        segmenter: FrozenSegmenter | None = None,
        grey: bool = False,
    ) -> None:
        """Seed torch and build the networks with fresh weights, the same on every process."""
        torch.manual_seed(config.data.seed)
        self.config, self.device, self.distributed = config, device, distributed or Distributed()
        self.generator: UNetGenerator = _on(device, make_generator(config))
        self._grey = grey
        self.constrain_generator()
        self.discriminator: AnyDiscriminator | None = None
        if config.loss.gan_loss != "none":
            self.discriminator = _on(device, make_discriminator(config))
        self._make_losses(teacher, segmenter)
        self.average = copy.deepcopy(self.generator).eval() if config.optim.ema else None
        self._make_optimizers()
        self.micro_batch = config.optim.micro_batch or config.optim.batch_size
        # From here on, each process has random numbers (dropout) of its own.
        torch.manual_seed(config.data.seed + self.distributed.rank)
        self._rng_states: list[torch.Tensor] = []
        self.step, self.progress, self.batchnorm_frozen = 0, 0.0, False
        self.best_l1, self.best_frozen = float("inf"), False

    def _make_losses(self, teacher: Teacher | None, segmenter: FrozenSegmenter | None) -> None:
        setup = LossSetup(
            config=self.config,
            discriminator=self.discriminator,
            teacher=teacher,
            segmenter=segmenter,
        )
        self.generator_losses = generator_losses(setup)
        self.discriminator_losses = discriminator_losses(setup)
        losses: list[Loss] = [*self.generator_losses, *self.discriminator_losses]
        self.loss_names = tuple(loss.name for loss in losses)
        self._loss_sums, self._loss_steps = torch.zeros(len(losses), device=self.device), 0
        memories = {loss.name: loss.memory for loss in self.generator_losses if loss.memory}
        self._memories = {name: _on(self.device, memory) for name, memory in memories.items()}
        networks = {"teacher": teacher, "segmenter": segmenter}
        self._loss_networks = {name: one.sha256 for name, one in networks.items() if one}

    def _make_optimizers(self) -> None:
        config, lr = self.config, self.config.optim.lr
        self.generator_optimizer = ModelOptimizer(self.generator, lr, config, self.distributed)
        self.discriminator_optimizer: ModelOptimizer | None = None
        if self.discriminator is not None:
            lr = config.optim.lr_discriminator or lr
            optimizer = ModelOptimizer(self.discriminator, lr, config, self.distributed)
            self.discriminator_optimizer = optimizer

    def constrain_generator(self) -> None:
        """Project the generator back to what its weights must fulfil, which a step leaves."""
        if self.config.model.checkerboard_free:
            self.generator.make_checkerboard_free()
        if self._grey:
            self.generator.make_grey()
        if self.config.data.crop is not None:  # whole images would meet what crops do not train
            self.generator.zero_untrained_taps(*self.config.data.trained_size)

    def optimizers(self) -> list[ModelOptimizer]:
        """Return the optimiser of the generator and, if there is one, of the discriminator."""
        return [self.generator_optimizer, *filter(None, [self.discriminator_optimizer])]

    def exported_generator(self) -> UNetGenerator:
        """Return the generator that is validated, exported and shown in sample grids."""
        return self.generator if self.average is None else self.average

    def begin_step(self, total_steps: int) -> None:
        """Set what depends on the run's progress: learning rates, losses' weights, BatchNorm."""
        self.progress = self.step / total_steps
        if self.config.optim.lr_decay:
            for optimizer in self.optimizers():
                optimizer.scale_lr(min(1.0, 2 * (1 - self.progress)))
        self.batchnorm_frozen = self.progress >= self.config.optim.freeze_batchnorm
        for norm in batch_norms(self.generator):
            norm.train(not self.batchnorm_frozen)
            # In a young run the mean of all batches, or the initial variance of 1 would outlast it.
            norm.momentum = max(BATCHNORM_MOMENTUM, 1 / (self.step + 1))

    def note_validation(self, l1: float) -> bool:
        """Note a validation's L1, and return whether its weights are the best so far.

        The newest are, unless their L1 is far above the least: L1 is often least when the picture
        is still a blur, and texture goes on growing. Weights trained with frozen BatchNorm are
        better than any from before.
        """
        if self.best_frozen and not self.batchnorm_frozen:
            return False
        if self.batchnorm_frozen and not self.best_frozen:
            self.best_l1, self.best_frozen = math.inf, True
        self.best_l1 = min(self.best_l1, l1)
        return l1 <= BEST_WITHIN * self.best_l1

    @torch.no_grad()
    def count(self, losses: Losses) -> None:
        """Count a step, add its losses up and move the average, without waiting for the device."""
        self.step += 1
        self._loss_steps += 1
        self._loss_sums += torch.stack([losses[name] for name in self.loss_names])
        if self.average is not None:
            # A young run averages over what there is: the decay grows with the steps.
            decay = min(self.config.optim.ema, self.step / (self.step + 10))
            averages: list[torch.Tensor] = list(self.average.parameters())
            weights: list[torch.Tensor] = list(self.generator.parameters())
            torch._foreach_lerp_(averages, weights, 1 - decay)

    @torch.no_grad()
    def show_average(self, source: torch.Tensor) -> None:
        """Let the average's BatchNorm see inputs of every few steps: its statistics are its own.

        Weights that were trained with frozen BatchNorm keep the statistics that they know. Inputs
        are (N, 3, H, W) float RGB in [-1, 1].
        """
        if self.average is None:
            return
        if self.batchnorm_frozen:
            torch._foreach_copy_([*self.average.buffers()], [*self.generator.buffers()])
        elif self.step % AVERAGE_LOOKS_EVERY == 0:
            looks, norms = self.step // AVERAGE_LOOKS_EVERY + 1, batch_norms(self.average)
            for norm in norms:
                norm.momentum = max(AVERAGE_MOMENTUM, 1 / looks)  # a young run: the mean of all
                norm.train()
            with autocast(self.config.precision, self.device):
                self.average(source[: self.micro_batch])
            for norm in norms:
                norm.eval()

    def mean_losses(self) -> dict[str, float]:
        """Return the mean of each loss since :meth:`reset_losses`; this waits for the device.

        Raises:
            TrainingError: one is not a number, or no fp16 gradient is.
        """
        means = (self._loss_sums / self._loss_steps).tolist()
        if not all(map(math.isfinite, means)):
            raise self._not_a_number("a loss")
        # An fp16 scale halves when gradients overflow; below 1, nothing finite is left to scale.
        if min(optimizer.scaler.get_scale() for optimizer in self.optimizers()) < 1:
            raise self._not_a_number("every fp16 gradient")
        return dict(zip(self.loss_names, means, strict=True))

    def reset_losses(self) -> None:
        """Begin new means."""
        self._loss_sums.zero_()
        self._loss_steps = 0

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on exactly where ``checkpoint`` stopped; a CheckpointError if it does not fit."""
        training, progress = checkpoint.training, checkpoint.progress
        if "optimizers" not in training:
            raise CheckpointError(
                "the checkpoint holds no optimisers, as best.pt does not: resume last.pt, or begin "
                "a new run with its weights (--from)"
            )
        try:
            self._check_loss_networks(training["loss_networks"])
            self._load_networks(checkpoint.generator, training)
            self._set_rng_state(training["rng_states"])
            self.step, self.micro_batch = progress["step"], progress["micro_batch"]
            self.best_l1, self.best_frozen = progress["best_l1"], progress["best_frozen"]
            sums = [progress["loss_sums"][name] for name in self.loss_names]
            self._loss_sums.copy_(torch.tensor(sums))
            self._loss_steps = progress["loss_steps"]
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"the checkpoint cannot be resumed: {error}") from error

    def start_from(self, checkpoint: Checkpoint) -> None:
        """Take another run's weights: the generator's, and the discriminator's if they fit.

        Raises:
            CheckpointError: its generator has other layers; the message lists the first.
        """
        for generator in filter(None, (self.generator, self.average)):
            load_weights(generator, checkpoint.generator, "generator")
        theirs = checkpoint.training.get("discriminator")
        if self.discriminator is not None and theirs is not None:
            if shape_differences(self.discriminator.state_dict(), theirs):
                logger.info("its discriminator has other layers, so a new one begins")
            else:
                self.discriminator.load_state_dict(theirs)

    def _load_networks(self, exported: dict[str, Any], training: dict[str, Any]) -> None:
        load_weights(self.exported_generator(), exported, "generator")
        for name, network in self._training_networks().items():
            load_weights(network, training[name], name)
        for optimizer, state in zip(self.optimizers(), training["optimizers"], strict=True):
            optimizer.load_state_dict(state)

    def _check_loss_networks(self, before: dict[str, str]) -> None:
        for name, sha256 in self._loss_networks.items():
            if before[name] != sha256:
                raise CheckpointError(
                    f"the {name} has other weights than when this run began; name the file of "
                    f"then with --{name}, a copy of it if it is still being trained"
                )

    def to_checkpoint(
        self, contract: PixelContract, frames: torch.Tensor, dataset: dict[str, Any]
    ) -> Checkpoint:
        """Return the state as a checkpoint; its tensors are views, so save it before going on.

        ``contract``, ``frames`` and ``dataset`` are as in :class:`.Checkpoint`.
        """
        sums = dict(zip(self.loss_names, self._loss_sums.tolist(), strict=True))
        batch_size = min(self.config.optim.batch_size, int(dataset["train_pairs"]))
        return Checkpoint(
            config=self.config,
            contract=contract,
            generator=self.exported_generator().state_dict(),
            frames=frames,
            progress={
                "step": self.step,
                "images_seen": self.step * batch_size,
                "best_l1": self.best_l1,
                "best_frozen": self.best_frozen,
                "micro_batch": self.micro_batch,
                "loss_steps": self._loss_steps,
                "loss_sums": sums,
            },
            dataset=dataset,
            training={
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers()],
                "rng_states": self._rng_states or [self._own_rng_state()],
                "loss_networks": self._loss_networks,
                **{name: one.state_dict() for name, one in self._training_networks().items()},
            },
        )

    def _training_networks(self) -> dict[str, nn.Module]:
        """Return what is trained or remembered and not exported, by its name in checkpoints."""
        trained = None if self.average is None else self.generator
        networks = {"discriminator": self.discriminator, "generator": trained}
        return self._memories | {name: one for name, one in networks.items() if one is not None}

    def gather_rng_states(self) -> None:
        """Gather the processes' random states for the next checkpoint; all must call this."""
        self._rng_states = self.distributed.gather(self._own_rng_state())

    def _own_rng_state(self) -> torch.Tensor:
        on_cpu, on_gpu = torch.get_rng_state(), self.device.type == "cuda"
        return torch.cat([on_cpu, torch.cuda.get_rng_state(self.device)]) if on_gpu else on_cpu

    def _set_rng_state(self, states: list[torch.Tensor]) -> None:
        own, rank = self._own_rng_state(), self.distributed.rank
        if len(states) != self.distributed.world_size or len(states[rank]) != len(own):
            logger.warning("other processes or devices than before: dropout starts anew")
            return
        on_cpu = len(torch.get_rng_state())
        torch.set_rng_state(states[rank][:on_cpu])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(states[rank][on_cpu:], self.device)

    def check_weights(self) -> None:
        """Raise a TrainingError if a trained weight is not a number."""
        weights = (p for optimizer in self.optimizers() for p in optimizer.network.parameters())
        if not all(bool(weight.isfinite().all()) for weight in weights):
            raise self._not_a_number("a weight")

    def _not_a_number(self, what: str) -> TrainingError:
        return TrainingError(
            f"{what} is not a number any more at step {self.step}; checkpoints/last.pt still holds "
            "the last good weights: go on from there with a lower --lr or --precision fp32"
        )


def _on(device: torch.device, network: Any) -> Any:
    return network.to(device, memory_format=torch.channels_last)
