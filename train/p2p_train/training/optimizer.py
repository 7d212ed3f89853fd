"""Who learns: networks, their Adam, and loss scaling for fp16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn

    from p2p_train.config import TrainConfig

    from .distributed import Distributed

__all__ = ["ModelOptimizer"]


class ModelOptimizer:
    """A network that learns: its weights, its Adam, and loss scaling for fp16.

    Args:
        network: the network, on its device.
        lr: step size at the start.
        config: Adam's decay rates, and whether losses are scaled.
        team: with whom gradients are averaged.
    """

    def __init__(
        self, network: nn.Module, lr: float, config: TrainConfig, team: Distributed
    ) -> None:
        self.network = network
        self._team = team
        self._lr = lr
        betas = (config.beta1, config.beta2)
        self.adam = torch.optim.Adam(network.parameters(), lr=lr, betas=betas)
        device = next(network.parameters()).device
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")

    def set_rate(self, factor: float) -> None:
        """Set the step size to ``factor`` times what it was at the start."""
        for group in self.adam.param_groups:
            group["lr"] = self._lr * factor

    def learn(self) -> None:
        """Take a step along the team's mean gradients; one whose fp16 overflowed is skipped."""
        self._team.average_gradients(self.network)
        self.scaler.step(self.adam)
        self.scaler.update()

    def training_state(self) -> dict[str, Any]:
        """Return everything but the weights."""
        return {"adam": self.adam.state_dict(), "scaler": self.scaler.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Read what :meth:`training_state` returned."""
        self.adam.load_state_dict(state["adam"])
        self.scaler.load_state_dict(state["scaler"])
