"""An int8 bundle with random weights, for programs that measure their own memory without torch."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_random_model"]


def write_random_model(path: Path, *, ngf: int, side_px: int = 256) -> Path:
    """Export a U-Net with random weights as int8 for x86, and return its path.

    torch is imported in the process that calls this, and not by importing this module.

    Args:
        path: the bundle to write.
        ngf: width of the generator.
        side_px: height and width of its frames in pixels.
    """
    from p2p_train.config import TrainConfig

    from .random_run import write_random_int8

    config = TrainConfig(ngf=ngf, height=side_px, width=side_px)
    return write_random_int8(path, config).bundles["int8"]
