"""The workstation: train a pix2pix GAN on paired images.

The public names below are loaded when they are first used, so that ``p2p-train --help`` stays
instant::

    from p2p_train import DataConfig, ModelConfig, TrainConfig, train

    finish = train(TrainConfig(data=DataConfig(folder="photos"), model=ModelConfig(ngf=32)))

Read :mod:`p2p_train.training.loop` first; it tells the whole story.
"""

import importlib

TYPE_CHECKING = False
"""Means the same to type checkers as typing's, whose import would take as long as the rest."""

if TYPE_CHECKING:
    from .config import DataConfig, LossConfig, ModelConfig, OptimConfig, TrainConfig
    from .recipes import RECIPES
    from .training.checkpoint import Checkpoint
    from .training.loop import Finish, Machine, train

__all__ = [
    "RECIPES", "Checkpoint", "DataConfig", "Finish", "LossConfig", "Machine", "ModelConfig",
    "OptimConfig", "TrainConfig", "train",
]  # fmt: skip

_MODULES = {
    "RECIPES": "recipes",
    "Checkpoint": "training.checkpoint",
    "Finish": "training.loop",
    "Machine": "training.loop",
    "train": "training.loop",
}
"""Module of each public name; those of ``config`` are not listed."""


def __getattr__(name: str) -> object:
    """Load a public name on its first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES.get(name, 'config')}", __name__), name)
