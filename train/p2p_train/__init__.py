"""The workstation: train a pix2pix GAN on paired images.

The public names below are loaded when they are first used, so that ``p2p-train --help`` stays
instant::

    from p2p_train import TrainConfig, train

    config = TrainConfig.of(data="photos", ngf=32)

Read :mod:`p2p_train.training.loop` first; it tells the whole story.
"""

from p2p_runtime import load_public

TYPE_CHECKING = False
"""Means the same to type checkers as typing's, whose import would take as long as the rest."""

if TYPE_CHECKING:
    from .config import DataConfig, LossConfig, ModelConfig, OptimConfig, TrainConfig
    from .data.inspection import write_inspection
    from .metrics.score import Scores
    from .recipes import RECIPES
    from .scoring import score
    from .training.checkpoint import Checkpoint
    from .training.loop import Finish, Machine, train

__all__ = [
    "RECIPES", "Checkpoint", "DataConfig", "Finish", "LossConfig", "Machine", "ModelConfig",
    "OptimConfig", "Scores", "TrainConfig", "score", "train", "write_inspection",
]  # fmt: skip

_MODULES = {
    "RECIPES": "recipes",
    "Checkpoint": "training.checkpoint",
    "Finish": "training.loop",
    "Machine": "training.loop",
    "Scores": "metrics.score",
    "score": "scoring",
    "train": "training.loop",
    "write_inspection": "data.inspection",
}
"""Module of each public name; those of ``config`` are not listed."""


def __getattr__(name: str) -> object:
    return load_public(__name__, name, _MODULES.get(name, "config"))
